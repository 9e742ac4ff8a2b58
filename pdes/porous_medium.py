"""Porous medium equation with a front of finite speed that starts at a wall, as a space-time field."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from jensenbench.errors import UserError
from pdes._nonlinear_diffusion import NonlinearDiffusion

TINY = 1e-30  # keeps the logarithm of 0 finite


@dataclass(frozen=True)
class PorousMediumConfig:
    """Settings of :class:`PorousMedium`.

    Attributes:
        n: times in [0, 1] and nodes in [0, 1]; 100 as published.
        m_low, m_high: the exponent m is uniform between them, 1 <= m_low < m_high; published: 1 and 6.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (the travelling front below).
    """

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
    """Porous medium: u_t = (u^m u_x)_x, x and t in [0, 1], u = 0 at t = 0; backward Euler, finite volumes.

    * State (b, 1, n, n), dimensionless: u(t, x) on nodes; rows are times, the first one is the coefficient.
    * Distribution: u(t, 0) = (m t)^{1/m} with m ~ U(1, 6), as ECI (arXiv 2412.01786); the weak solution is the
      travelling front u = (m max(t - x, 0))^{1/m}. m is latent: a state does not store it. 1/m is the slope of log u
      against log t in the column x = 0, by least squares with weights u² (an error of u then counts the same at all
      times).
    * Own residual: balance of a cell over a time step (weak form) of u_t = Φ(u)_xx, Φ(u) = u|u|^m/(m + 1), which is
      odd, so that negative values obey an equation, too; first order, time step = h = 1/(n-1).
    * Solver: implicit, Newton's method in each time step.
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
        """A wave on a rising level, positive everywhere; m is what :meth:`fitted` finds in it."""
        times, x = (axis.coordinates for axis in self.grid.axes)
        c, t = torch.arange(batch, dtype=x.dtype).reshape(-1, 1, 1), times[:, None]
        u, slope = 0.5 + t + 0.1 * torch.sin(x + 4 * t + c), 0.1 * torch.cos(x + 4 * t + c)
        m = self.fitted(u)[:, None, None]
        bend = u**m * (0.5 + t - u) + m * u ** (m - 1) * slope.square()  # (u^m u_x)_x
        return u[:, None], {"interior": (1 + 4 * slope - bend)[:, 1:, 1:-1]}
