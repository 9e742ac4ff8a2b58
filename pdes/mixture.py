"""Toy: a Gaussian mixture around the unit circle, with everything in closed form."""

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

ANGLES = (0.25, 0.75, 1.25, 1.75)  # of the means, times pi: none near x = ±1, where y is not a function of x
WEIGHTS = (0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class MixtureConfig:
    """n independent points in a state, one is the toy; standard deviation ``width`` of each component."""

    n: int = 1
    width: float = 0.05


class Mixture(OnCircle):
    """Gaussian mixture: four components of unequal weight with means on x² + y² = 1; pointwise residual.

    Means meet the constraint exactly, states up to the width: E[R²] = 4 width² + 8 width⁴. In exchange the law
    has an exact prior, so that posterior means, samples and the Jensen gap are known in closed form.
    """

    name: ClassVar[str] = "mixture"
    Config: ClassVar[type] = MixtureConfig

    def __init__(self, config: MixtureConfig | None = None):
        super().__init__(config)
        if not 0 < self.config.width < 0.2:
            raise UserError(f"mixture: width = {self.config.width} must lie between 0 and 0.2, or components overlap")

    @property
    def data_floor(self) -> float:
        """Three times the expected one: few states scatter."""
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
