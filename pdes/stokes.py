"""Stokes' second problem, viscous flow above an oscillating plate, as a space-time field."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, pi
from typing import ClassVar

import torch
from scipy.special import ndtr
from torch import Tensor

from jensenbench.core.constraints import Constraint, FixedEntries
from jensenbench.core.pde import PDE, Axis, Field, Grid
from jensenbench.errors import UserError
from pdes._grf import draw_normals
from pdes._linear_evolution import crank_nicolson
from pdes._parameter_fits import fitted_frequency, fitted_ratio

AMPLITUDE = 2.0


@dataclass(frozen=True)
class StokesConfig:
    """Settings of :class:`Stokes`.

    Attributes:
        n: times in [0, 1] and nodes in [0, 1]; 100 as published. omega_high/(n-1) must stay below π.
        k_low, k_high: the wave number k is uniform between them, 0 < k_low < k_high; published: 2 and 20.
        omega_low, omega_high: the angular frequency ω of the plate is uniform between them; published: 2 and 8.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (the closed form below).
    """

    n: int = 32
    k_low: float = 2.0
    k_high: float = 20.0
    omega_low: float = 2.0
    omega_high: float = 8.0
    data: str = "discrete"

    def __post_init__(self) -> None:
        for name in ("k", "omega"):
            low, high = getattr(self, f"{name}_low"), getattr(self, f"{name}_high")
            if not 0 < low < high or not isfinite(high):
                raise UserError(f"stokes: {name}_low = {low} and {name}_high = {high} must be finite, 0 < low < high")


class Stokes(PDE):
    """Stokes' second problem: u_t = ν u_yy above a plate that moves as 2 cos ωt; y and t in [0, 1]; Crank-Nicolson.

    * State (b, 1, n, n), dimensionless: u(t, y) on nodes; rows are times, the first one is the coefficient.
    * Distribution: u = 2 e^{-ky} cos(ky - ωt) with ν = ω/(2k²), k ~ U(2, 20), ω ~ U(2, 8), as ECI (arXiv 2412.01786).
      k and ω are latent: a state does not store them. Continuous data are this wave. Discrete data take its first row
      and its values at both ends, and solve the scheme in between.
    * Own residual: Crank-Nicolson in time, central differences in y, second order, with the ν that fits the state best
      in least squares. The parts ``initial``, ``plate`` and ``far`` are distances to the wave at t = 0, y = 0 and
      y = 1, with ω fitted to the motion of the plate and k = √(ω/2ν), both within their ranges.
    * Solver: sine modes, with the same fitted parameters; all in closed form.
    """

    name: ClassVar[str] = "stokes"
    Config: ClassVar[type] = StokesConfig
    floor: ClassVar[float] = 1e-11
    latent = True
    references: ClassVar[tuple[str, ...]] = ("arXiv:2412.01786",)

    def __init__(self, config: StokesConfig | None = None):
        super().__init__(config)
        c = self.config
        self.fields = (Field("u", "space_time"),)
        self.grid = Grid((Axis("t", c.n), Axis("y", c.n)))
        if c.omega_high * self.grid.spacings[0] >= pi:
            raise UserError(f"stokes: n = {c.n} times do not resolve omega_high = {c.omega_high}; raise n")

    def truncation_floor(self) -> float:
        """Second order in k h for the thinnest layer."""
        return min(1.0, 0.2 * (self.config.k_high * self.grid.spacings[1]) ** 2)

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        state = torch.zeros(len(indices), *self.shape, dtype=torch.float64)
        state[:, 0, 0] = self._wave(*self._draw(indices, seed))[:, 0]
        return state

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        k, omega = self._draw(indices, seed)
        wave = self._wave(k, omega)
        return self._march(wave[:, 0], k, omega) if self.data == "discrete" else wave[:, None]

    def _draw(self, indices: Sequence[int], seed: int) -> tuple[Tensor, Tensor]:
        """Wave numbers and frequencies (b,)."""
        c, share = self.config, torch.from_numpy(ndtr(draw_normals(indices, (2,), seed=seed)))
        return c.k_low + (c.k_high - c.k_low) * share[:, 0], c.omega_low + (c.omega_high - c.omega_low) * share[:, 1]

    def _wave(self, k: Tensor, omega: Tensor) -> Tensor:
        """(b, n, n) closed form."""
        t, y = (axis.to(k) for axis in self.grid.mesh())
        return _wave(k, omega, t, y)

    def _march(self, row: Tensor, k: Tensor, omega: Tensor) -> Tensor:
        """States (b, 1, n, n) from the row at t = 0, with the wave's values at both ends."""
        (t, y), ends = self.grid.axes, self._wave(k, omega)[..., [0, -1]]
        return crank_nicolson(row, ends, omega / (2 * k.square()), t.spacing, y)[:, None]

    def solve(self, state: Tensor) -> Tensor:
        w = state.double()
        solved = self._march(w[:, 0, 0], *self._latent(w, fitted_ratio(*self._slopes(w))))
        return torch.cat([state[:, :, :1], solved[:, :, 1:].to(state)], 2)

    def _resimulated(self, state: Tensor, indices: Sequence[int], seed: int) -> Tensor:
        """The first row determines k; ω is drawn anew."""
        k, _ = self._latent(state, fitted_ratio(*self._slopes(state)))
        return self._march(state[:, 0, 0], k, self._draw(indices, seed)[1])

    def _slopes(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """u_t and u_yy (b, n-1, n-2) at the inner nodes, halfway between rows."""
        u, (dt, dy) = state[:, 0], self.grid.spacings
        middle = (u[:, 1:] + u[:, :-1]) / 2
        return u[..., 1:-1].diff(dim=1) / dt, middle.diff(n=2, dim=-1) / dy**2

    def _latent(self, state: Tensor, nu: Tensor) -> tuple[Tensor, Tensor]:
        """Wave numbers and frequencies (b,) of states with the diffusivities ``nu``, within their ranges."""
        c, dt = self.config, self.grid.spacings[0]
        omega = fitted_frequency(state[:, 0, :, 0], dt, c.omega_low, c.omega_high)
        least = c.omega_low / (2 * c.k_high * c.k_high)
        return (omega / (2 * nu.clamp(min=least))).sqrt().clamp(c.k_low, c.k_high), omega

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        return _balance(*self._slopes(state))

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        """Distances to the wave: ``initial`` of the first row, ``plate`` at y = 0, ``far`` at y = 1."""
        return self._conditions(state, fitted_ratio(*self._slopes(state)))

    def _conditions(self, state: Tensor, nu: Tensor) -> dict[str, Tensor]:
        gap = state[:, 0] - self._wave(*self._latent(state, nu))
        return {"initial": gap[:, 0], "plate": gap[:, 1:, 0], "far": gap[:, 1:, -1]}

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        """u = 2 on the plate at t = 0, for all k and ω."""
        mask = torch.zeros(1, *self.shape, dtype=torch.bool, device=state.device)
        mask[0, 0, 0, 0] = True
        return (FixedEntries("start of the plate", mask, state.new_tensor(AMPLITUDE)),)

    def affine(self) -> bool:
        return False

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The wave and a standing sine that vanishes at both ends and at t = 0."""
        (t, y), row = self.grid.mesh(), torch.arange(batch, dtype=torch.float64)
        k, omega = 3 + 0.5 * row, 4 + row
        state = (self._wave(k, omega) + t.square() * torch.sin(pi * y))[:, None]
        times, inner = ((t[1:] + t[:-1]) / 2)[:, 1:-1], y[1:, 1:-1]
        rate = omega.reshape(-1, 1, 1) * _wave(k, omega, times, inner, phase=pi / 2)
        nu = (omega / (2 * k.square())).reshape(-1, 1, 1)
        sine = torch.sin(pi * inner)
        slopes = rate + 2 * times * sine, rate / nu - pi**2 * times.square() * sine
        interior = torch.stack(list(_balance(*slopes).values())).sum(0)
        return state, {"interior": interior, **self._conditions(state, fitted_ratio(*slopes))}


def _wave(k: Tensor, omega: Tensor, t: Tensor, y: Tensor, phase: float = 0.0) -> Tensor:
    """2 e^{-ky} cos(ky - ωt - phase), (b, m, n), for k, ω (b,) on points (m, n)."""
    k, omega = k.reshape(-1, 1, 1), omega.reshape(-1, 1, 1)
    return AMPLITUDE * torch.exp(-k * y) * torch.cos(k * y - omega * t - phase)


def _balance(rate: Tensor, curvature: Tensor) -> dict[str, Tensor]:
    """Terms of u_t = ν u_yy with the ν of the smallest residual."""
    return {"u_t": rate, "diffusion": -fitted_ratio(rate, curvature)[:, None, None] * curvature}
