"""Base class of the toys on the unit circle: constraint x² + y² = 1 at independent points of the plane."""

from math import pi
from typing import Any, ClassVar

import torch
from torch import Tensor

from jensenbench.core.pde import PDE, Axis, Field, Grid


class OnCircle(PDE):
    """x² + y² = 1 at each of n independent points; x is the coefficient, y the solution.

    :meth:`solve` keeps x and the sign of y (positive for y = 0), and takes y = 0 where |x| > 1 has no solution.
    """

    order: ClassVar[int | None] = None
    least_n: ClassVar[int] = 1
    floor: ClassVar[float] = 1e-14

    def __init__(self, config: Any = None):
        super().__init__(config)
        self.fields = (Field("x", "coefficient"), Field("y", "solution"))
        self.grid = Grid((Axis("point", self.config.n, kind="cell"),))

    def solve(self, state: Tensor) -> Tensor:
        x, y = state[:, 0], state[:, 1]
        height = (1 - x.square()).clamp(min=0).sqrt()
        return torch.stack([x, torch.where(y < 0, -height, height)], 1)

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        x, y = state[:, 0], state[:, 1]
        return {"x²": x.square(), "y²": y.square(), "radius": -torch.ones_like(x)}

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        return {}

    def affine(self) -> bool:
        return False

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Points at known distances from the centre."""
        spread = torch.arange(1, batch * self.config.n + 1, dtype=torch.float64).reshape(batch, -1)
        radius, angle = 0.5 + spread / spread.max(), 2 * pi * 0.618 * spread
        state = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
        return state, {"interior": (radius - 1) * (radius + 1)}
