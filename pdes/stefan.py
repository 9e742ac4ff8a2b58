"""One-phase Stefan problem (melting with a moving front) in enthalpy form, as a space-time field."""

from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar

import torch
from torch import Tensor

from jensenbench.errors import UserError
from pdes._nonlinear_diffusion import NonlinearDiffusion

BISECTIONS = 60
FITS = 8


@dataclass(frozen=True)
class StefanConfig:
    """Settings of :class:`Stefan`.

    Attributes:
        n: times in [0, horizon] and nodes in [0, 1]; 100 as published.
        shock_low, shock_high: u*, at which u jumps to 0, is uniform between them, 0 < shock_low < shock_high < 1;
            published: 0.55 and 0.7.
        k: conductivity where u > u*, > 0; published: 1.
        horizon: last time, > 0, so short that the front stays in [0, 1]; published: 0.1.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (the similarity solution).
    """

    n: int = 32
    shock_low: float = 0.55
    shock_high: float = 0.7
    k: float = 1.0
    horizon: float = 0.1
    data: str = "discrete"

    def __post_init__(self) -> None:
        if not 0 < self.shock_low < self.shock_high < 1:
            raise UserError(
                f"stefan: shock_low = {self.shock_low} and shock_high = {self.shock_high} must meet "
                "0 < shock_low < shock_high < 1"
            )
        if not (self.k > 0 and self.horizon > 0):
            raise UserError(f"stefan: k = {self.k} and horizon = {self.horizon} must be positive; published: 1 and 0.1")


class Stefan(NonlinearDiffusion):
    """Stefan: u_t = Φ(u)_xx, Φ = k max(u - u*, 0), u(t, 0) = 1, u = 0 at t = 0; backward Euler, finite volumes.

    * State (b, 1, n, n), dimensionless: u(t, x), x in [0, 1], t in [0, horizon]; rows are times, the first one is the
      coefficient. Heat flows only where u > u*. At the front u jumps from u* to 0 and moves at s' = -k u_x/u* (the
      front condition, which the weak form contains).
    * Distribution: u* ~ U(.55, .7), k = 1, t <= 0.1, as ECI (arXiv 2412.01786); the exact solution depends on x/√t
      alone. u* is latent: a state does not store it. The residual and :meth:`solve` fit it to the cells at the front,
      by least squares over all times.
    * Own residual: balance of a cell over a time step (weak form), first order in the time step and in h.
    * Solver: implicit, Newton's method in each time step.
    """

    name: ClassVar[str] = "stefan"
    Config: ClassVar[type] = StefanConfig
    references: ClassVar[tuple[str, ...]] = ("cheng2025eci", "hansen2023probconserv", "crank1984free")

    def __init__(self, config: StefanConfig | None = None):
        config = config or StefanConfig()
        super().__init__(config, horizon=config.horizon)
        lowest = torch.tensor([config.shock_low], dtype=torch.float64)
        reach = float(front_factor(lowest)) * 2 * sqrt(config.k * config.horizon)
        if reach >= 1:
            raise UserError(
                f"stefan: with k = {config.k} and horizon = {config.horizon} the front gets to x = {reach:.3g}, out of "
                "[0, 1]; shorten the horizon"
            )

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        return ((self.config.shock_low, self.config.shock_high),)

    def profile(self, parameters: Tensor) -> Tensor:
        row = parameters.new_zeros(len(parameters), self.config.n)
        row[:, 0] = 1
        return row

    def closed_form(self, parameters: Tensor) -> Tensor:
        shock = parameters[:, -1, None, None]
        alpha, (t, x) = front_factor(shock), self.grid.mesh()
        similar = x / (2 * (self.config.k * t).sqrt())
        hot = 1 - (1 - shock) * torch.erf(similar) / torch.erf(alpha)
        u = torch.where(similar < alpha, hot, 0)
        u[:, :, 0] = 1
        return u

    def inflow(self, latent: Tensor) -> Tensor:
        return latent.new_ones(len(latent), self.config.n - 1)

    def fitted(self, u: Tensor) -> Tensor:
        """The value u* at the front: u_t = k (hot u)_xx - u* k hot_xx in the least squares, hot = [u > u*].

        The hot nodes and u* are found in turns, starting from the smallest u*. A value that is too small marks only
        few wrong nodes as hot and is corrected at once; a value that is too large would not be corrected.
        """
        shock = u.new_full((len(u),), self.config.shock_low)
        for _ in range(FITS):
            best, front = self._front_fit(u, shock)
            shock = torch.where(front, best, shock).clamp(*self.ranges[0])
        return shock

    def _front_fit(self, u: Tensor, shock: Tensor) -> tuple[Tensor, Tensor]:
        """The u* (b,) that fits best if the nodes above ``shock`` (b,) are hot, and whether there is a front."""
        (dt, dx), later = self.grid.spacings, u[:, 1:]
        hot = (later > shock[:, None, None]).to(u)
        curvature, jump = (self.config.k * part.diff(n=2, dim=2) / dx**2 for part in (hot * later, hot))
        square = jump.square().sum((1, 2))
        gap = ((curvature - u[..., 1:-1].diff(dim=1) / dt) * jump).sum((1, 2))
        return gap / torch.where(square > 0, square, 1), square > 0

    def potential(self, u: Tensor, latent: Tensor) -> Tensor:
        return self.config.k * (u - latent).clamp(min=0)

    def slope(self, u: Tensor, latent: Tensor) -> Tensor:
        return self.config.k * (u > latent).to(u)

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """A hot wave without a front, fast in time, where backward Euler is of first order."""
        times, x = (axis.coordinates for axis in self.grid.axes)
        c, speed = torch.arange(batch, dtype=x.dtype).reshape(-1, 1, 1), 2 * pi / self.config.horizon
        angle = x + speed * times[:, None] + c
        u = 2 + torch.sin(angle)
        return u[:, None], {"interior": (speed * torch.cos(angle) + self.config.k * torch.sin(angle))[:, 1:, 1:-1]}


def front_factor(shock: Tensor) -> Tensor:
    """α of the front x = 2α√(kt): the root of √π u* α erf(α) exp(α²) = 1 - u*, increasing in α, for u* in (0, 1)."""
    low, high = torch.zeros_like(shock), torch.full_like(shock, 6.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        beyond = sqrt(pi) * shock * middle * torch.erf(middle) * middle.square().exp() > 1 - shock
        low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
    return (low + high) / 2
