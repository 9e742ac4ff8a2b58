"""Inviscid Burgers equation with a shock and a random inflow value, as a space-time field (PCFM)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from jensenbench.core.constraints import Constraint, Measured
from jensenbench.errors import UserError
from pdes import _pcfm_constraints
from pdes._finite_volume import FiniteVolume

BISECTIONS = 60
COURANT = 1.02  # largest |u| dt/h; beyond 1 the scheme is not monotone, but two per cent grow little until t = 1


@dataclass(frozen=True)
class BurgersInviscidConfig:
    """Settings of :class:`BurgersInviscid`.

    Attributes:
        n: times in [0, 1] and nodes in [0, 1]; 101 as published.
        width: w of the initial front 1/(1 + exp((x - p)/w)), > 0; published: 0.02.
        p_low, p_high: the position p is uniform between them, 0 <= p_low < p_high <= 1; published: 0.2 and 0.8.
        left_low, left_high: the value at x = 0 for t > 0 is uniform between them, in [0, 1]; published: 0 and 1.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (the entropy solution).
    """

    n: int = 32
    width: float = 0.02
    p_low: float = 0.2
    p_high: float = 0.8
    left_low: float = 0.0
    left_high: float = 1.0
    data: str = "discrete"

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise UserError(f"burgers_inviscid: width = {self.width} of the front must be positive; published: 0.02")
        if not 0 <= self.p_low < self.p_high <= 1:
            raise UserError(
                f"burgers_inviscid: p_low = {self.p_low} and p_high = {self.p_high} must meet 0 <= p_low < p_high <= 1"
            )
        if not 0 <= self.left_low < self.left_high <= 1:
            raise UserError(
                f"burgers_inviscid: left_low = {self.left_low} and left_high = {self.left_high} must meet "
                "0 <= left_low < left_high <= 1, or the time step dt = h is too long for the inflow"
            )


class BurgersInviscid(FiniteVolume):
    """Inviscid Burgers: u_t + (u²/2)_x = 0, x and t in [0, 1]; Godunov's scheme with dt = h.

    * State (b, 1, n, n), dimensionless: u(t, x) on nodes; rows are times, the first one is the coefficient.
    * Distribution, as PCFM (arXiv 2506.04171): the front u(0, x) = 1/(1 + exp((x - p)/w)), p ~ U(.2, .8), breaks at
      t = 4w; the value b ~ U(0, 1) enters at x = 0 behind a rarefaction; nothing is prescribed at x = 1, where the
      discrete data have no gradient. b is latent: it is fitted as the mean of the column x = 0.
    * Own residual: balance of a cell over a time step with Godunov's flux (weak form), first order. The strong form has
      no meaning at a shock. Part ``mass`` is the balance of all cells since t = 0, ``boundary`` what is prescribed at
      the ends.
    * Solver: Godunov's scheme (Godunov 1959), explicit.

    Continuous data are the entropy solution, by the formula of Lax and Oleinik with a boundary. Sampled on a grid, its
    shock lies between nodes, so that the residual of the cells it crosses stays as large as their terms.
    """

    name: ClassVar[str] = "burgers_inviscid"
    Config: ClassVar[type] = BurgersInviscidConfig
    transport: ClassVar[str] = "convection"
    published: ClassVar = {"pcfm": _pcfm_constraints.burgers}
    references: ClassVar[tuple[str, ...]] = ("utkarsh2025pcfm", "godunov1959difference", "lefloch1988explicit")

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        c = self.config
        return (c.p_low, c.p_high), (c.left_low, c.left_high)

    def truncation_floor(self) -> float:
        """Of the order of the terms themselves on every grid, because of the shock."""
        return 1.0

    def profile(self, parameters: Tensor) -> Tensor:
        return torch.sigmoid((parameters[:, :1] - self.grid.axes[1].coordinates) / self.config.width)

    def fitted(self, u: Tensor) -> Tensor:
        """The inflow value b (b,) of u (b, n, n)."""
        return u[:, 1:, 0].mean(1).clamp(self.config.left_low, self.config.left_high)

    def fluxes(self, u: Tensor) -> Tensor:
        return godunov_flux(u[:, :-1, :-1], u[:, :-1, 1:])

    def march(self, row: Tensor, latent: Tensor) -> Tensor:
        (dt, dx), rows = self.grid.spacings, [row]
        self._require_stable(row)
        for _ in range(self.config.n - 1):
            u = rows[-1]
            inner = u[:, 1:-1] - dt / dx * godunov_flux(u[:, :-1], u[:, 1:]).diff(dim=1)
            rows.append(torch.cat([latent[:, None], inner, inner[:, -1:]], 1))
        return torch.stack(rows, 1)

    def boundary(self, u: Tensor) -> Tensor:
        """Departures from a constant inflow and from a zero gradient at the outflow."""
        return torch.cat([u[:, 1:, 0] - self.fitted(u)[:, None], self._gradient(u)], 1)

    def _gradient(self, u: Tensor) -> Tensor:
        return u[:, 1:, -1] - u[:, 1:, -2]

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        if self.data != "discrete":
            return ()
        outflow = Measured("outflow", lambda fields: self._gradient(fields[:, 0]), state.new_zeros(1, 1))
        return (*super().constraints(state), outflow)

    def closed_form(self, parameters: Tensor) -> Tensor:
        times, x = (axis.coordinates for axis in self.grid.axes)
        p, left = parameters[:, 0, None, None], parameters[:, 1, None, None]
        later = entropy_solution(times[1:, None], x, p, left, self.config.width)
        return torch.cat([self.profile(parameters)[:, None], later], 1)

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Waves that change sign, so that every branch of the flux is met."""
        times, x = (axis.coordinates for axis in self.grid.axes)
        c, t = torch.arange(batch, dtype=x.dtype).reshape(-1, 1, 1), times[:, None]
        u, u_x, u_t = torch.sin(4 * x - t + c), 4 * torch.cos(4 * x - t + c), -torch.cos(4 * x - t + c)
        return u[:, None], {"interior": (u_t + u * u_x)[:, :-1, 1:-1]}

    def _require_stable(self, row: Tensor) -> None:
        (dt, dx), speed = self.grid.spacings, row.abs().amax(1)
        if (speed * dt / dx > COURANT).any():
            worst = int(speed.argmax())
            raise UserError(
                f"burgers_inviscid: sample {worst} starts with |u| = {float(speed[worst]):.3g}, more than the time "
                f"step dt = h allows (|u| dt/h <= {COURANT:g}); scale or drop the sample"
            )


