"""Toy: points uniformly distributed on the unit circle (PIDM)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import ClassVar

import torch
from scipy.special import ndtr
from torch import Tensor

from jensenbench.core.pde import Symmetry
from pdes._circle import OnCircle
from pdes._grf import draw_normals


@dataclass(frozen=True)
class CircleConfig:
    """Settings of :class:`Circle`.

    Attributes:
        n: independent points per state; 1 is the toy.
    """

    n: int = 1


class Circle(OnCircle):
    """Unit circle: x² + y² = 1, the angle uniform; pointwise residual.

    * State (b, 2, n), dimensionless: x (the coefficient), y (the solution) of n independent points.
    * Distribution: (cos θ, sin θ), θ ~ U(0, 2π), the toy of PIDM (arXiv 2403.14404).
    * Own residual: x² + y² - 1 at each point, exact, quadratic.
    * Solver: y = ±√(1 - x²) with the sign that y has, 0 where |x| > 1.
    """

    name: ClassVar[str] = "circle"
    Config: ClassVar[type] = CircleConfig
    references: ClassVar[tuple[str, ...]] = ("arXiv:2403.14404",)

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        return self.generate(indices, seed=seed) * self.role_mask("coefficient")

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        angle = 2 * pi * torch.from_numpy(ndtr(draw_normals(indices, (self.config.n,), seed=seed)))
        return torch.stack([angle.cos(), angle.sin()], 1)

    def symmetries(self) -> tuple[Symmetry, ...]:
        """Quarter turns, each with and without the exchange of x and y."""
        return tuple(_turn(quarter, swap) for quarter in range(4) for swap in (False, True))


def _turn(quarter: int, swap: bool) -> Symmetry:
    def move(state: Tensor) -> Tensor:
        for _ in range(quarter):
            state = torch.stack([-state[:, 1], state[:, 0]], 1)
        return state.flip(1) if swap else state

    return move
