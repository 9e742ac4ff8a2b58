"""Residuals as public codes evaluate them: for methods that are guided by them as published, never to score.

Codes, by paper and repository:

* DiffusionPDE: arXiv 2406.17763, jhhuangchloe/DiffusionPDE at 1e2bc8b, ``scripts/generate_*.py``. Residuals lie on the
  full grid, (b, n, m). Darcy's and Burgers' lack the grid spacings and pad with zeros, so that true states do not make
  them vanish.
* FunDPS: arXiv 2505.17004, neuraloperator/FunDPS at 314f219, ``generation/pde_residual.py``. It cuts the padded margin
  off and gives Darcy its spacing.
* PIDM: arXiv 2403.14404, jhbastek/PhysicsInformedDiffusionModels at 733aeb0, ``src/residuals_darcy.py``.
* CoCoGen: arXiv 2312.10527, christian-jacobsen/CoCoGen at ea7e135, ``physics/operators.py``. Both expand ∇·(K∇p), with
  one-sided stencils on the edges.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from jensenbench.core.pde import PDE, AxisKind
from pdes._neumann import corner_wells
from pdes._stencils import first_difference, laplacian, periodic_first, periodic_second, second_difference


def _row_difference(u: Tensor) -> Tensor:
    """Central difference along the second to last axis without 1/h, zeros outside."""
    padded = torch.nn.functional.pad(u, (0, 0, 1, 1))
    return (padded[:, 2:] - padded[:, :-2]) / 2


def _column_difference(u: Tensor) -> Tensor:
    """Central difference along the last axis without 1/h, zeros outside."""
    padded = torch.nn.functional.pad(u, (1, 1))
    return (padded[..., 2:] - padded[..., :-2]) / 2


def darcy(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """DiffusionPDE (``generate_darcy.py``): ∂(a ∂u) + source, central differences twice, without 1/h, zeros outside."""
    a, u = state[:, 0], state[:, 1]
    return {
        "interior": _column_difference(a * _column_difference(u))
        + _row_difference(a * _row_difference(u))
        + pde.config.source
    }


def poisson(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """DiffusionPDE (``generate_poisson.py``): 5-point Laplacian - f with h = 1/(n-1), zero on the edge."""
    return {"interior": _five_point(pde, state, 0.0)}


def helmholtz(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """DiffusionPDE (``generate_helmholtz.py``): as :func:`poisson`, with k²u."""
    return {"interior": _five_point(pde, state, pde.config.k**2)}


def burgers(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """DiffusionPDE (``generate_burgers.py``): ∂_t u + u ∂_x u - ν ∂_x ∂_x u without 1/h, central, zeros outside."""
    u = state[:, 0]
    slope = _column_difference(u)
    return {"interior": _row_difference(u) + u * slope - pde.config.nu * _column_difference(slope)}


def navier_stokes(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """DiffusionPDE (``generate_ns_nonbounded.py``): ∂_x w + ∂_y w of the last snapshot without 1/h, zero on the edge.

    The code calls it a divergence; it does not vanish for true states.
    """
    w = state[:, -1]
    return {"interior": torch.nn.functional.pad(_inner(_row_difference(w) + _column_difference(w), 1), (1, 1, 1, 1))}


def fundps_darcy(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """FunDPS: ∂(a ∂u) + source by central differences applied twice, without the two outer points at each edge."""
    a, u, (h, k) = state[:, 0], state[:, 1], pde.grid.spacings
    flow = _column_difference(a * _column_difference(u)) / k**2 + _row_difference(a * _row_difference(u)) / h**2
    return {"interior": _inner(flow, 2) + pde.config.source}


def fundps_poisson(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """FunDPS: 5-point Laplacian - f at the inner points."""
    return {"interior": _inner(_five_point(pde, state, 0.0), 1)}


def fundps_helmholtz(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """FunDPS: as :func:`fundps_poisson`, with k²u."""
    return {"interior": _inner(_five_point(pde, state, pde.config.k**2), 1)}


def fundps_burgers(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """FunDPS: as DiffusionPDE, without grid spacings and without the two outer points at each edge."""
    return {"interior": _inner(burgers(pde, state)["interior"], 2)}


def fundps_navier_stokes(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """FunDPS: as DiffusionPDE, at the inner points."""
    return {"interior": _inner(navier_stokes(pde, state)["interior"], 1)}


def _inner(field: Tensor, margin: int) -> Tensor:
    return field[:, margin:-margin, margin:-margin]


def _five_point(pde: PDE, state: Tensor, shift: float) -> Tensor:
    f, u = state[:, 0, 1:-1, 1:-1], state[:, 1, 1:-1, 1:-1]
    inner = laplacian(state[:, 1], pde.grid.spacings) + shift * u - f
    return torch.nn.functional.pad(inner, (1, 1, 1, 1))


def pidm(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """PIDM (``ResidualsDarcy``): the equation, and the outward slope of p on the edges of either axis, zero elsewhere.

    Three channels (b, n, n). The code reverses the second axis, which changes no value: its derivatives enter in pairs
    or along the outward normal.
    """
    return _pidm(pde, state, pde.grid.spacings)


def pidm_pixel_centres(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """PIDM: as :func:`pidm` with the spacing 1/n of cells."""
    return _pidm(pde, state, cell_spacings(pde))


def _pidm(pde: PDE, state: Tensor, spacings: Sequence[float]) -> dict[str, Tensor]:
    k, p = state[:, 0], state[:, 1]
    flow = expanded_divergence(k, p, spacings)
    edges = {f"edges_{axis.name}": _outward_slope(p, dim, spacings[dim]) for dim, axis in enumerate(pde.grid.axes)}
    return {"interior": -flow - _wells(pde, "cell").to(state), **edges}


def cocogen_darcy(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """CoCoGen (``DarcyFlow``): ∇·(K∇p) + f at every node with the spacing 1/n that its configuration sets."""
    return _cocogen_darcy(pde, state, cell_spacings(pde))


def cocogen_darcy_nodal(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """CoCoGen: as :func:`cocogen_darcy` with the nodes' own spacing."""
    return _cocogen_darcy(pde, state, pde.grid.spacings)


