"""Observation masks: initial state, boundary and sensors of an evolution; DiffusionPDE's random points."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from jensenbench.core.pde import PDE, Axis
from jensenbench.errors import UserError

SENSORS = 5 / 128  # DiffusionPDE's 5 of 128 points, kept as a share on other grids (arXiv 2406.17763)


def initial(pde: PDE, stream: np.random.Generator) -> Tensor:
    """(C, *grid) bool: the state at t = 0."""
    return pde.role_mask("coefficient")


def boundary(pde: PDE, stream: np.random.Generator) -> Tensor:
    """(C, *grid) bool: the first and the last point of every axis of space that is not periodic, at all times."""
    axes = spatial_axes(pde)
    mask = torch.zeros([axis.n for axis in axes], dtype=torch.bool)
    for dim, axis in enumerate(axes):
        ends = {"periodic": [], "left_closed": [0]}.get(axis.kind, [0, -1])
        for end in ends:
            mask.select(dim, end).fill_(True)
    return mask.expand(pde.shape).clone()


def sensors(pde: PDE, stream: np.random.Generator) -> Tensor:
    """(C, *grid) bool: random points in space, at all times."""
    mask = torch.zeros([axis.n for axis in spatial_axes(pde)], dtype=torch.bool)
    chosen = stream.choice(mask.numel(), max(1, round(SENSORS * mask.numel())), replace=False)
    mask.view(-1)[torch.from_numpy(np.sort(chosen))] = True
    return mask.expand(pde.shape).clone()


REGIONS: Mapping[str, Callable[[PDE, np.random.Generator], Tensor]] = {
    "initial": initial,
    "boundary": boundary,
    "sensors": sensors,
}


def spatial_axes(pde: PDE) -> tuple[Axis, ...]:
    """Axes of the grid other than time."""
    time_first = any(field.role == "space_time" for field in pde.fields)
    return pde.grid.axes[1:] if time_first else pde.grid.axes


def published_mask(count: int, shape: Sequence[int], seed: int) -> Tensor:
    """Bool mask (*shape) of ``count`` random points as DiffusionPDE's public code draws it (arXiv 2406.17763).

    That code takes numpy's legacy generator and one mask for all instances, with seed 1 for the coefficient and 0 for
    the solution. Raises UserError if the points do not fit in the shape.
    """
    mask = torch.zeros(*shape, dtype=torch.bool)
    if count > mask.numel():
        raise UserError(f"published mask: {count} points do not fit in {mask.numel()}")
    chosen = np.random.RandomState(seed).choice(mask.numel(), count, replace=False)
    mask.view(-1)[torch.from_numpy(chosen)] = True
    return mask
