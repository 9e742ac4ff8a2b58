"""Arrays of files from outside: nothing is unpickled, and a broken file is refused by name."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jensenbench.errors import UserError

_BROKEN = (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError)


def read_npz(file: Path, keys: Sequence[str]) -> dict[str, NDArray]:
    """The named arrays of an ``.npz`` archive; pickled objects are refused, never loaded."""
    if not file.is_file():
        raise UserError(f"{file} does not exist: name a data file")
    try:
        with np.load(file, allow_pickle=False) as archive:
            return _members(file, archive, keys)
    except UserError:
        raise
    except _BROKEN as error:
        raise UserError(f"{file} is truncated or not an .npz archive ({error}): fetch it again") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{file} is no plain .npz archive; pickled objects are refused ({error})") from error


def _members(file: Path, archive: np.lib.npyio.NpzFile, keys: Sequence[str]) -> dict[str, NDArray]:
    missing = sorted(set(keys) - set(archive.files))
    if missing:
        raise UserError(f"{file} has no array {missing[0]!r}, it holds {sorted(archive.files)}: check --format")
    return {key: archive[key] for key in keys}


def check_array(file: Path, key: str, array: NDArray, *, ndim: int) -> NDArray:
    """``array`` as float64 if it is numeric, not empty, finite and has ``ndim`` axes."""
    if array.dtype.kind not in "biuf":
        raise UserError(f"{file}: array {key!r} has dtype {array.dtype}, expected bool, integer or real numbers")
    if array.ndim != ndim or 0 in array.shape:
        raise UserError(f"{file}: array {key!r} has shape {array.shape}, expected {ndim} axes, none empty")
    numbers = array.astype(np.float64)
    bad = int((~np.isfinite(numbers)).reshape(len(numbers), -1).any(1).sum())
    if bad:
        raise UserError(f"{file}: {bad} of {len(numbers)} states of {key!r} hold NaN or infinite values: drop them")
    return numbers