def _cocogen_darcy(pde: PDE, state: Tensor, spacings: Sequence[float]) -> dict[str, Tensor]:
    return {"interior": expanded_divergence(state[:, 0], state[:, 1], spacings) + _wells(pde, "node").to(state)}


def cocogen_velocity(k: Tensor, p: Tensor, spacings: Sequence[float]) -> Tensor:
    """CoCoGen: velocity -K ∂p along either axis, (b, 2, n, m), by central differences; zero on the edges normal to it.

    CoCoGen's files hold the velocity of the stored arrays, where p is transposed against K.
    """
    velocity = torch.zeros(len(p), 2, *p.shape[1:]).to(p)
    velocity[:, 0, 1:-1] = -k[:, 1:-1] * (p[:, 2:] - p[:, :-2]) / (2 * spacings[0])
    velocity[:, 1, :, 1:-1] = -k[..., 1:-1] * (p[..., 2:] - p[..., :-2]) / (2 * spacings[1])
    return velocity


def cocogen_burgers(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """CoCoGen (``ViscousBurgers``): ∂_t u + u ∂_x u - ν ∂_xx u at all points, periodic in x.

    One-sided differences at the first and the last time.
    """
    u, (dt, dx) = state[:, 0], pde.grid.spacings
    spatial = u * periodic_first(u, dx) - pde.config.nu * periodic_second(u, dx)
    return {"interior": first_difference(u, -2, dt) + spatial}


def _wells(pde: PDE, kind: AxisKind) -> Tensor:
    return corner_wells(pde.config.n, pde.config.strength, pde.config.side, kind)


def cell_spacings(pde: PDE) -> tuple[float, ...]:
    """h = L/n, the spacing of codes that treat nodes as pixel centres."""
    return tuple(axis.extent / axis.n for axis in pde.grid.axes)


def expanded_divergence(k: Tensor, p: Tensor, spacings: Sequence[float]) -> Tensor:
    """K ∂²p + ∂K ∂p summed over both axes of (b, n, m) nodal fields, at every node; not conservative."""
    along = [
        k * second_difference(p, dim, h) + first_difference(k, dim, h) * first_difference(p, dim, h)
        for dim, h in zip((-2, -1), spacings, strict=True)
    ]
    return along[0] + along[1]


def _outward_slope(p: Tensor, dim: int, spacing: float) -> Tensor:
    """Outward derivative of (b, n, n) p on the two edges of a grid axis, zero elsewhere."""
    normal = torch.zeros(p.shape[1:], dtype=p.dtype, device=p.device)
    normal.select(dim, 0).fill_(-1)
    normal.select(dim, -1).fill_(1)
    return normal * first_difference(p, dim + 1, spacing)
