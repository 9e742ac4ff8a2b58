"""The porous medium equation with a front that starts at a wall, as a space-time field."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from jensenbench.errors import UserError
from pdes._nonlinear_diffusion import NonlinearDiffusion

TINY = 1e-30  # keeps logarithms of nothing finite


@dataclass(frozen=True)
class PorousMediumConfig:
    """n times and nodes in [0, 1]; exponents m uniform on [m_low, m_high]; ``data`` discrete or continuous."""

    n: int = 32
    m_low: float = 1.0
    m_high: float = 6.0
    data: str = "discrete"

    def __post_init__(self) -> None:
        if not 1 <= self.m_low < self.m_high:
            raise UserError(
                f"porous_medium: m_low = {self.m_low} and m_high = {self.m_high} must meet 1 <= m_low < m_high"
            )


class PorousMedium(NonlinearDiffusion):
    """Porous medium: u_t = (u^m u_x)_x, x and t in [0, 1], dry at t = 0; backward Euler with dt = h, first order.

    The law of ECI (arXiv 2412.01786): u(t, 0) = (m t)^{1/m}, m ~ U(1, 6), whose weak solution is the travelling front
    u = (m max(t - x, 0))^{1/m}. m is the latent parameter: 1/m is the slope of log u against log t in the column
    x = 0, by least squares with weights u² (a given error of u weighs the same at all times).
    Φ(u) = u|u|^m/(m + 1), odd, so that negative values obey an equation, too.
    """

    name: ClassVar[str] = "porous_medium"
    Config: ClassVar[type] = PorousMediumConfig
    references: ClassVar[tuple[str, ...]] = ("cheng2025eci", "hansen2023probconserv", "vazquez2007porous")

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        return ((self.config.m_low, self.config.m_high),)

    def profile(self, parameters: Tensor) -> Tensor:
        return parameters.new_zeros(len(parameters), self.config.n)

    def closed_form(self, parameters: Tensor) -> Tensor:
        (t, x), m = self.grid.mesh(), parameters[:, -1, None, None]
        return (m * (t - x).clamp(min=0)) ** (1 / m)

    def inflow(self, latent: Tensor) -> Tensor:
        m = latent[:, None]
        return (m * self.grid.axes[0].coordinates[1:].to(latent)) ** (1 / m)

    def fitted(self, u: Tensor) -> Tensor:
        """The exponent m."""
        column = u[:, 1:, 0].clamp(min=0)
        x, y = self.grid.axes[0].coordinates[1:].log().to(u), column.clamp(min=TINY).log()
        weights = column.square() + TINY
        weights = weights / weights.sum(1, keepdim=True)
        away = x - (weights * x).sum(1, keepdim=True)
        slope = (weights * away * y).sum(1) / (weights * away.square()).sum(1)
        return slope.clamp(1 / self.config.m_high, 1 / self.config.m_low).reciprocal()

    def potential(self, u: Tensor, latent: Tensor) -> Tensor:
        return u * self.slope(u, latent) / (latent + 1)

    def slope(self, u: Tensor, latent: Tensor) -> Tensor:
        return u.abs().clamp(min=TINY) ** latent

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """A wave on a rising level, everywhere wet; m is what the residual finds in it."""
        times, x = (axis.coordinates for axis in self.grid.axes)
        c, t = torch.arange(batch, dtype=x.dtype).reshape(-1, 1, 1), times[:, None]
        u, slope = 0.5 + t + 0.1 * torch.sin(x + 4 * t + c), 0.1 * torch.cos(x + 4 * t + c)
        m = self.fitted(u)[:, None, None]
        bend = u**m * (0.5 + t - u) + m * u ** (m - 1) * slope.square()  # (u^m u_x)_x
        return u[:, None], {"interior": (1 + 4 * slope - bend)[:, 1:, 1:-1]}
