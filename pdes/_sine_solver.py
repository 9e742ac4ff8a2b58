"""Fast direct solver of the 5-point Poisson and Helmholtz equations with zero Dirichlet values, by sine transforms."""

import torch
from torch import Tensor

from jensenbench.core.codec import sine_matrix
from jensenbench.core.pde import Axis


class SineSolver:
    """Solves L u + shift u = f for inner values f, u (b, n-2, n-2), L the 5-point Laplacian, u = 0 on the edge.

    The transforms are dense products: batched, differentiable, on any device, and on grids up to 128² no
    slower than FFTs, whose length 2(n-1) often has a large prime factor.
    ``first_eigenvalue`` is the smallest one of -L.
    """

    def __init__(self, axis: Axis, shift: float = 0.0):
        matrix, eigenvalues = sine_matrix(axis)
        low = eigenvalues[1:-1]
        self._matrix = matrix[1:-1, 1:-1].contiguous()
        self._symbol = shift - (low[:, None] + low[None, :])
        self.first_eigenvalue = float(2 * low[0])

    def __call__(self, f: Tensor) -> Tensor:
        matrix, symbol = self._matrix.to(f), self._symbol.to(f)
        return matrix @ ((matrix @ f @ matrix) / symbol) @ matrix


def with_zero_edge(inner: Tensor) -> Tensor:
    """Fields (b, n, n) that vanish on the edge from inner values (b, n-2, n-2)."""
    return torch.nn.functional.pad(inner, (1, 1, 1, 1))
