"""Toy: a Gaussian mixture near the unit circle, with its exact prior, posteriors and Jensen gap in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar

import torch
from scipy.special import ndtr
from torch import Tensor

from jensenbench.errors import UserError
from pdes._circle import OnCircle
from pdes._grf import draw_normals

ANGLES = (0.25, 0.75, 1.25, 1.75)  # of the means, in units of pi; far from x = ±1, where both branches of y meet
WEIGHTS = (0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class MixtureConfig:
    """Settings of :class:`Mixture`.

    Attributes:
        n: independent points per state; 1 has an exact prior and is the toy.
        width: standard deviation of each component, in (0, 0.2), in the unit of the radius; 0.05 keeps them apart.
    """

    n: int = 1
    width: float = 0.05


class Mixture(OnCircle):
    """Gaussian mixture: four components of unequal weight with means on x² + y² = 1; pointwise residual.

    * State (b, 2, n), dimensionless: x (the coefficient), y (the solution) of n independent points.
    * Distribution: Σ_j w_j N(μ_j, width² I), weights .4, .3, .2, .1, means at the angles π/4, 3π/4, 5π/4, 7π/4.
    * Own residual: R = x² + y² - 1 at each point, exact, quadratic. The means meet it, states only up to the width:
      E[R²] = 4 width² + 8 width⁴.
    * Solver: y = ±√(1 - x²) with the sign that y has, 0 where |x| > 1.
    """

    name: ClassVar[str] = "mixture"
    Config: ClassVar[type] = MixtureConfig

    def __init__(self, config: MixtureConfig | None = None):
        super().__init__(config)
        if not 0 < self.config.width < 0.2:
            raise UserError(
                f"mixture: width = {self.config.width} must lie between 0 and 0.2; 0.05 keeps components apart"
            )

    @property
    def data_floor(self) -> float:
        """Three times the expected rms residual, since few states scatter."""
        return 3 * sqrt(4 * self.config.width**2 + 8 * self.config.width**4)

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        return self.generate(indices, seed=seed) * self.role_mask("coefficient")

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        normals = torch.from_numpy(draw_normals(indices, (3, self.config.n), seed=seed))
        shares = torch.tensor(WEIGHTS, dtype=torch.float64).cumsum(0)[:-1]
        chosen = torch.bucketize(torch.from_numpy(ndtr(normals[:, 0].numpy())), shares)
        return _means()[chosen].movedim(-1, 1) + self.config.width * normals[:, 1:]

    def exact_prior(self) -> str | None:
        return "mixture" if self.config.n == 1 else None

    def mixture(self) -> tuple[Tensor, Tensor, float]:
        if self.config.n != 1:
            return super().mixture()
        return _means()[:, :, None], torch.tensor(WEIGHTS, dtype=torch.float64), self.config.width


def _means() -> Tensor:
    """(4, 2) means of the components."""
    angle = pi * torch.tensor(ANGLES, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], 1)
