"""Atomic file writing, and reading of HDF5, YAML and canonical JSON with one clear error each."""

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from jensenbench.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")
    temporary.touch(exist_ok=False)  # with the permissions that the umask leaves, as any new file
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a mapping as JSON; a file that holds it already stays untouched, its date too."""
    text = canonical_json(record)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def write_hdf5(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Create an HDF5 file atomically; ``fill`` writes its content."""
    with replacing(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        fill(file)


def cannot_open(path: Path, error: Exception) -> str | None:
    """Why a file that may be whole cannot be opened, and the remedy; None where the reason is another one."""
    if isinstance(error, BlockingIOError) or "unable to lock" in str(error):
        return (
            f"{path} is in use by another program, or lies where files cannot be locked ({error}): close it there and "
            "start again, or set HDF5_USE_FILE_LOCKING=FALSE"
        )
    if isinstance(error, PermissionError):
        return f"{path} may not be read by this user ({error}): ask its owner for the permission, or copy it"
    return None


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; a missing, truncated or foreign file raises UserError."""
    if not path.exists():
        raise UserError(f"{path} does not exist: run the stage that makes it")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        damaged = f"{path} is truncated or not HDF5 ({error}); delete it and run its stage again"
        raise UserError(cannot_open(path, error) or damaged) from error
    with file:
        yield file


def read_split(path: Path, split: str, *, count: int | None = None) -> np.ndarray:
    """States (N, C, *grid) of one split of a data file, float64.

    Raises UserError where the split is missing, holds NaN, or has fewer than ``count`` states.
    """
    with open_hdf5(path) as file:
        if split not in file:
            raise UserError(f"{path} has no split {split!r}; it holds {sorted(file)}")
        states = np.asarray(file[split], dtype=np.float64)[:count]
    if count is not None and len(states) < count:
        raise UserError(f"{path} holds {len(states)} {split} states, {count} were asked for; generate more")
    if not np.isfinite(states).all():
        bad = int((~np.isfinite(states)).reshape(len(states), -1).any(1).sum())
        raise UserError(
            f"{path}: {bad} of {len(states)} {split} states hold NaN or infinite values; regenerate the file"
        )
    return states


def read_attributes(path: Path) -> dict[str, Any]:
    """Attributes of a file's root as plain Python values."""
    with open_hdf5(path) as file:
        return plain(file.attrs)


def plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """HDF5 attributes with Python scalars in place of numpy's; arrays stay arrays."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in attributes.items()}


def canonical_json(value: Mapping[str, Any] | list[Any]) -> str:
    """JSON text with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; raises UserError where there is none."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the configuration {path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a mapping of settings, found {type(content).__name__}")
    return content
