"""Residuals as public codes evaluate them; kept to reproduce published results, never used to score.

DiffusionPDE (arXiv 2406.17763, repository at 1e2bc8b) returns them on the full grid, (b, n, m); Darcy's and
Burgers' lack the grid spacings and pad with zeros, so true states do not make them vanish. FunDPS (arXiv
2505.17004, 314f219) cuts the padded margin off and gives Darcy its spacing. PIDM (arXiv 2403.14404, 733aeb0) and
CoCoGen (arXiv 2312.10527, ea7e135) expand ∇·(K∇p), with one-sided stencils on the edges.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from jensenbench.core.pde import PDE, AxisKind
from pdes._neumann import corner_wells
from pdes._stencils import first_difference, laplacian, periodic_first, periodic_second, second_difference


def _rows(u: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(u, (0, 0, 1, 1))
    return (padded[:, 2:] - padded[:, :-2]) / 2


def _columns(u: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(u, (1, 1))
    return (padded[..., 2:] - padded[..., :-2]) / 2


def darcy(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """∂(a ∂u) + source by repeated central differences without 1/h, zeros outside."""
    a, u = state[:, 0], state[:, 1]
    return {"interior": _columns(a * _columns(u)) + _rows(a * _rows(u)) + pde.config.source}


def poisson(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """5-point Laplacian - f with h = 1/(n-1), zero on the edge."""
    return {"interior": _five_point(pde, state, 0.0)}


def helmholtz(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """As :func:`poisson`, with k²u."""
    return {"interior": _five_point(pde, state, pde.config.k**2)}


def burgers(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """∂_t u + u ∂_x u - ν ∂_x ∂_x u by central differences without 1/h, zeros outside."""
    u = state[:, 0]
    slope = _columns(u)
    return {"interior": _rows(u) + u * slope - pde.config.nu * _columns(slope)}


def navier_stokes(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """∂_x w + ∂_y w of the last snapshot without 1/h, zero on the edge; a "divergence" that true states do not lack."""
    w = state[:, -1]
    return {"interior": torch.nn.functional.pad(_inner(_rows(w) + _columns(w), 1), (1, 1, 1, 1))}


def fundps_darcy(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """∂(a ∂u) + source by central differences applied twice, two points in from the edge."""
    a, u, (h, k) = state[:, 0], state[:, 1], pde.grid.spacings
    flow = _columns(a * _columns(u)) / k**2 + _rows(a * _rows(u)) / h**2
    return {"interior": _inner(flow, 2) + pde.config.source}


def fundps_poisson(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """5-point Laplacian - f at the inner points."""
    return {"interior": _inner(_five_point(pde, state, 0.0), 1)}


def fundps_helmholtz(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """As :func:`fundps_poisson`, with k²u."""
    return {"interior": _inner(_five_point(pde, state, pde.config.k**2), 1)}


def fundps_burgers(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """DiffusionPDE's, without grid spacings, two points in from the edge."""
    return {"interior": _inner(burgers(pde, state)["interior"], 2)}


def fundps_navier_stokes(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """DiffusionPDE's, at the inner points."""
    return {"interior": _inner(navier_stokes(pde, state)["interior"], 1)}


def _inner(field: Tensor, margin: int) -> Tensor:
    return field[:, margin:-margin, margin:-margin]


def _five_point(pde: PDE, state: Tensor, shift: float) -> Tensor:
    f, u = state[:, 0, 1:-1, 1:-1], state[:, 1, 1:-1, 1:-1]
    inner = laplacian(state[:, 1], pde.grid.spacings) + shift * u - f
    return torch.nn.functional.pad(inner, (1, 1, 1, 1))


def pidm(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """The three channels (b, n, n) of PIDM: equation, outward slope of p on the edges of either axis, zero elsewhere.

    The code's reversed second axis changes no value: its derivatives enter in pairs or along the outward normal.
    """
    return _pidm(pde, state, pde.grid.spacings)


def pidm_pixel_centres(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """As :func:`pidm` with the spacing 1/n of cells."""
    return _pidm(pde, state, cell_spacings(pde))


def _pidm(pde: PDE, state: Tensor, spacings: Sequence[float]) -> dict[str, Tensor]:
    k, p = state[:, 0], state[:, 1]
    flow = expanded_divergence(k, p, spacings)
    edges = {f"edges_{axis.name}": _outward_slope(p, dim, spacings[dim]) for dim, axis in enumerate(pde.grid.axes)}
    return {"interior": -flow - _wells(pde, "cell").to(state), **edges}


def cocogen_darcy(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """CoCoGen's ∇·(K∇p) + f at every node with the spacing 1/n that its configuration sets."""
    return _cocogen_darcy(pde, state, cell_spacings(pde))


def cocogen_darcy_nodal(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """As :func:`cocogen_darcy` with the nodes' own spacing."""
    return _cocogen_darcy(pde, state, pde.grid.spacings)


def _cocogen_darcy(pde: PDE, state: Tensor, spacings: Sequence[float]) -> dict[str, Tensor]:
    return {"interior": expanded_divergence(state[:, 0], state[:, 1], spacings) + _wells(pde, "node").to(state)}


def cocogen_velocity(k: Tensor, p: Tensor, spacings: Sequence[float]) -> Tensor:
    """-K ∂p along either axis, (b, 2, n, m), by central differences; zero on the two edges that an axis ends at.

    CoCoGen's files hold it of the stored arrays: p lies transposed against K there.
    """
    velocity = torch.zeros(len(p), 2, *p.shape[1:]).to(p)
    velocity[:, 0, 1:-1] = -k[:, 1:-1] * (p[:, 2:] - p[:, :-2]) / (2 * spacings[0])
    velocity[:, 1, :, 1:-1] = -k[..., 1:-1] * (p[..., 2:] - p[..., :-2]) / (2 * spacings[1])
    return velocity


def cocogen_burgers(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """CoCoGen's ∂_t u + u ∂_x u - ν ∂_xx u at every point, periodic in x, one-sided at the ends of t."""
    u, (dt, dx) = state[:, 0], pde.grid.spacings
    spatial = u * periodic_first(u, dx) - pde.config.nu * periodic_second(u, dx)
    return {"interior": first_difference(u, -2, dt) + spatial}


def _wells(pde: PDE, kind: AxisKind) -> Tensor:
    return corner_wells(pde.config.n, pde.config.strength, pde.config.side, kind)


def cell_spacings(pde: PDE) -> tuple[float, ...]:
    """h = L/n, which codes use that take nodes for pixel centres."""
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
