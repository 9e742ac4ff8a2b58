"""Fourth-order residuals of the equations, which test whether a ranking depends on the discretisation.

Generated data solve the second-order equation and keep their truncation error here. The stencils are not part of the
PDE modules, since they score samples and no method may be guided by them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from jensenbench.core.pde import PDE
from pdes._parameter_fits import fitted_ratio
from pdes._vorticity import Vorticity

LEAST = 7  # smallest number of points along an axis
LEAST_SNAPSHOTS = 4

WITHOUT: Mapping[str, str] = {
    "burgers_inviscid": "shocks: no order of accuracy beyond the first, and the strong form has no meaning",
    "porous_medium": "a front at which the solution has no slope: as at a shock",
    "stefan": "a front at which the solution jumps: as at a shock",
    "circle": "pointwise: nothing is discretised",
    "mixture": "pointwise: nothing is discretised",
}


def high_order_residual(pde: PDE, state: Tensor) -> Tensor | None:
    """(b, *points) strong residual of states (b, C, *grid) where the wider stencils fit.

    None where the PDE has none (:data:`WITHOUT` says why) or too few points or snapshots.
    """
    if pde.name not in STENCILS or min(pde.grid.shape) < LEAST:
        return None
    return STENCILS[pde.name](pde, state)


def _laplace(pde: Any, state: Tensor) -> Tensor:
    """∇²u + shift u - f, nine-point cross."""
    f, u = _inner(state[:, 0], 2), state[:, 1]
    (h, k), shift = pde.grid.spacings, pde.shift
    return _second(u[..., 2:-2], -2, h) + _second(u[:, 2:-2], -1, k) + shift * _inner(u, 2) - f


def _darcy(pde: Any, state: Tensor) -> Tensor:
    return -_flow(pde, state) - pde.config.source


def _darcy_corner(pde: Any, state: Tensor) -> Tensor:
    return -_flow(pde, state) - _inner(pde.source().to(state)[None], 3)


def _flow(pde: PDE, state: Tensor) -> Tensor:
    """∇·(a∇u), fluxes on faces."""
    a, u, (h, k) = state[:, 0], state[:, 1], pde.grid.spacings
    return _divergence(a[..., 3:-3], u[..., 3:-3], -2, h) + _divergence(a[:, 3:-3], u[:, 3:-3], -1, k)


def _darcy_1d(pde: Any, state: Tensor) -> Tensor:
    return -_divergence(state[:, 0], state[:, 1], -1, pde.grid.spacings[0]) - pde.config.source


def _burgers_1d(pde: Any, state: Tensor) -> Tensor:
    f, u, h = state[:, 0], state[:, 1], pde.grid.spacings[0]
    return _first(u.square() / 2, h) - pde.config.nu * _second(u, -1, h) - f[:, 2:-2]


def _burgers(pde: Any, state: Tensor) -> Tensor:
    rate, middle, dx = _midpoints(pde, state)
    return rate + _first(_wrapped(middle).square() / 2, dx) - pde.config.nu * _second(_wrapped(middle), -1, dx)


def _convection(pde: Any, state: Tensor) -> Tensor:
    rate, middle, dx = _midpoints(pde, state)
    return rate + pde.config.beta * _first(_wrapped(middle), dx)


def _heat(pde: Any, state: Tensor) -> Tensor:
    rate, middle, dx = _midpoints(pde, state)
    curvature = _second(_wrapped(middle), -1, dx)
    return _best(rate, curvature) if pde.latent else rate - pde.config.nu * curvature


def _stokes(pde: Any, state: Tensor) -> Tensor:
    rate, middle, dy = _midpoints(pde, state)
    return _best(rate[..., 2:-2], _second(middle, -1, dy))


def _reaction_diffusion(pde: Any, state: Tensor) -> Tensor:
    rate, middle, dx = _midpoints(pde, state)
    source = rate - pde.config.rho * middle * (1 - middle)
    return source[..., 2:-2] - pde.config.nu * _second(middle, -1, dx)


def _navier_stokes(pde: Any, state: Tensor) -> Tensor | None:
    """Spectral in space as the own residual is, of fourth order between the snapshots."""
    if pde.config.arm != "space_time" or state.shape[1] < LEAST_SNAPSHOTS:
        return None
    flow = Vorticity(pde.forcing(pde.config.n).to(state), pde.config.nu)
    middle = _mean(torch.fft.rfft2(state), 1)
    return _slope(state, 1, pde.interval) - flow.values(flow.linear * middle + flow.nonlinear(middle))


STENCILS: Mapping[str, Callable[[Any, Tensor], Tensor | None]] = {
    "poisson": _laplace,
    "helmholtz": _laplace,
    "darcy": _darcy,
    "darcy_corner": _darcy_corner,
    "darcy_1d": _darcy_1d,
    "burgers": _burgers,
    "burgers_1d": _burgers_1d,
    "convection": _convection,
    "heat": _heat,
    "stokes": _stokes,
    "reaction_diffusion": _reaction_diffusion,
    "navier_stokes": _navier_stokes,
}


def _midpoints(pde: PDE, state: Tensor) -> tuple[Tensor, Tensor, float]:
    """u_t and u (b, times - 3, n) halfway between rows, without the first and last interval; the spacing in space."""
    u, (dt, dx) = state[:, 0], pde.grid.spacings
    return _slope(u, 1, dt), _mean(u, 1), dx


def _best(rate: Tensor, curvature: Tensor) -> Tensor:
    """u_t - ν u_xx with the ν of the smallest residual."""
    return rate - fitted_ratio(rate, curvature)[:, None, None] * curvature


def _inner(u: Tensor, width: int) -> Tensor:
    return u[..., width:-width, width:-width]


def _divergence(a: Tensor, u: Tensor, dim: int, spacing: float) -> Tensor:
    """(a u')' along ``dim`` at all but the three outer points at either end."""
    return _slope(_mean(a, dim) * _slope(u, dim, spacing), dim, spacing)


def _wrapped(u: Tensor) -> Tensor:
    """Two more points at both ends of the periodic last axis."""
    return torch.cat([u[..., -2:], u, u[..., :2]], -1)


def _first(u: Tensor, spacing: float) -> Tensor:
    """First derivative along the last axis at all but the two outer points at either end."""
    left, near, _, far, right = _neighbours(u, -1, 5)
    return (left - 8 * near + 8 * far - right) / (12 * spacing)


def _second(u: Tensor, dim: int, spacing: float) -> Tensor:
    """Second derivative along ``dim`` at all but the two outer points at either end."""
    left, near, here, far, right = _neighbours(u, dim, 5)
    return (16 * (near + far) - left - right - 30 * here) / (12 * spacing**2)


def _slope(u: Tensor, dim: int, spacing: float) -> Tensor:
    """First derivative along ``dim`` halfway between points, without the first and the last interval."""
    a, b, c, d = _neighbours(u, dim, 4)
    return (a - 27 * b + 27 * c - d) / (24 * spacing)


def _mean(u: Tensor, dim: int) -> Tensor:
    """Values at the points of :func:`_slope`."""
    a, b, c, d = _neighbours(u, dim, 4)
    return (9 * (b + c) - a - d) / 16


def _neighbours(u: Tensor, dim: int, width: int) -> list[Tensor]:
    count = u.shape[dim] - width + 1
    return [u.narrow(dim, start, count) for start in range(width)]
