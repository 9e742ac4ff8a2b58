"""Safe reading of npz, npy, pt, mat, HDF5 and csv files: no unpickling unless asked, damaged files are refused."""

import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import torch
from numpy.typing import NDArray

from jensenbench.errors import UserError
from jensenbench.io.files import cannot_open

Arrays = dict[str, NDArray]


@dataclass(frozen=True)
class Source:
    """A data file from outside.

    Attributes:
        unpickle: let pickled objects in it run their code.
        most: number of states to read, from the first on; None for all. Others are not held in memory, but in MATLAB
            files older than version 7.3. Arrays of two axes and more begin with the axis of states.
    """

    path: Path
    unpickle: bool = False
    most: int | None = None


@contextmanager
def _parsing(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a parser raises on a damaged file into one UserError that names the file and the remedy."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: name a data file")
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # parsers of damaged bytes raise anything, from IndexError to MemoryError
        if any(word in f"{type(error).__name__} {error}".lower() for word in ("pickle", "python objects")):
            raise UserError(
                f"{path} holds pickled objects, which can run any code: refused; pass --unpickle to trust it"
            ) from error
        damaged = f"{path} is truncated, damaged or no {kind} ({type(error).__name__}: {error}): fetch it again"
        raise UserError(cannot_open(path, error) or damaged) from error


def read_npz(source: Source, keys: Sequence[str]) -> Arrays:
    """The named arrays of an ``.npz`` archive."""
    with _parsing(source.path, ".npz archive"), np.load(source.path, allow_pickle=source.unpickle) as archive:
        return _named(source, archive, archive.keys(), keys)


def read_npy(source: Source) -> NDArray:
    """The array of an ``.npy`` file."""
    with _parsing(source.path, ".npy array"):
        found = np.load(source.path, allow_pickle=source.unpickle, mmap_mode=None if source.unpickle else "r")
        if not isinstance(found, np.ndarray):
            raise UserError(f"{source.path} is an archive, expected one array: check --format")
        return np.array(_numeric(found[: source.most] if found.ndim > 3 else found))


