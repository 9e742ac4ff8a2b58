"""Heat equation, periodic in space, with a fixed or a random diffusivity, as a space-time field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, pi
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from jensenbench.core.constraints import Conserved, Constraint
from jensenbench.core.pde import PDE, Axis, Field, Grid, Symmetry
from jensenbench.errors import UnknownName, UserError
from pdes._grf import draw_normals, periodic_profile
from pdes._linear_evolution import evolve, wave_numbers
from pdes._parameter_fits import fitted_ratio
from pdes._stencils import periodic_second

LAWS = ("gaussian", "eci")


@dataclass(frozen=True)
class HeatConfig:
    """Settings of :class:`Heat`.

    Attributes:
        n: times in [0, 1] and periodic points; 16 in the tiers, 100 as published for ``eci``.
        law: distribution of the data: ``gaussian`` (random profile, fixed diffusivity) or ``eci`` (random sine, random
            diffusivity).
        nu: diffusivity of ``gaussian``, > 0; 0.05.
        nu_low, nu_high: the diffusivity of ``eci`` is uniform between them, 0 < nu_low < nu_high; published: 1 and 5.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (exact decay of each Fourier mode).
    """

    n: int = 32
    law: str = "gaussian"
    nu: float = 0.05
    nu_low: float = 1.0
    nu_high: float = 5.0
    data: str = "discrete"

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise UnknownName("heat law", self.law, LAWS)
        if not (isfinite(self.nu) and self.nu > 0):
            raise UserError(f"heat: diffusivity nu = {self.nu} must be finite and positive; default: 0.05")
        if not 0 < self.nu_low < self.nu_high:
            raise UserError(f"heat: nu_low = {self.nu_low} and nu_high = {self.nu_high} must meet 0 < nu_low < nu_high")


class Heat(PDE):
    """Heat: u_t = ν u_xx, x periodic, t in [0, 1]; Crank-Nicolson, central differences; solved mode by mode.

    * State (b, 1, n, n), dimensionless: u(t, x); rows are times, the first one is the coefficient.
    * Distribution ``gaussian``: x in [0, 1), ν fixed, u(0, ·) the Gaussian profile of the Burgers problem. The residual
      is affine in the state, so that there is an exact prior.
    * Distribution ``eci``: x in [0, 2π), u(0, ·) = sin(x + φ), φ ~ U(0, π), ν ~ U(1, 5): the diffusion problem of ECI
      (arXiv 2412.01786). ν is latent: a state does not store it. The residual takes the ν that fits the state best in
      least squares; :meth:`solve` takes it too, within its range.
    * Own residual: second order in both spacings. Part ``mass``: the mean of each row, zero and a conserved quantity;
      ``initial`` (``eci`` only): the distance of the first row to the nearest sine.
    * Solver: each Fourier mode times its factor per step.

    Continuous data decay by exp(-νk²t) instead of the scheme's factor. Those of ``eci`` meet the discrete equation all
    the same: one mode decays geometrically in either case, and the fitted ν takes up the difference.
    """

    name: ClassVar[str] = "heat"
    Config: ClassVar[type] = HeatConfig
    floor: ClassVar[float] = 1e-11
    references: ClassVar[tuple[str, ...]] = ("arXiv:2412.01786",)

    def __init__(self, config: HeatConfig | None = None):
        super().__init__(config)
        n = self.config.n
        self.latent = self.config.law == "eci"
        self.fields = (Field("u", "space_time", basis="cosine_fourier"),)
        self.grid = Grid((Axis("t", n), Axis("x", n, 2 * pi if self.latent else 1.0, kind="periodic")))

    def label_parts(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """The setting ``law``, then the settings that differ from the default."""
        others = {key: value for key, value in settings.items() if key != "law"}
        return [self.config.law, *super().label_parts(others)]

    def truncation_floor(self) -> float:
        """Rough profiles cost h in space and ν in time; a single mode with a fitted ν costs nothing."""
        return self.floor if self.latent else min(1.0, 5 * self.grid.spacings[0] + 5 * self.config.nu)

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        state = torch.zeros(len(indices), *self.shape, dtype=torch.float64)
        state[:, 0, 0] = self._draw(indices, seed)[0]
        return state

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        return self._evolve(*self._draw(indices, seed), self.data)

    def state_factor(self) -> Tensor:
        if self.latent:
            return super().state_factor()
        modes = self.config.n // 2
        unit = np.eye(2 * modes).reshape(-1, 2, modes)
        profile = torch.from_numpy(periodic_profile(unit[:, 0], unit[:, 1], self.grid.axes[1].coordinates.numpy()))
        return self._evolve(profile, profile.new_full((len(profile),), self.config.nu), self.data)

    def _draw(self, indices: Sequence[int], seed: int) -> tuple[Tensor, Tensor]:
        """Initial rows (b, n) and diffusivities (b,)."""
        x = self.grid.axes[1].coordinates
        if not self.latent:
            xi = draw_normals(indices, (2, self.config.n // 2), seed=seed)
            profile = torch.from_numpy(periodic_profile(xi[:, 0], xi[:, 1], x.numpy()))
            return profile, profile.new_full((len(profile),), self.config.nu)
        share = torch.from_numpy(ndtr(draw_normals(indices, (2,), seed=seed)))
        low, high = self.config.nu_low, self.config.nu_high
        return torch.sin(x + pi * share[:, :1]), low + (high - low) * share[:, 1]

    def solve(self, state: Tensor) -> Tensor:
        w = state.double()
        if self.latent:
            nu = fitted_ratio(*self._slopes(w)).clamp(self.config.nu_low, self.config.nu_high)
        else:
            nu = w.new_full((len(w),), self.config.nu)
        later = self._evolve(w[:, 0, 0], nu, "discrete")[:, :, 1:].to(state)
        return torch.cat([state[:, :, :1], later], 2)

    def _resimulated(self, state: Tensor, indices: Sequence[int], seed: int) -> Tensor:
        return self._evolve(state[:, 0, 0], self._draw(indices, seed)[1], "discrete")

    def _evolve(self, row: Tensor, nu: Tensor, data: str) -> Tensor:
        """States (b, 1, n, n) from rows at t = 0 (b, n) and diffusivities (b,): each mode times its factor."""
        (dt, dx), n = self.grid.spacings, self.config.n
        k = wave_numbers(n, self.grid.axes[1].extent, row)
        if data == "discrete":
            half = nu[:, None] * dt / 2 * (2 / dx * torch.sin(k * dx / 2)).square()
            factor = (1 - half) / (1 + half)
        else:
            factor = torch.exp(-nu[:, None] * dt * k.square())
        return evolve(row, factor, n)[:, None]

    def _slopes(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """u_t and u_xx (b, n-1, n) halfway between rows."""
        u, (dt, dx) = state[:, 0], self.grid.spacings
        return u.diff(dim=1) / dt, periodic_second((u[:, 1:] + u[:, :-1]) / 2, dx)

    def _terms(self, rate: Tensor, curvature: Tensor) -> dict[str, Tensor]:
        nu = fitted_ratio(rate, curvature)[:, None, None] if self.latent else self.config.nu
        return {"u_t": rate, "diffusion": -nu * curvature}

    @property
    def linear_settings(self) -> Mapping[str, int]:
        return {} if self.latent else {"nu": 1}

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        return self._terms(*self._slopes(state))

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        """``mass``: the mean of each row, zero and conserved; ``initial`` (``eci``): distance to the nearest sine."""
        parts = {"mass": state[:, 0].mean(-1)}
        if self.latent:
            row, x = state[:, 0, 0], self.grid.axes[1].coordinates.to(state)
            sine, cosine = (row @ wave.sin() for wave in (x, x + pi / 2))
            parts["initial"] = row - torch.sin(x + torch.atan2(cosine, sine)[:, None])
        return parts

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        n = self.config.n
        weights = state.new_full((1, 1, 1, n), 1 / n)
        return (Conserved("mass", weights, state.new_zeros(1, 1, n), kept=0),)

    def affine(self) -> bool:
        return not self.latent

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        (times, x), k = (axis.coordinates for axis in self.grid.axes), 2 * pi / self.grid.axes[1].extent
        c, middle = torch.arange(batch, dtype=x.dtype).reshape(-1, 1, 1), ((times[1:] + times[:-1]) / 2)[:, None]
        u = torch.sin(k * x + c) * torch.exp(-times[:, None])
        v, w = torch.sin(k * x + c) * torch.exp(-middle), torch.cos(2 * k * x) * middle + 0 * c
        state = (u + torch.cos(2 * k * x) * times[:, None])[:, None]
        terms = self._terms(-v + torch.cos(2 * k * x) + 0 * c + 0 * middle, -(k**2) * v - 4 * k**2 * w)
        parts = {"interior": terms["u_t"] + terms["diffusion"], "mass": torch.zeros(batch, len(times), dtype=x.dtype)}
        if self.latent:
            parts["initial"] = torch.zeros(batch, len(x), dtype=x.dtype)
        return state, parts

    def symmetries(self) -> tuple[Symmetry, ...]:
        """Reflections; for ``gaussian`` also shifts and the change of sign."""
        if self.latent:
            return tuple(_motion(0, mirror, 1.0) for mirror in (False, True))
        shifts = range(self.config.n)
        return tuple(_motion(s, mirror, sign) for sign in (1.0, -1.0) for s in shifts for mirror in (False, True))


def _motion(shift: int, mirror: bool, sign: float) -> Symmetry:
    def move(state: Tensor) -> Tensor:
        reflected = torch.roll(state.flip(-1), 1, -1) if mirror else state
        return sign * torch.roll(reflected, shift, -1)

    return move
