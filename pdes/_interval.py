"""Base class of the one-dimensional toys: steady equations on [0, 1] with zero Dirichlet values."""

from abc import abstractmethod
from collections.abc import Sequence
from math import pi, sqrt
from typing import Any

import torch
from torch import Tensor

from jensenbench.core.constraints import Constraint, FixedEntries
from jensenbench.core.pde import PDE, Axis, Grid
from pdes._grf import Array

REFINEMENT = 8  # of the grid of continuous data


class Interval(PDE):
    """States (coefficient, u) on [0, 1], u = 0 at both ends.

    Continuous data are every eighth node of a state on a finer grid, with the same coefficient.
    """

    def __init__(self, config: Any = None):
        super().__init__(config)
        self.grid = Grid((Axis("x", self.config.n),))

    @abstractmethod
    def coefficient(self, indices: Sequence[int], points: int, *, seed: int) -> Tensor:
        """(b, points) coefficients at nodes, made of the modes that the grid of n nodes resolves."""

    @abstractmethod
    def solution(self, coefficient: Tensor) -> Tensor:
        """u (b, m) at the nodes of a coefficient (b, m)."""

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        coefficient = self.coefficient(indices, self.config.n, seed=seed)
        return torch.stack([coefficient, torch.zeros_like(coefficient)], 1)

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        factor = 1 if self.data == "discrete" else REFINEMENT
        coefficient = self.coefficient(indices, factor * (self.config.n - 1) + 1, seed=seed)
        return torch.stack([coefficient, self.solution(coefficient)], 1)[..., ::factor]

    def solve(self, state: Tensor) -> Tensor:
        return torch.stack([state[:, 0], self.solution(state[:, 0].double()).to(state)], 1)

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        return {"boundary": state[:, 1, [0, -1]]}

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        return (FixedEntries("boundary", two_ends(state, channel=1), state.new_zeros(())),)

    def affine(self) -> bool:
        return False


def cosine_field(xi: Array, points: int, *, alpha: float = 2.0, tau: float = 3.0) -> Tensor:
    """Σ_k √2 τ^{α-1/2} (π²k² + τ²)^{-α/2} ξ_k cos πkx at ``points`` nodes of [0, 1], for ξ (b, modes), k >= 1.

    Its distribution is N(0, τ^{2α-1} (-d²/dx² + τ²)^{-α}) with Neumann ends, without its mean: the field of Darcy's
    coefficients (DiffusionPDE, arXiv 2406.17763) in one dimension.
    """
    k = torch.arange(1, xi.shape[-1] + 1, dtype=torch.float64)
    weight = sqrt(2) * tau ** (alpha - 0.5) * (pi**2 * k.square() + tau**2) ** (-alpha / 2)
    x = torch.arange(points, dtype=torch.float64) / (points - 1)
    return (torch.from_numpy(xi) * weight) @ torch.cos(pi * k[:, None] * x)


def two_ends(state: Tensor, *, channel: int) -> Tensor:
    """(1, C, n) bool: both end nodes of a channel of states (b, C, n)."""
    mask = torch.zeros(1, *state.shape[1:], dtype=torch.bool, device=state.device)
    mask[0, channel, [0, -1]] = True
    return mask
