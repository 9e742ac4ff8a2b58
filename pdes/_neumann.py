"""Finite volumes on the nodes of a square without flux through the edge; fast cosine solver; corner wells as source."""

from math import pi

import torch
from torch import Tensor

from jensenbench.core.pde import Axis, AxisKind


def node_weights(like: Tensor) -> Tensor:
    """(n, n) control volumes of the nodes in units of h²: 1 inside, 1/2 on edges, 1/4 at corners."""
    line = torch.ones(like.shape[-1], dtype=like.dtype, device=like.device)
    line[0] = line[-1] = 0.5
    return line[:, None] * line


def mean_of_nodes(u: Tensor) -> Tensor:
    """Means (b,) of nodal fields (b, n, n) over the square, by the trapezoidal rule."""
    weights = node_weights(u)
    return (weights * u).sum((-2, -1)) / weights.sum()


def net_outflow(faces: tuple[Tensor, Tensor], u: Tensor) -> Tensor:
    """Flow -a ∂u out of each control volume (b, n, n), a given on the faces along both axes; sums to zero."""
    line = node_weights(u)[0] * 2  # lengths of the faces that cut an axis, in units of h
    rows = torch.nn.functional.pad(faces[0] * u.diff(dim=-2) * line, (0, 0, 1, 1))
    columns = torch.nn.functional.pad(faces[1] * u.diff(dim=-1) * line[:, None], (1, 1))
    return -(rows.diff(dim=-2) + columns.diff(dim=-1))


def corner_wells(n: int, strength: float, side: float, kind: AxisKind = "node") -> Tensor:
    """(n, n) float64: ``strength`` in the corner square at the origin, minus it in the opposite one, edges included."""
    x = Axis("x", n, kind=kind).coordinates
    near, far = (distance <= side * (1 + 1e-12) for distance in (x, 1 - x))
    return strength * ((near[:, None] & near).double() - (far[:, None] & far).double())


class CosineSolver:
    """Solves net_outflow(x) = r for a = 1 and r (b, n, n) that sums to zero; x has mean zero.

    Cosines cos(πki/(n-1)) diagonalise the operator along each axis, orthonormal in the half-cell weights.
    """

    def __init__(self, axis: Axis):
        k = torch.arange(axis.n, dtype=torch.float64)
        line = node_weights(k)[0] * 2
        cosines = torch.cos(pi * k[:, None] * k / (axis.n - 1))
        self._matrix = cosines / (cosines.square() * line).sum(1, keepdim=True).sqrt()
        low = 2 - 2 * torch.cos(pi * k / (axis.n - 1))
        self._inverse = 1 / (low[:, None] + low)
        self._inverse[0, 0] = 0

    def __call__(self, r: Tensor) -> Tensor:
        matrix = self._matrix.to(r)
        return matrix.T @ ((matrix @ r @ matrix.T) * self._inverse.to(r)) @ matrix