def godunov_flux(left: Tensor, right: Tensor) -> Tensor:
    """Flux u²/2 of the entropy solution between two states, at their interface (Godunov 1959)."""
    return torch.maximum(left.clamp(min=0).square(), right.clamp(max=0).square()) / 2


def entropy_solution(t: Tensor, x: Tensor, p: Tensor, left: Tensor, width: float) -> Tensor:
    """u(t, x), t > 0, from u(0, x) = 1/(1 + exp((x - p)/width)) and u(t, 0) = left in [0, 1]; arguments broadcast.

    u = φ_x with φ the least, over all points (s, y) of the axes from which a ray of speed (x - y)/(t - s) arrives, of
    φ(s, y) + (x - y)²/(2(t - s)). On t = 0, φ is the integral of the profile; its least ray is stationary, hence
    y + t u(0, y) = x, on one of the two sides of the inflection where that map increases. On x = 0, φ = -left² s/2.
    """
    t, x, p, left = torch.broadcast_tensors(t, x, p, left)
    steep = (0.25 - width / t).clamp(min=0).sqrt()  # u(0, y) = 1/2 ± steep where the map y -> y + t u(0, y) turns
    turn = width * torch.logit(0.5 + steep)
    rays = [_ray(t, x, p, width, x * 0, (p - turn).clamp(min=0)), _ray(t, x, p, width, (p + turn).clamp(min=0), x)]
    potentials = [_primitive(y, p, width) + (x - y).square() / (2 * t) for y in rays]
    u = torch.where(potentials[0] <= potentials[1], (x - rays[0]) / t, (x - rays[1]) / t)
    from_left = (x <= left * t) & (left * (x - left * t / 2) <= torch.minimum(*potentials))
    return torch.where(from_left, left, u)


def _ray(t: Tensor, x: Tensor, p: Tensor, width: float, low: Tensor, high: Tensor) -> Tensor:
    """Root y of y + t u(0, y) = x between low and high, where the left side increases; else the nearer end."""
    high = torch.maximum(low, high)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        beyond = middle + t * torch.sigmoid((p - middle) / width) > x
        low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
    return (low + high) / 2


def _primitive(y: Tensor, p: Tensor, width: float) -> Tensor:
    """Integral of the profile from 0 to y."""
    return width * (softplus(p / width) - softplus((p - y) / width))
