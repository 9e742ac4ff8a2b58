"""Sparse Jacobian of a stencil by graph colouring: its diagonal and largest entry from few Jacobian-vector products.

Unknowns that share no point of the residual are differentiated together: a colouring of the grid (Curtis, Powell &
Reid, 1974) with as many colours as the stencil is wide, however fine the grid. Derivatives tell the sparsity.
"""

from collections.abc import Callable, Iterator
from math import ceil, prod

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.numerics.random import generator_of

# States (b, C, *grid) to residuals (b, ..., *points), with as many axes of points as the grid has.
Residual = Callable[[Tensor], Tensor]
ENTRIES = 2**23  # numbers in all tangents of one forward pass, which bounds the memory
NEGLIGIBLE = 1e-12  # of the largest derivative: rounding errors of a transform


def directions(residual: Residual, mask: Tensor) -> Tensor:
    """Sets of unknowns (k, C, *grid) bool that split ``mask`` (C, *grid): no point depends on two unknowns of a set.

    The first axes of ``residual`` after the batch may be several equations. Colours are products of colours along the
    axes, so that any stencil in a box is covered; a residual without locality gets as many sets as unknowns.
    """
    colours = [_colours(_seen(residual, mask, axis)) for axis in range(1, mask.ndim)]
    counts = [int(colour.max()) + 1 for colour in colours]
    mixed = torch.zeros(mask.shape[1:], dtype=torch.int64)  # one number for every combination of the axes' colours
    for axis, (colour, count) in enumerate(zip(colours, counts, strict=True)):
        mixed = mixed * count + _along(colour, axis, mixed.ndim)
    channels = torch.arange(len(mask)).reshape(-1, *[1] * mixed.ndim)
    number = channels * prod(counts) + mixed
    return torch.stack([mask & (number == value) for value in number[mask].unique()])


def jacobian_products(residual: Residual, x: Tensor, tangents: Tensor) -> Iterator[Tensor]:
    """Yield J t (b, ...) for each of the tangents t (k, C, *grid), by forward-mode differentiation of many at once."""
    count = max(1, ENTRIES // max(1, x.numel()))
    for part in tangents.to(x).split(count):
        directions_of_all = part.repeat_interleave(len(x), 0)
        products = torch.func.jvp(residual, (x.repeat(len(part), *[1] * (x.ndim - 1)),), (directions_of_all,))[1]
        yield from products.unflatten(0, (len(part), len(x)))


def jacobian_diagonal(residual: Residual, x: Tensor, sets: Tensor, tangents: Tensor | None = None) -> Tensor:
    """Diagonal ∂R_i/∂x_i (b, C, *grid) of one equation R (b, *points); zero off ``sets`` and where i has no point.

    Where R has fewer points than the grid, edges are taken to be missing on both sides, or on the first one only.
    ``sets`` come from :func:`directions`; ``tangents`` are the same in other linear coordinates of x.
    """
    diagonal = torch.zeros_like(x)
    for one, product in zip(sets, jacobian_products(residual, x, sets if tangents is None else tangents), strict=True):
        diagonal = diagonal + on_grid(product, one.shape[1:])[:, None] * one.to(x)
    return diagonal


def jacobian_maximum(residual: Residual, x: Tensor, sets: Tensor, tangents: Tensor | None = None) -> Tensor:
    """Largest (signed) entry (b,) of ∂R/∂x over all points, equations and unknowns in ``sets``."""
    products = jacobian_products(residual, x, sets if tangents is None else tangents)
    return torch.stack([product.flatten(1).amax(1) for product in products]).amax(0)


def on_grid(points: Tensor, grid: torch.Size) -> Tensor:
    """Values (b, *points) padded with zeros to the grid (b, *grid)."""
    missing = [n - m for n, m in zip(grid, points.shape[1:], strict=True)]
    before = [ceil(gap / 2) for gap in missing]
    pads = [side for gap, low in zip(missing[::-1], before[::-1], strict=True) for side in (low, gap - low)]
    return torch.nn.functional.pad(points, pads)


def _seen(residual: Residual, mask: Tensor, axis: int) -> Tensor:
    """(m, n) bool: whether the residual at index i of an axis depends on an unknown at index j of that axis."""
    random, n = generator_of(("jensenbench", "stencil")), mask.shape[axis]
    state, moves = (torch.rand(mask.shape, generator=random, dtype=torch.float64) + 0.5 for _ in range(2))
    slabs = torch.stack([_along(torch.arange(n) == k, axis, mask.ndim).expand_as(mask) for k in range(n)])
    products = torch.func.jvp(residual, (state.repeat(n, *[1] * mask.ndim),), (moves * mask * slabs,))[1]
    if products.ndim < mask.ndim:
        raise UserError(f"residuals need {mask.ndim - 1} axes of points after the batch, got {tuple(products.shape)}")
    size = products.abs().movedim(axis - mask.ndim, 1)
    largest = size.reshape(*size.shape[:2], -1).amax(2)
    return (largest > NEGLIGIBLE * largest.max()).T


def _colours(seen: Tensor) -> Tensor:
    """Greedy colouring (n,) of the columns: columns with a nonzero entry in the same row differ."""
    clashes = (seen.T.double() @ seen.double()) > 0
    colours = torch.full((len(clashes),), -1)
    for column in range(len(clashes)):
        taken = set(colours[clashes[column]].tolist())
        colours[column] = next(colour for colour in range(len(clashes)) if colour not in taken)
    return colours


def _along(values: Tensor, axis: int, ndim: int) -> Tensor:
    return values.reshape(*[1] * axis, -1, *[1] * (ndim - 1 - axis))
