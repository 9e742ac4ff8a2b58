"""Files of the suite: where they lie, how they are written so that a killed job leaves nothing half-written."""

import gzip
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from jensenbench.errors import UserError

SCHEMA_VERSION = 1
STATUSES = ("ok", "skipped", "diverged", "over_budget", "out_of_memory", "timeout", "failed")
RUN_KEYS = ("pde", "prior", "method", "variant", "task", "seed")
RUN_COLUMNS = (
    "run_id", "schema_version", *RUN_KEYS, "status", "reason", "n_instances", "n_draws", "nfe", "vjp", "jvp",
    "residual_calls", "tuned_trials", "config_digest", "config_json", "data_digest", "prior_digest", "code_digest",
    "environment_digest", "versions", "git_commit", "command",
)  # fmt: skip
METRIC_COLUMNS = ("run_id", "instance", "draw", "sigma", "metric", "unit", "value")
TIMING_COLUMNS = (*RUN_KEYS, "stage", "seconds", "peak_mib", "device", "host", "finished")
POSTERIORS = Path("results/published/posteriors")  # reference posteriors, below the root
SPLITS = ("train", "validation", "test", "reference")


@dataclass(frozen=True)
class Layout:
    """Paths of one tier below ``results/{tier}``; the workflow's rules use the same patterns."""

    root: Path

    def data(self, pde: str) -> Path:
        return self.root / "data" / f"{pde}.h5"

    def observations(self, pde: str) -> Path:
        return self.root / "observations" / f"{pde}.h5"

    def prior(self, pde: str, prior: str, seed: int) -> Path:
        return self.root / "priors" / pde / prior / f"{seed}.safetensors"

    def training(self, pde: str, prior: str, seed: int) -> Path:
        """Undeclared folder of resumable training state."""
        return self.root / "training" / pde / prior / str(seed)

    def pairs(self, pde: str, prior: str, digest: str, seed: int) -> Path:
        """Index of the teacher pairs of one setting; the shards lie beside it."""
        return self.root / "pairs" / pde / prior / digest / str(seed) / "pairs.json"

    def fit(self, pde: str, prior: str, method: str, digest: str, seed: int) -> Path:
        return self.root / "fits" / pde / prior / method / digest / str(seed) / "module.safetensors"

    def fitting(self, pde: str, prior: str, method: str, digest: str, seed: int) -> Path:
        """Undeclared folder of a fit's resumable state."""
        return self.fit(pde, prior, method, digest, seed).with_name("state")

    def samples(self, pde: str, prior: str, method: str, variant: str, seed: int) -> Path:
        return self.root / "samples" / pde / prior / method / variant / f"{seed}.h5"

    def tuning(self, pde: str, prior: str, method: str, variant: str, seed: int) -> Path:
        """Folder of the runs, metrics and timings of one cell's trials."""
        return self.root / "tuning" / pde / prior / method / variant / str(seed)

    def evaluation(self, pde: str, prior: str, seed: int) -> Path:
        """Folder of the runs, metrics and timings of one (pde, prior, seed)."""
        return self.root / "evaluation" / pde / prior / str(seed)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file and move it into place."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def write_hdf5(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Create an HDF5 file through ``fill`` and move it into place."""
    with replacing(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        fill(file)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open for reading; a missing, truncated or foreign file is one clear error."""
    if not path.exists():
        raise UserError(f"{path} does not exist: run the stage that makes it")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"{path} is truncated or not HDF5 ({error}); delete it and run its stage again") from error
    with file:
        yield file


def read_split(path: Path, split: str, *, count: int | None = None) -> np.ndarray:
    """States (N, C, *grid) of one split of a data file, float64; refuses NaN and too few states."""
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
    """HDF5 attributes as plain Python values; arrays stay arrays."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in attributes.items()}


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Rows sorted by all columns, numbers as %.9g, gzip without a date: equal content gives equal bytes."""
    ordered = frame.sort_values(list(frame.columns), kind="stable", key=lambda column: column.astype(str))
    text = ordered.to_csv(index=False, float_format="%.9g", lineterminator="\n")
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as stream:
        stream.write(text.encode())
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_csv(path: Path) -> pd.DataFrame:
    """A table written by :func:`write_csv`."""
    try:
        return pd.read_csv(path, dtype={"reason": "string", "seed": "int64"} if path.name.startswith("runs") else None)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path} is missing or truncated ({error}); run its stage again") from error


def canonical_json(value: Mapping[str, Any] | list[Any]) -> str:
    """JSON text that equal values share."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
