"""Poisson and Helmholtz states from any file: array order, orientation, grid and source, found by the residual."""

from collections.abc import Mapping
from pathlib import Path

import torch
from numpy.typing import NDArray

from jensenbench.data.formats.arrays import check_field, check_pair
from jensenbench.data.formats.constants import best_constants
from jensenbench.data.formats.interface import Imported, Settings
from jensenbench.data.formats.interpretations import choose
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde

MOST = 3e-3  # largest residual over the largest term; float32 rounding leaves 1e-5 at 128²


def read_states(file: Path, name: str, arrays: Mapping[str, NDArray], settings: Settings) -> Imported:
    """States (N, 2, n, n) of two arrays (N, n, n), source and solution as the format orders them, on nodes.

    Raises:
        UserError: in no order and orientation do the arrays solve the equation.
    """
    first, second = ((key, check_field(file, key, array, ndim=3)) for key, array in arrays.items())
    check_pair(file, first, second)
    n = settings.get("n", first[1].shape[-1])
    if n != first[1].shape[-1]:
        raise UserError(f"{file} holds states of {first[1].shape[-1]}² points, the settings ask for n = {n}")
    f, u = torch.from_numpy(first[1]), torch.from_numpy(second[1])
    interpretations = {
        "as the format says": torch.stack([f, u], 1),
        "solution transposed": torch.stack([f, u.mT], 1),
        "channels swapped": torch.stack([u, f], 1),
        "channels swapped, solution transposed": torch.stack([u, f.mT], 1),
    }
    fixed = {**settings, "n": n}
    found = [fit for fit in best_constants(name, fixed, interpretations.values()) if fit.clear]  # else the default
    pde = make_pde(name, fixed | {constant.name: constant.rounded for constant in found})
    states, findings = choose(file, pde, interpretations, most=MOST)
    told = (constant.describe() for constant in found)
    return Imported(pde, states, (f"source {first[0]!r}, solution {second[0]!r} on nodes", *told, *findings))
