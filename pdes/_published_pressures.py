"""Darcy pressures as the public generators of PIDM and CoCoGen compute them: overdetermined systems, least squares.

-∇·(K∇p) = f, no flux, ∫p = 0, with the expanded (not conservative) divergence on the nodes of a square; the system
is inconsistent, so that no equation holds exactly. K and f of one sample are (n, n) float64.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import Tensor

from pdes._neumann import node_weights
from pdes._stencils import first_difference, second_difference

Array = NDArray[np.float64]
Sparse = Any  # a csr_array; scipy's stubs do not know that it has a shape


@dataclass(frozen=True)
class System:
    """Overdetermined linear system for a nodal field (n, n), row-major; right-hand side 0 but for the first n² rows."""

    matrix: Sparse
    f: Tensor

    @property
    def rhs(self) -> Array:
        return np.concatenate([self.f.numpy().ravel(), np.zeros(self.matrix.shape[0] - self.matrix.shape[1])])

    def solve(self) -> Tensor:
        """Least-squares solution (n, n), from the augmented system of residual and field, scaled for accuracy."""
        count, unknowns = self.matrix.shape
        scale = 1 / len(self.f)  # about the smallest singular value, that of the mean's row
        identity = scale * sparse.eye_array(count)
        augmented = sparse.block_array([[identity, self.matrix], [self.matrix.T, None]], format="csc")
        solution = np.asarray(spsolve(augmented, np.concatenate([self.rhs, np.zeros(unknowns)])))
        return torch.from_numpy(solution[count:].reshape(self.f.shape))


def pidm(k: Tensor, f: Tensor) -> System:
    """PIDM's system: the equation with one-sided stencils, n·∇p = 0 on each edge, trapezoidal mean.

    Source: arXiv 2403.14404, repository jhbastek/PhysicsInformedDiffusionModels at 733aeb0,
    ``src/darcy_data_generation.py``.
    """
    n, h = len(k), 1 / (len(k) - 1)
    first, second = _matrix(first_difference, n, h), _matrix(second_difference, n, h)
    slopes = [_along(axis, first)[_edge(n, axis, end)] for axis in (0, 1) for end in (0, -1)]
    mean = sparse.csr_array(node_weights(k).numpy().reshape(1, -1) * h**2)
    return System(sparse.csr_array(sparse.vstack([_equation(k, first, second), *slopes, mean])), f)


def cocogen(k: Tensor, f: Tensor) -> System:
    """CoCoGen's system: the equation with mirrored neighbours at the walls, and an integral of p.

    Source: arXiv 2312.10527, repository christian-jacobsen/CoCoGen at ea7e135,
    ``data_generation/darcy_flow/generate_darcy.py``. Two flaws of that code are kept: what it stores as p is
    transposed with respect to K, and the weights of the integral are trapezoidal along one axis only.
    """
    n, h = len(k), 1 / (len(k) - 1)
    inner = np.arange(n)[:, None] % (n - 1) > 0
    central = inner * (np.eye(n, k=1) - np.eye(n, k=-1)) / (2 * h)
    second = ((2 - inner) * (np.eye(n, k=1) + np.eye(n, k=-1)) - 2 * np.eye(n)) / h**2
    integral = (node_weights(k)[:, 1:2] / 2).expand(n, n) * h**2
    rows = [_equation(k.T, sparse.csr_array(central), sparse.csr_array(second)), integral.numpy().reshape(1, -1)]
    return System(sparse.csr_array(sparse.vstack(rows)), f.T)


GENERATORS: dict[str, Callable[[Tensor, Tensor], System]] = {"pidm": pidm, "cocogen": cocogen}


def _matrix(difference: Callable[[Tensor, int, float], Tensor], n: int, h: float) -> Sparse:
    """Matrix (n, n) of a difference along a line."""
    return sparse.csr_array(difference(torch.eye(n, dtype=torch.float64), 0, h).numpy())


def _along(axis: int, line: Sparse) -> Sparse:
    """A line's matrix acting along one axis of (n, n) fields in row-major order."""
    one = sparse.eye_array(line.shape[0])
    return sparse.csr_array(sparse.kron(line, one) if axis == 0 else sparse.kron(one, line))


def _edge(n: int, axis: int, end: int) -> NDArray[np.int_]:
    """Row-major indices of the nodes on one edge."""
    return np.moveaxis(np.arange(n * n).reshape(n, n), axis, 0)[end]


def _equation(k: Tensor, first: Sparse, second: Sparse) -> Sparse:
    """-K ∂² - ∂K ∂ summed over both axes, with these matrices (n, n) of the differences of p along a line."""
    total = sparse.csr_array((k.numel(), k.numel()))
    for axis in (0, 1):
        slope = first_difference(k, axis, 1 / (len(k) - 1))
        total -= sparse.diags_array(k.flatten().numpy()) @ _along(axis, second)
        total -= sparse.diags_array(slope.flatten().numpy()) @ _along(axis, first)
    return sparse.csr_array(total)
