"""Data bundled with the package neuraloperator (MIT licence), arrays re-saved as ``.npz`` under their own keys.

Darcy: ``x`` (N, n, n) bool coefficient, False 0.1, True 1; ``y`` (N, n, n) pressure. Both are sub-sampled
from a finer grid, so the first row and column lie on the boundary and the last ones do not, and the states
solve no equation of their own grid: the source term is calibrated, and the residual says little.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.importers.arrays import check_array, read_npz
from jensenbench.importers.conventions import CALIBRATION_STATES, Candidate, Imported, Reader, calibrate, grid_kind

FACES = ("arithmetic", "harmonic")
LEVELS = (0.1, 1.0)


def read_darcy(file: Path, settings: Mapping[str, Any]) -> Imported:
    """Darcy states (N, 2, n, n): coefficient, solution; ``settings`` given by the caller are kept, others found."""
    arrays = {key: check_array(file, key, array, ndim=3) for key, array in read_npz(file, ("x", "y")).items()}
    _check_shapes(file, arrays["x"], arrays["y"], settings)
    swapped = _two_values(arrays["x"]) is None and _two_values(arrays["y"]) is not None
    names = ("y", "x") if swapped else ("x", "y")
    coefficient, low, high = _coefficient(file, arrays[names[0]], settings)
    solution = torch.from_numpy(arrays[names[1]])
    fixed = {"n": solution.shape[-1], "low": low, "high": high, "grid": grid_kind(solution), **settings}
    rules = (settings["faces"],) if "faces" in settings else FACES
    some = slice(CALIBRATION_STATES)
    candidates = calibrate("darcy", fixed, coefficient[some], solution[some], rules)
    best = candidates[0]
    states = torch.stack([coefficient, solution.mT if best.transposed else solution], 1)
    return Imported(best.pde, states, _findings(names, swapped, candidates))


READERS: Mapping[str, Reader] = {"darcy": read_darcy}


def _check_shapes(file: Path, x: NDArray, y: NDArray, settings: Mapping[str, Any]) -> None:
    if x.shape != y.shape or x.shape[1] != x.shape[2]:
        raise UserError(f"{file}: 'x' has shape {x.shape}, 'y' {y.shape}; expected equal (N, n, n)")
    if settings.get("n", x.shape[1]) != x.shape[1]:
        raise UserError(f"{file} holds states of {x.shape[1]}² points, the settings ask for n = {settings['n']}")


def _two_values(array: NDArray) -> tuple[float, float] | None:
    values = np.unique(array)
    return (float(values[0]), float(values[1])) if len(values) == 2 else None


def _coefficient(file: Path, array: NDArray, settings: Mapping[str, Any]) -> tuple[Tensor, float, float]:
    stored = _two_values(array)
    if stored is None:
        raise UserError(f"{file}: neither 'x' nor 'y' is two-valued; this format's Darcy coefficient is")
    found = LEVELS if stored == (0.0, 1.0) else stored
    low, high = settings.get("low", found[0]), settings.get("high", found[1])
    return torch.from_numpy(np.where(array == stored[1], high, low)), low, high


def _findings(names: tuple[str, str], swapped: bool, candidates: tuple[Candidate, ...]) -> tuple[str, ...]:
    best, note = candidates[0], ": channels swapped against the format" if swapped else ""
    config = best.pde.config
    edges = "first row and column on the boundary, last inside" if config.grid == "left_closed" else "all edges on it"
    return (
        f"coefficient {names[0]!r}, solution {names[1]!r}{note}",
        f"coefficient values {config.low:g} and {config.high:g}",
        f"{config.grid} grid ({edges}), h = {best.pde.grid.spacings[0]:.4g}",
        *(f"{'chosen: ' if candidate is best else 'refused: '}{candidate.describe()}" for candidate in candidates),
    )
