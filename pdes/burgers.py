"""Viscous Burgers equation, periodic in space, as a space-time field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, isfinite, pi
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from jensenbench.core.constraints import Conserved, Constraint
from jensenbench.core.pde import PDE, Axis, Field, Grid, LatentMap, Symmetry, effective_directions
from jensenbench.errors import UserError
from pdes import _published_residuals
from pdes._grf import draw_normals, periodic_profile
from pdes._stencils import periodic_first, periodic_second
from pdes._steppers import ETDRK4, advance
from pdes._tridiagonal import solve_cyclic

NEWTON_STEPS = 30
NEWTON_TOLERANCE = 1e-9  # of the last correction: the error left is its square
POINTS_TIMES_NU = 2.56  # points of the spectral grid times nu; resolves fronts of width 4 nu/jump
STEPS_PER_POINT = 2  # time steps in [0, 1] per point of the spectral grid


@dataclass(frozen=True)
class BurgersConfig:
    """Settings of :class:`Burgers`.

    Attributes:
        n: periodic points in [0, 1); 32 in the default tier, 128 as published.
        nu: viscosity, > 0; published: 0.01.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (solved on a finer grid and
            sampled).
        times: times in [0, 1], both ends included, at least 2; 0 stands for n of them.
    """

    n: int = 32
    nu: float = 0.01
    data: str = "discrete"
    times: int = 0


class Burgers(PDE):
    """Burgers: u_t + u u_x = ν u_xx, x in [0, 1) periodic, t in [0, 1]; implicit midpoint, conservative differences.

    * State (b, 1, times, n), dimensionless: u(t, x); rows are times, the first one is the coefficient.
    * Distribution: u(0, x) = Σ_k √2 σ ((2πk)² + τ²)^{-γ/2} (ξ_k cos 2πkx + η_k sin 2πkx), 1 <= k <= n/2, with ξ,
      η ~ N(0, 1), σ = 49, τ = 7, γ = 2.5, as in the code of DiffusionPDE (arXiv 2406.17763).
    * Own residual: implicit midpoint in time, central differences of u²/2 and u in space, second order in both
      spacings, quadratic in the state. Part ``mass``: the mean of each row, zero and a conserved quantity.
    * Solver: Newton's method in each time step. Discrete data, and whatever :meth:`solve` returns, meet the discrete
      equation up to rounding.

    Continuous data come from a dealiased pseudo-spectral ETDRK4 run of the same profile (exponential time differencing,
    fourth-order Runge-Kutta), sampled on the grid: their residual is the scheme's truncation error.
    """

    name: ClassVar[str] = "burgers"
    Config: ClassVar[type] = BurgersConfig
    floor: ClassVar[float] = 1e-10
    references: ClassVar[tuple[str, ...]] = ("arXiv:2406.17763", "cox2002exponential", "kassam2005fourth")
    published: ClassVar = {
        "diffusionpde": _published_residuals.burgers,
        "fundps": _published_residuals.fundps_burgers,
        "cocogen": _published_residuals.cocogen_burgers,
    }

    def __init__(self, config: BurgersConfig | None = None):
        super().__init__(config)
        if self.config.times and self.config.times < 2:
            raise UserError(f"burgers: times = {self.config.times} is too few; use 2 or more, or 0 for n of them")
        if not (isfinite(self.config.nu) and self.config.nu > 0):
            raise UserError(f"burgers: viscosity nu = {self.config.nu} must be finite and positive; published: 0.01")
        self.fields = (Field("u", "space_time", basis="cosine_fourier"),)
        self.grid = Grid((Axis("t", self.config.times or self.config.n), Axis("x", self.config.n, kind="periodic")))

    def truncation_floor(self) -> float:
        """Fronts leave an error of order h/ν in space, the decay of rough profiles one of order ν in time."""
        return min(1.0, 0.1 * self.grid.spacings[1] / self.config.nu + 5 * self.config.nu)

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        state = torch.zeros(len(indices), *self.shape, dtype=torch.float64)
        state[:, 0, 0] = self._profile(indices, self.config.n, seed)
        return state

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        if self.data == "discrete":
            return super().generate(indices, seed=seed)
        n = self.config.n
        factor = max(2, ceil(POINTS_TIMES_NU / (self.config.nu * n)))
        u = spectral_solution(self._profile(indices, factor * n, seed), self.config.nu, frames=self.grid.shape[0])
        return u[:, None, :, ::factor]

    def _profile(self, indices: Sequence[int], points: int, seed: int) -> Tensor:
        """Initial rows (b, points) of the modes that the grid of n points resolves."""
        xi = draw_normals(indices, (2, self.config.n // 2), seed=seed)
        return torch.from_numpy(periodic_profile(xi[:, 0], xi[:, 1], np.arange(points) / points))

    def _latent_map(self) -> LatentMap:
        """Amplitudes of the cosines, then of the sines, of the initial row."""
        (times, n), modes = self.grid.shape, self.config.n // 2
        noise = np.eye(2 * modes)
        profiles = periodic_profile(noise[:, :modes], noise[:, modes:], np.arange(n) / n)

        def unsolved(flat: Tensor) -> Tensor:
            later = flat.new_zeros(len(flat), times - 1, n)
            return torch.cat([flat[:, None], later], 1)[:, None]

        return LatentMap(effective_directions(torch.from_numpy(profiles)), unsolved, self.solve)

    def solve(self, state: Tensor) -> Tensor:
        rows = [state[:, 0, 0].double()]
        guess = rows[0]
        for _ in range(self.grid.shape[0] - 1):
            rows.append(self._advance(rows[-1], guess))
            guess = 2 * rows[-1] - rows[-2]
        return torch.stack(rows, 1)[:, None].to(state)

    @property
    def linear_settings(self) -> Mapping[str, int]:
        return {"nu": 1}

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        u, dt = state[:, 0], self.grid.spacings[0]
        middle = (u[:, 1:] + u[:, :-1]) / 2
        return {"u_t": u.diff(dim=1) / dt, **self._spatial(middle)}

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        """``mass``: the spatial mean of each row, zero at the start and conserved."""
        return {"mass": state[:, 0].mean(-1)}

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        """The spatial mean stays that of the first row; continuous data conserve it only on their own, finer grid."""
        if self.data != "discrete":
            return ()
        (times, n), mean = self.grid.shape, state[:, :, 0].mean(-1, keepdim=True)
        return (Conserved("mass", state.new_full((1, 1, 1, n), 1 / n), mean.expand(-1, -1, times), kept=0),)

    def affine(self) -> bool:
        return False

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        times, x = (axis.coordinates for axis in self.grid.axes)
        u, *_ = _travelling_waves(times[:, None], x, batch)
        v, v_t, v_x, v_xx = _travelling_waves(((times[1:] + times[:-1]) / 2)[:, None], x, batch)
        residual = v_t + v * v_x - self.config.nu * v_xx
        return u[:, None], {"interior": residual, "mass": torch.zeros(batch, len(times), dtype=torch.float64)}

    def refined(self, n: int) -> Self:
        times = self.config.times and round((self.config.times - 1) * n / self.config.n) + 1
        return type(self)(replace(self.config, n=n, times=times))

    def symmetries(self) -> tuple[Symmetry, ...]:
        """Shifts along x, each with and without the reflection x -> -x, u -> -u."""
        return tuple(_motion(shift, mirror) for shift in range(self.config.n) for mirror in (False, True))

    def _spatial(self, u: Tensor) -> dict[str, Tensor]:
        spacing = self.grid.spacings[1]
        return {
            "convection": periodic_first(u.square() / 2, spacing),
            "diffusion": -self.config.nu * periodic_second(u, spacing),
        }

    def _advance(self, u: Tensor, guess: Tensor) -> Tensor:
        """The next row after ``u`` (b, n) by Newton's method from ``guess``."""
        (dt, dx), v = self.grid.spacings, guess
        viscous, wrong = self.config.nu / (2 * dx**2), u.new_ones(len(u), dtype=torch.bool)
        for _ in range(NEWTON_STEPS):
            middle = (u + v) / 2
            defect = (v - u) / dt + sum(self._spatial(middle).values())
            slope = middle / (4 * dx)
            diagonal = torch.full_like(u, 1 / dt + 2 * viscous)
            change = solve_cyclic(
                -torch.roll(slope, 1, -1) - viscous, diagonal, torch.roll(slope, -1, -1) - viscous, defect
            )
            v = v - change
            wrong = ~(change.abs().amax(-1) <= NEWTON_TOLERANCE * (1 + v.abs().amax(-1)))
            if not wrong.any():
                return v
        row = int(wrong.nonzero()[0])
        raise UserError(
            f"burgers: Newton's method did not converge for sample {row} (largest |u| = "
            f"{float(u[row].abs().max()):.3g}, n = {self.config.n}); use a finer grid or drop the sample"
        )