def read_series(paths: Sequence[Path], source: Source) -> NDArray:
    """The arrays of several ``.npy`` files, equal in shape, stacked on a new first axis; trusted as ``source`` is."""
    arrays = [read_npy(Source(path, source.unpickle)) for path in paths]
    for path, array in zip(paths, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise UserError(f"{path} has shape {array.shape}, {paths[0].name} {arrays[0].shape}: fetch it again")
    return np.stack(arrays)


def read_pt(source: Source, keys: Sequence[str]) -> Arrays:
    """The named tensors of a ``torch.save`` file; all but tensors in plain containers counts as pickled."""
    with _parsing(source.path, "PyTorch file"):
        mapped = zipfile.is_zipfile(source.path)  # files of PyTorch before 1.6 are read as a whole
        content = torch.load(source.path, map_location="cpu", weights_only=not source.unpickle, mmap=mapped)
        if not isinstance(content, Mapping):
            shape = f" of shape {tuple(content.shape)}" if isinstance(content, torch.Tensor) else ""
            found = f"one {type(content).__name__}{shape}"
            raise UserError(f"{source.path} holds {found}, expected a dict with {list(keys)}: check --format")
        return _named(source, {key: _plain(value) for key, value in content.items()}, content, keys)


def read_mat(source: Source, keys: Sequence[str], optional: Sequence[str] = ()) -> Arrays:
    """The named arrays of a MATLAB file, axes as in MATLAB; those of version 7.3 are HDF5 with all axes reversed."""
    path = source.path
    with _parsing(path, "MATLAB file"):
        if h5py.is_hdf5(path):
            found = _hdf5(source, keys, optional, reversed_axes=True)
        else:
            _check_elements(path)
            names = [name for name, *_ in scipy.io.whosmat(path)]
            found = scipy.io.loadmat(path, variable_names=[*keys, *optional])
            found = _named(source, found, names, keys, optional)
    return found


def read_hdf5(source: Source, keys: Sequence[str], optional: Sequence[str] = ()) -> Arrays:
    """The named arrays of an HDF5 file, axes as stored."""
    with _parsing(source.path, "HDF5 file"):
        return _hdf5(source, keys, optional)


def read_csv(source: Source) -> NDArray:
    """The numbers (rows, columns) of a comma-separated file without a header."""
    with _parsing(source.path, "table of comma-separated numbers"):
        with source.path.open("rb") as file:
            file.seek(-1, 2)
            if file.read() != b"\n":
                raise UserError(f"{source.path} is truncated: its last line has no end; fetch it again")
        return np.loadtxt(source.path, delimiter=",", ndmin=2, max_rows=source.most)


def numbered(path: Path) -> list[Path]:
    """The files ``name_0.npy``, ``name_1.npy`` … beside ``path``, itself one of them, in the order of their numbers.

    Raises:
        UserError: a number is missing, as after an interrupted copy.
    """
    name, _, number = path.stem.rpartition("_")
    if not (name and number.isdigit()):
        raise UserError(f"{path}: expected a file of a series name_0{path.suffix}, name_1{path.suffix} …: name one")
    series = {
        int(file.stem.rpartition("_")[2]): file
        for file in path.parent.glob(f"{name}_*{path.suffix}")
        if file.stem.removeprefix(f"{name}_").isdigit()
    }
    missing = sorted(set(range(max(series, default=int(number)) + 1)) - set(series))
    if missing:
        raise UserError(f"{path.parent} lacks {name}_{missing[0]}{path.suffix} of the series: fetch it again")
    return [series[i] for i in sorted(series)]


def check_array(file: Path, key: str, array: NDArray, *, ndim: int) -> NDArray:
    """``array`` as float64 if it is numeric, not empty, finite and has ``ndim`` axes, the first one of states."""
    if array.dtype.kind not in "biuf":
        raise UserError(
            f"{file}: array {key!r} has dtype {array.dtype}, expected bool, integer or real numbers: check the key"
        )
    if array.ndim != ndim or 0 in array.shape:
        raise UserError(
            f"{file}: array {key!r} has shape {array.shape}, expected {ndim} axes, none empty: check --format"
        )
    numbers = array.astype(np.float64)
    bad = int((~np.isfinite(numbers)).reshape(len(numbers), -1).any(1).sum())
    if bad:
        raise UserError(f"{file}: {bad} of {len(numbers)} states of {key!r} hold NaN or infinite values: drop them")
    return numbers


def check_field(file: Path, key: str, array: NDArray, *, ndim: int) -> NDArray:
    """What :func:`check_array` returns, if some state has two different values."""
    field = check_array(file, key, array, ndim=ndim)
    states = field.reshape(len(field), -1)
    if (states == states[:, :1]).all():
        raise UserError(
            f"{file}: each state of {key!r} holds one value at all points ({states[0, 0]:g} in the first): it was "
            "never written, or its solver failed; name a file that holds fields"
        )
    return field


def check_pair(file: Path, first: tuple[str, NDArray], second: tuple[str, NDArray]) -> None:
    """Raise UserError unless both arrays are (N, n, n) with the same N and n."""
    (a, left), (b, right) = first, second
    if left.shape != right.shape or left.shape[-1] != left.shape[-2]:
        raise UserError(
            f"{file}: {a!r} has shape {left.shape}, {b!r} {right.shape}; expected equal (N, n, n): check the keys"
        )


def _hdf5(source: Source, keys: Sequence[str], optional: Sequence[str], *, reversed_axes: bool = False) -> Arrays:
    with h5py.File(source.path, "r") as file:
        found = {key: file.get(key) for key in [*keys, *optional]}
        datasets = {key: item for key, item in found.items() if isinstance(item, h5py.Dataset)}
        if reversed_axes:
            content = {
                key: (item[..., : source.most] if item.ndim > 1 else item[()]).T for key, item in datasets.items()
            }
        else:
            content = {key: item[: source.most] if item.ndim > 1 else item[()] for key, item in datasets.items()}
        return _named(source, content, file.keys(), keys, optional)


def _named(
    source: Source, content: Mapping[str, Any], held: Iterable[str], keys: Sequence[str], optional: Sequence[str] = ()
) -> Arrays:
    """The required arrays and the optional ones that exist; ``held`` lists all names, for the message."""
    missing = sorted(set(keys) - set(content))
    if missing:
        raise UserError(f"{source.path} has no array {missing[0]!r}, it holds {sorted(held)}: check --format and --pde")
    found = {key: _numeric(np.asarray(content[key])) for key in [*keys, *optional] if key in content}
    return {key: array[: source.most] if array.ndim > 1 else array for key, array in found.items()}


def _plain(value: Any) -> Any:
    """A tensor as an array, without its graph; bfloat16, which numpy lacks, as float32."""
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _numeric(array: NDArray) -> NDArray:
    """An array of (trusted) Python objects as an array of the numbers in them."""
    return np.array(array.tolist()) if array.dtype == object else array


def _check_elements(path: Path) -> None:
    """Raise UserError unless the elements of a MATLAB 5 file, after a header of 128 bytes, end where the file ends."""
    size, position = path.stat().st_size, 128
    with path.open("rb") as file:
        order = "<" if file.read(128)[126:] == b"IM" else ">"
        while position < size:
            file.seek(position)
            position += 8 + struct.unpack(f"{order}II", file.read(8))[1]
    if position != size:
        raise UserError(f"{path} is truncated: {size} bytes, {position} expected; fetch it again")
