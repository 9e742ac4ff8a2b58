"""Second-order finite differences and conservative fluxes on batches of fields; differentiable, any dtype, device."""

from collections.abc import Sequence

import torch
from torch import Tensor

FACES = ("arithmetic", "harmonic")


def laplacian(u: Tensor, spacings: Sequence[float]) -> Tensor:
    """5-point Laplacian of (b, n, m) fields at the inner points, (b, n-2, m-2)."""
    rows, columns = u[:, :, 1:-1], u[:, 1:-1, :]
    return rows.diff(n=2, dim=-2) / spacings[0] ** 2 + columns.diff(n=2, dim=-1) / spacings[1] ** 2


def first_difference(u: Tensor, dim: int, spacing: float) -> Tensor:
    """First derivative along ``dim`` at every node: central, one-sided at both ends, all of second order."""
    return torch.gradient(u, spacing=spacing, dim=dim, edge_order=2)[0]


def second_difference(u: Tensor, dim: int, spacing: float) -> Tensor:
    """Second derivative along ``dim`` at every node: central, (2, -5, 4, -1)/h² at both ends."""
    start, end = u.narrow(dim, 0, 4), u.narrow(dim, u.shape[dim] - 4, 4).flip(dim)
    low, high = (2 * v[0] - 5 * v[1] + 4 * v[2] - v[3] for v in (start.movedim(dim, 0), end.movedim(dim, 0)))
    return torch.cat([low.unsqueeze(dim), u.diff(n=2, dim=dim), high.unsqueeze(dim)], dim) / spacing**2


def face_values(a: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Means of (b, n, m) nodal values on the faces around inner points: (b, n-1, m-2) and (b, n-2, m-1)."""
    return face_means(a[:, :, 1:-1], -2, kind), face_means(a[:, 1:-1, :], -1, kind)


def face_means(a: Tensor, dim: int, kind: str) -> Tensor:
    """Means of neighbouring nodal values along ``dim``, where the result has one entry fewer."""
    count = a.shape[dim] - 1
    return _mean(a.narrow(dim, 0, count), a.narrow(dim, 1, count), kind)


def _mean(left: Tensor, right: Tensor, kind: str) -> Tensor:
    return (left + right) / 2 if kind == "arithmetic" else 2 * left * right / (left + right)


def divergence_of_flux(faces: tuple[Tensor, Tensor], u: Tensor, spacings: Sequence[float]) -> Tensor:
    """Conservative ∇·(a∇u) at the inner points of (b, n, m) fields, with a given on the faces."""
    rows = (faces[0] * u[:, :, 1:-1].diff(dim=-2)).diff(dim=-2) / spacings[0] ** 2
    columns = (faces[1] * u[:, 1:-1, :].diff(dim=-1)).diff(dim=-1) / spacings[1] ** 2
    return rows + columns


def periodic_first(u: Tensor, spacing: float) -> Tensor:
    """Central first difference along the periodic last axis."""
    return (torch.roll(u, -1, -1) - torch.roll(u, 1, -1)) / (2 * spacing)


def periodic_second(u: Tensor, spacing: float) -> Tensor:
    """Central second difference along the periodic last axis."""
    return (torch.roll(u, -1, -1) - 2 * u + torch.roll(u, 1, -1)) / spacing**2
