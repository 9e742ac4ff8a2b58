"""Places where tasks observe an evolution: its start, the ends of its interval, sensors that watch at all times."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from jensenbench.core.constraints import Constraint
from jensenbench.core.pde import PDE, Axis
from jensenbench.errors import UserError

SENSORS = 5 / 128  # DiffusionPDE's 5 of 128 points, kept as a share on other grids (arXiv 2406.17763)
CONSERVED = ("mass", "mean")  # names of the constraints that keep an integral


def space(pde: PDE) -> tuple[Axis, ...]:
    """Axes of a row or snapshot of an evolution."""
    rows = any(field.role == "space_time" for field in pde.fields)
    return pde.grid.axes[1:] if rows else pde.grid.axes


def initial(pde: PDE, stream: np.random.Generator) -> Tensor:
    """(C, *grid) bool: the row or snapshot at t = 0."""
    return pde.role_mask("coefficient")


def boundary(pde: PDE, stream: np.random.Generator) -> Tensor:
    """(C, *grid) bool: the first and the last point of every axis of space that is not periodic, at all times."""
    axes = space(pde)
    mask = torch.zeros([axis.n for axis in axes], dtype=torch.bool)
    for dim, axis in enumerate(axes):
        ends = {"periodic": [], "left_closed": [0]}.get(axis.kind, [0, -1])
        for end in ends:
            mask.select(dim, end).fill_(True)
    return mask.expand(pde.shape).clone()


def sensors(pde: PDE, stream: np.random.Generator) -> Tensor:
    """(C, *grid) bool: random points in space, at all times."""
    mask = torch.zeros([axis.n for axis in space(pde)], dtype=torch.bool)
    chosen = stream.choice(mask.numel(), max(1, round(SENSORS * mask.numel())), replace=False)
    mask.view(-1)[torch.from_numpy(np.sort(chosen))] = True
    return mask.expand(pde.shape).clone()


REGIONS: Mapping[str, Callable[[PDE, np.random.Generator], Tensor]] = {
    "initial": initial,
    "boundary": boundary,
    "sensors": sensors,
}


def conserved(pde: PDE, state: Tensor) -> tuple[Constraint, ...]:
    """Those hard constraints of states with the coefficient part of ``state`` that keep an integral."""
    return tuple(constraint for constraint in pde.constraints(state) if constraint.name in CONSERVED)


def refusal(pde: PDE, region: str, *, conserves: bool) -> str | None:
    """Why states of a PDE have no such region or conserved quantity, None if they have."""
    if not pde.evolves:
        return "its states are no evolution in time"
    if region == "boundary" and all(axis.kind == "periodic" for axis in space(pde)):
        return "it is periodic in space and has no boundary"
    if conserves and not conserved(pde, torch.zeros(1, *pde.shape, dtype=torch.float64)):
        return "its data keep no integral"
    return None


def published_mask(count: int, shape: Sequence[int], seed: int) -> Tensor:
    """Bool mask with ``count`` random points as DiffusionPDE's public code draws it (arXiv 2406.17763).

    It uses numpy's legacy generator; one mask for all instances, seed 1 for the coefficient and 0 for the solution.
    """
    mask = torch.zeros(*shape, dtype=torch.bool)
    if count > mask.numel():
        raise UserError(f"published mask: {count} points do not fit in {mask.numel()}")
    chosen = np.random.RandomState(seed).choice(mask.numel(), count, replace=False)
    mask.view(-1)[torch.from_numpy(chosen)] = True
    return mask
