"""Residuals as the public code of DiffusionPDE evaluates them (arXiv 2406.17763, repository at 1e2bc8b).

Each returns the residual on the full grid, (b, n, m). They are kept to reproduce published results:
Darcy's and Burgers' lack the grid spacings and pad with zeros, so true states do not make them vanish.
"""

import torch
from torch import Tensor

from jensenbench.pde import PDE
from pdes._stencils import laplacian


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


def _five_point(pde: PDE, state: Tensor, shift: float) -> Tensor:
    f, u = state[:, 0, 1:-1, 1:-1], state[:, 1, 1:-1, 1:-1]
    inner = laplacian(state[:, 1], pde.grid.spacings) + shift * u - f
    return torch.nn.functional.pad(inner, (1, 1, 1, 1))
