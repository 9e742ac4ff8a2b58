"""Folders of CoCoGen (arXiv 2312.10527): ``data/P_0.npy`` … and ``permeability/K_0.npy`` …, P transposed against K.

Velocities ``data/U1_0.npy`` …, ``data/U2_0.npy`` … follow from both: they are checked where present, and not kept.
Repository: christian-jacobsen/CoCoGen.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from jensenbench.core.pde import PDE
from jensenbench.data.formats.arrays import Source, numbered, read_series
from jensenbench.data.formats.corner import read_states
from jensenbench.data.formats.interface import Imported, Reader, Settings
from jensenbench.errors import UserError

ROUNDING = 1e-5  # tolerance of velocities over the largest one, for single precision


def read_darcy_corner(source: Source, settings: Settings) -> Imported:
    """States (N, 2, n, n) of Darcy flow between two corners; ``source`` is any of the pressures P_i."""
    pressures = numbered(source.path)[: source.most]
    folder = source.path.parent.parent / "permeability"
    permeabilities = [folder / f"K_{i}.npy" for i in range(len(pressures))]
    absent = next((path for path in permeabilities if not path.is_file()), None)
    if absent is not None:
        raise UserError(f"{absent} is missing, {len(pressures)} pressures lie beside {source.path}: fetch it again")
    k, p = (read_series(paths, source) for paths in (permeabilities, pressures))
    found = read_states(source.path, ("K", k), ("P", p), {"law": "cocogen", **settings}, transposed=True)
    findings = (*found.findings, *_check_velocities(source, pressures, found.pde, k, p))
    return replace(found, findings=findings, files=(*permeabilities, *pressures))


def velocity_files(pressure: Path) -> tuple[Path, Path]:
    """``U1_i.npy`` and ``U2_i.npy`` beside ``P_i.npy``."""
    number = pressure.stem.rpartition("_")[2]
    return pressure.with_name(f"U1_{number}.npy"), pressure.with_name(f"U2_{number}.npy")


def stored_velocity(pde: Any, k: Tensor, p: Tensor) -> Tensor:
    """(U1, U2) (N, 2, n, n) of stored K and P (N, n, n), by the equation's own :meth:`published_velocity`."""
    return pde.published_velocity(k, p)


def _check_velocities(source: Source, pressures: list[Path], pde: PDE, k: NDArray, p: NDArray) -> list[str]:
    """One line on the velocities stored beside the pressures; empty where there are none."""
    paths = [velocity_files(path) for path in pressures]
    absent = [path for pair in paths for path in pair if not path.is_file()]
    if len(absent) == 2 * len(paths):
        return []
    if absent:
        return [f"velocities: ignored, {absent[0].name} is missing"]
    expected = stored_velocity(pde, torch.from_numpy(k).double(), torch.from_numpy(p).double())
    stored = [torch.from_numpy(read_series(series, source)).double() for series in zip(*paths, strict=True)]
    if any(array.shape != p.shape for array in stored):
        return [f"velocities: ignored, of shape {tuple(stored[0].shape)} beside pressures {p.shape}"]
    deviation = float((torch.stack(stored, 1) - expected).abs().max() / expected.abs().max())
    if not deviation <= ROUNDING:
        return [f"velocities: ignored, not -K∇P of the stored arrays (they differ by {deviation:.1e} of the largest)"]
    return [f"velocities: -K∇P of the stored arrays, within {deviation:.1e} of the largest"]


READERS: Mapping[str, Reader] = {"darcy_corner": read_darcy_corner}