def spectral_solution(u: Tensor, nu: float, *, frames: int, refine: int = 1) -> Tensor:
    """Rows (b, frames, points) at equal times in [0, 1] from profiles ``u`` (b, points): a reference solution.

    Pseudo-spectral with the 2/3 rule, ETDRK4; ``refine`` divides the time step.
    """
    points = u.shape[-1]
    k = 2 * pi * torch.arange(points // 2 + 1, dtype=torch.float64)
    kept = k < 2 * pi * points / 3

    def convection(v: Tensor) -> Tensor:
        return -0.5j * k * kept * torch.fft.rfft(torch.fft.irfft(v, points).square())

    substeps = refine * ceil(STEPS_PER_POINT * points / (frames - 1))
    step = ETDRK4(-nu * k.square(), convection, 1 / (substeps * (frames - 1)))
    return torch.fft.irfft(advance(step, torch.fft.rfft(u), frames=frames, substeps=substeps), points)


def _travelling_waves(t: Tensor, x: Tensor, batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """u, u_t, u_x, u_xx of sin(kx - t + c) + cos(2kx + 3t)/2, k = 2π, on times (m, 1) and points (n,)."""
    c, k = torch.arange(batch, dtype=x.dtype).reshape(-1, 1, 1), 2 * pi
    first, second = k * x - t + c, 2 * k * x + 3 * t
    u = torch.sin(first) + torch.cos(second) / 2
    u_t = -torch.cos(first) - 1.5 * torch.sin(second)
    u_x = k * torch.cos(first) - k * torch.sin(second)
    return u, u_t, u_x, -(k**2) * torch.sin(first) - 2 * k**2 * torch.cos(second)


def _motion(shift: int, mirror: bool) -> Symmetry:
    def move(state: Tensor) -> Tensor:
        reflected = -torch.roll(state.flip(-1), 1, -1) if mirror else state
        return torch.roll(reflected, shift, -1)

    return move
