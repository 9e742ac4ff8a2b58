"""Data file of one PDE: disjoint splits of states with their scales and residual floors (HDF5)."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from jensenbench.core.pde import PDE, sum_terms
from jensenbench.errors import UserError
from jensenbench.io.files import canonical_json, read_attributes, read_split, write_hdf5
from jensenbench.io.schema import SPLITS
from jensenbench.plugins.registry import make_pde

SPLIT_START = {"train": 0, "validation": 10_000_000, "test": 20_000_000, "reference": 30_000_000}
CHUNK = 250  # states whose terms are held in memory together; 1000 Navier-Stokes states take a gibibyte


@dataclass(frozen=True)
class Dataset:
    """A data file's PDE and its attributes; :meth:`split` reads states.

    Attributes:
        field_mean, field_std: (C,) over the training states.
        term_scale: rms of the equation's largest term over the training states, the unit of residuals.
        floor, floor_float32: rms of the own residual of the reference states over ``term_scale``, as
            stored and after rounding the states to float32.
        source: ``generated``, or the imported file's name and digest.
    """

    path: Path
    label: str
    pde: PDE
    source: str
    digest: str
    field_mean: Tensor
    field_std: Tensor
    term_scale: float
    floor: float
    floor_float32: float

    def split(self, name: str, count: int | None = None) -> Tensor:
        """States (N, C, *grid) of a split, float64."""
        return torch.from_numpy(read_split(self.path, name, count=count))


def load_dataset(path: Path) -> Dataset:
    """Open a data file and rebuild its PDE; raises UserError if it is missing, damaged or of another kind."""
    attributes = read_attributes(path)
    missing = {"label", "pde", "settings_json", "digest"} - set(attributes)
    if missing:
        raise UserError(
            f"{path} is not a data file of this suite: it lacks {sorted(missing)}; make one with generate or import"
        )
    return Dataset(
        path=path,
        label=attributes["label"],
        pde=make_pde(attributes["pde"], json.loads(attributes["settings_json"])),
        source=attributes["source"],
        digest=attributes["digest"],
        field_mean=torch.as_tensor(attributes["field_mean"]),
        field_std=torch.as_tensor(attributes["field_std"]),
        term_scale=float(attributes["term_scale"]),
        floor=float(attributes["floor"]),
        floor_float32=float(attributes["floor_float32"]),
    )


def write_dataset(
    path: Path,
    pde: PDE,
    splits: Mapping[str, Tensor],
    *,
    seed: int,
    label: str | None = None,
    source: str = "generated",
) -> None:
    """Measure scales and floors and write a data file.

    Args:
        splits: states (N, C, *grid) float64 of ``SPLITS``.
        label: name of the data in every table; the PDE's own by default.
    """
    for states in splits.values():
        pde.check(states)
    train, reference = splits["train"], splits["reference"]
    scale = term_scale(pde, train)
    attributes = {
        "label": label or pde.label,
        "pde": pde.name,
        "settings_json": canonical_json(asdict(pde.config)),
        "seed": seed,
        "source": source,
        "digest": _digest(splits),
        "field_mean": train.transpose(0, 1).flatten(1).mean(1).numpy(),
        "field_std": train.transpose(0, 1).flatten(1).std(1).numpy(),
        "term_scale": scale,
        "floor": _residual_rms(pde, reference) / scale,
        "floor_float32": _residual_rms(pde, reference.float().double()) / scale,
    }

    def fill(file: h5py.File) -> None:
        file.attrs.update(attributes)
        for name in SPLITS:
            file.create_dataset(name, data=splits[name].numpy())

    write_hdf5(path, fill)


def term_scale(pde: PDE, states: Tensor) -> float:
    """rms of the equation's largest term over states (N, C, *grid): the unit of residuals."""
    return max(_rms(states, pde.terms).values())


def _residual_rms(pde: PDE, states: Tensor) -> float:
    return _rms(states, lambda part: {"": sum_terms(pde.terms(part))})[""]


def _rms(states: Tensor, values: Callable[[Tensor], Mapping[str, Tensor]]) -> dict[str, float]:
    """rms of named values over states, computed for a few states at a time."""
    squares: dict[str, float] = {}
    for part in states.split(CHUNK):
        for name, value in values(part).items():
            squares[name] = squares.get(name, 0.0) + float(value.square().mean()) * len(part) / len(states)
    return {name: square**0.5 for name, square in squares.items()}


def _digest(splits: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in SPLITS:
        total.update(np.ascontiguousarray(splits[name].numpy()).tobytes())
    return total.hexdigest()[:16]
