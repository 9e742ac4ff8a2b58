"""Linear convection at high speed, periodic in space, as a space-time field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, pi, sqrt
from typing import ClassVar

import torch
from torch import Tensor

from jensenbench.core.constraints import Conserved, Constraint
from jensenbench.core.pde import PDE, Axis, Field, Grid, Symmetry
from jensenbench.errors import UserError
from pdes._grf import draw_normals
from pdes._linear_evolution import evolve, wave_numbers
from pdes._stencils import periodic_first


@dataclass(frozen=True)
class ConvectionConfig:
    """Settings of :class:`Convection`.

    Attributes:
        n: times in [0, 1] and periodic points in [0, 2π); 16 in the tiers. The phase beta/(n-1) per step should be
            small.
        beta: speed, not 0; published: 30, where networks trained on the residual fail.
        modes: number of waves of the initial profile, all with the same variance, in [1, n/2); published: one sine.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (the shifted profile).
    """

    n: int = 32
    beta: float = 30.0
    modes: int = 1
    data: str = "discrete"

    def __post_init__(self) -> None:
        if not (isfinite(self.beta) and self.beta != 0):
            raise UserError(f"convection: speed beta = {self.beta} must be finite and not zero; published: 30")
        if not 1 <= self.modes < self.n / 2:
            raise UserError(f"convection: modes = {self.modes}, n = {self.n} must meet 1 <= modes < n/2; change either")


class Convection(PDE):
    """Convection: u_t + β u_x = 0, x in [0, 2π) periodic, t in [0, 1]; implicit midpoint, central differences.

    * State (b, 1, n, n), dimensionless: u(t, x); rows are times, the first one is the coefficient.
    * Distribution: u(0, x) = Σ_k (ξ_k cos kx + η_k sin kx)/√modes, ξ, η ~ N(0, 1), 1 <= k <= modes. With the profile
      sin x and β = 30 it is the case in which networks trained on the residual fail (Krishnapriyan et al., arXiv
      2109.01050).
    * Own residual: second order in both spacings, affine in the state, so that there is an exact prior. Part ``mass``:
      the mean of each row, zero and a conserved quantity.
    * Solver: each Fourier mode times its factor per step.

    Continuous data are the profile moved by βt. The scheme delays a wave by about (kβ dt)³/12 per step, so that
    discrete states on few points move more slowly.
    """

    name: ClassVar[str] = "convection"
    Config: ClassVar[type] = ConvectionConfig
    floor: ClassVar[float] = 1e-11
    references: ClassVar[tuple[str, ...]] = ("arXiv:2109.01050",)

    def __init__(self, config: ConvectionConfig | None = None):
        super().__init__(config)
        n = self.config.n
        self.fields = (Field("u", "space_time", basis="cosine_fourier"),)
        self.grid = Grid((Axis("t", n), Axis("x", n, 2 * pi, kind="periodic")))

    def truncation_floor(self) -> float:
        """Second order in the phase per step; on too coarse grids the two terms do not cancel at all."""
        phase = self.config.modes * self.config.beta * self.grid.spacings[0]
        return min(2.0, phase**2 / 8 + (self.config.modes * self.grid.spacings[1]) ** 2 / 4)

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        state = torch.zeros(len(indices), *self.shape, dtype=torch.float64)
        state[:, 0, 0] = self._profile(torch.from_numpy(draw_normals(indices, (2, self.config.modes), seed=seed)))
        return state

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        return self._evolve(self.draw(indices, seed=seed)[:, 0, 0], self.data)

    def state_factor(self) -> Tensor:
        modes = self.config.modes
        unit = torch.eye(2 * modes, dtype=torch.float64).reshape(-1, 2, modes)
        return self._evolve(self._profile(unit), self.data)

    def _profile(self, xi: Tensor) -> Tensor:
        """Initial rows (b, n) of normals (b, 2, modes)."""
        phase = torch.arange(1, self.config.modes + 1)[:, None] * self.grid.axes[1].coordinates
        return (xi[:, 0] @ torch.cos(phase) + xi[:, 1] @ torch.sin(phase)) / sqrt(self.config.modes)

    def solve(self, state: Tensor) -> Tensor:
        solved = self._evolve(state[:, 0, 0].double(), "discrete")
        return torch.cat([state[:, :, :1], solved[:, :, 1:].to(state)], 2)

    def _evolve(self, row: Tensor, data: str) -> Tensor:
        """States (b, 1, n, n) from rows at t = 0 (b, n)."""
        (dt, dx), beta = self.grid.spacings, self.config.beta
        k = wave_numbers(self.config.n, self.grid.axes[1].extent, row)
        if data == "discrete":
            half = 0.5j * beta * dt * torch.sin(k * dx) / dx
            factor = (1 - half) / (1 + half)
        else:
            factor = torch.polar(torch.ones_like(k), -beta * dt * k)
        return evolve(row, factor[None], self.config.n)[:, None]

    @property
    def linear_settings(self) -> Mapping[str, int]:
        return {"beta": 1}

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        u, (dt, dx) = state[:, 0], self.grid.spacings
        middle = (u[:, 1:] + u[:, :-1]) / 2
        return {"u_t": u.diff(dim=1) / dt, "convection": self.config.beta * periodic_first(middle, dx)}

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        """``mass``: the mean of each row, zero and conserved."""
        return {"mass": state[:, 0].mean(-1)}

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        n = self.config.n
        weights = state.new_full((1, 1, 1, n), 1 / n)
        return (Conserved("mass", weights, state.new_zeros(1, 1, n), kept=0),)

    def affine(self) -> bool:
        return True

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        t, x = self.grid.mesh()
        row = torch.arange(batch, dtype=x.dtype).reshape(-1, 1, 1)
        times, inner = (t[1:] + t[:-1]) / 2, x[1:]
        interior = (self.config.beta - 2) * torch.cos(inner - 2 * times + row)
        parts = {"interior": interior, "mass": torch.zeros(batch, self.config.n, dtype=x.dtype)}
        return torch.sin(x - 2 * t + row)[:, None], parts

    def symmetries(self) -> tuple[Symmetry, ...]:
        """Shifts along x, each with and without a change of sign."""
        return tuple(_motion(shift, sign) for sign in (1.0, -1.0) for shift in range(self.config.n))


def _motion(shift: int, sign: float) -> Symmetry:
    return lambda state: sign * torch.roll(state, shift, -1)
