"""Second-order finite differences on batches of fields, differentiable, any dtype and device."""

from collections.abc import Sequence

import torch
from torch import Tensor

FACES = ("arithmetic", "harmonic")


def laplacian(u: Tensor, spacings: Sequence[float]) -> Tensor:
    """5-point Laplacian of (b, n, m) fields at the inner points, (b, n-2, m-2)."""
    rows, columns = u[:, :, 1:-1], u[:, 1:-1, :]
    return rows.diff(n=2, dim=-2) / spacings[0] ** 2 + columns.diff(n=2, dim=-1) / spacings[1] ** 2


def face_values(a: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Means of (b, n, m) nodal values on the faces around inner points: (b, n-1, m-2) and (b, n-2, m-1)."""
    inner_columns, inner_rows = a[:, :, 1:-1], a[:, 1:-1, :]
    along_rows = _mean(inner_columns[:, :-1], inner_columns[:, 1:], kind)
    along_columns = _mean(inner_rows[..., :-1], inner_rows[..., 1:], kind)
    return along_rows, along_columns


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
