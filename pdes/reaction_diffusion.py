"""Reaction-diffusion (logistic growth) with random fluxes through both ends, as a space-time field (PCFM)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, pi
from typing import ClassVar

import torch
from scipy.special import ndtr
from torch import Tensor

from jensenbench.core.codec import cosine_matrix
from jensenbench.core.constraints import Constraint, Implicit
from jensenbench.core.pde import PDE, Axis, Field, Grid, Symmetry
from jensenbench.errors import UserError
from pdes._grf import draw_normals
from pdes._sine_profile import PROFILE_NORMALS, sine_profile
from pdes._steppers import ImplicitMidpoint, advance

REFINEMENT = 5  # of cells and time steps of continuous data; odd, so that cell centres stay cell centres


@dataclass(frozen=True)
class ReactionDiffusionConfig:
    """Settings of :class:`ReactionDiffusion`.

    Attributes:
        n: times in [0, 1] and cells of [0, 1]; published: 128 cells and 100 times.
        nu: diffusivity, > 0; published: 0.005.
        rho: reaction rate, >= 0; published: 0.01.
        flux: largest inflow through each end, >= 0; published: 0.05.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (the scheme on a five times finer
            grid, sampled).
    """

    n: int = 32
    nu: float = 0.005
    rho: float = 0.01
    flux: float = 0.05
    data: str = "discrete"

    def __post_init__(self) -> None:
        if not (isfinite(self.nu) and self.nu > 0):
            raise UserError(f"reaction_diffusion: diffusivity nu = {self.nu} must be finite and positive; try 0.005")
        for name in ("rho", "flux"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0):
                raise UserError(f"reaction_diffusion: {name} = {value} must be finite, zero or positive")


class ReactionDiffusion(PDE):
    """Reaction-diffusion: u_t = ν u_xx + ρ u(1 - u), x and t in [0, 1]; finite volumes, implicit midpoint.

    * State (b, 1, n, n), dimensionless: u(t, x) on cell centres; rows are times, the first one is the coefficient.
    * Distribution: u(0, ·) is a sum of two sines, sometimes folded or cut off, normalised to [0, 1] (the profiles of
      PDEBench, arXiv 2210.07182, with period 1). The fluxes -ν u_x at both ends are constant in time, g_l ~ U(0, .05)
      and g_r ~ -U(0, .05), as PCFM (arXiv 2506.04171). They are latent: a state does not store them.
    * Own residual: second order in both spacings, quadratic in the state. The balance of the edge cells gives the flux
      through each end; its mean over time is the state's own latent flux (the best one in least squares), which
      :meth:`solve` takes too, within its range. Part ``flux``: deviation from that mean; ``mass``: balance of mass, the
      sum of the scheme over the cells.
    * Solver: implicit midpoint by fixed-point iteration, diffusion diagonal in cosine modes.
    """

    name: ClassVar[str] = "reaction_diffusion"
    Config: ClassVar[type] = ReactionDiffusionConfig
    floor: ClassVar[float] = 1e-11
    latent = True
    references: ClassVar[tuple[str, ...]] = ("arXiv:2506.04171", "takamoto2022pdebench")

    def __init__(self, config: ReactionDiffusionConfig | None = None):
        super().__init__(config)
        self.fields = (Field("u", "space_time"),)
        self.grid = Grid((Axis("t", self.config.n), Axis("x", self.config.n, kind="cell")))

    def truncation_floor(self) -> float:
        """Profiles meet the ends with another slope than that of the flux, which leaves a boundary layer."""
        return min(1.0, 10 * self.grid.spacings[1])

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        state = torch.zeros(len(indices), *self.shape, dtype=torch.float64)
        state[:, 0, 0] = self._draw(indices, self.config.n, seed)[0]
        return state

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        n, factor = self.config.n, 1 if self.data == "discrete" else REFINEMENT
        fine = self._march(*self._draw(indices, factor * n, seed), factor * (n - 1))
        return fine[:, None, ::factor, factor // 2 :: factor]

    def _draw(self, indices: Sequence[int], cells: int, seed: int) -> tuple[Tensor, Tensor]:
        """First rows (b, cells) and fluxes (b, 2) at both ends, along x."""
        normals = draw_normals(indices, (PROFILE_NORMALS + 2,), seed=seed)
        share = torch.from_numpy(ndtr(normals))
        x, flux = Axis("x", cells, kind="cell").coordinates, self.config.flux
        inflow = flux * share[:, PROFILE_NORMALS:]
        return sine_profile(share[:, :PROFILE_NORMALS], x), inflow * inflow.new_tensor([1.0, -1.0])

    def solve(self, state: Tensor) -> Tensor:
        w, largest = state.double(), self.config.flux
        inflow = self._ends(w).mean(1) * w.new_tensor([1.0, -1.0])
        fluxes = inflow.clamp(0, largest) * w.new_tensor([1.0, -1.0])
        solved = self._march(w[:, 0, 0], fluxes, self.config.n - 1)
        return torch.cat([state[:, :, :1], solved[:, None, 1:].to(state)], 2)

    def _resimulated(self, state: Tensor, indices: Sequence[int], seed: int) -> Tensor:
        fluxes = self._draw(indices, self.config.n, seed)[1]
        return self._march(state[:, 0, 0], fluxes, self.config.n - 1)[:, None]

    def _march(self, row: Tensor, fluxes: Tensor, steps: int) -> Tensor:
        """Rows (b, steps + 1, m) from the first one (b, m); the cosine modes of cells diagonalise diffusion."""
        m = row.shape[1]
        matrix, waves = (part.to(row) for part in cosine_matrix(m))
        feed = m * (fluxes[:, :1] * matrix[:, 0] - fluxes[:, 1:] * matrix[:, -1])

        def supply(modes: Tensor) -> Tensor:
            u = modes @ matrix
            return self.config.rho * (u * (1 - u)) @ matrix.T + feed

        symbol = -self.config.nu * (2 * m * torch.sin(pi * waves / m)).square()
        modes = advance(ImplicitMidpoint(symbol, supply, 1 / steps), row @ matrix.T, frames=steps + 1, substeps=1)
        return torch.cat([row[:, None], modes[:, 1:] @ matrix], 1)

    def _midpoints(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u_t, the reaction (b, n-1, n) and the fluxes (b, n-1, n-1) between cells, halfway between rows."""
        u, (dt, dx) = state[:, 0], self.grid.spacings
        middle = (u[:, 1:] + u[:, :-1]) / 2
        return u.diff(dim=1) / dt, self.config.rho * middle * (1 - middle), -self.config.nu * middle.diff(dim=-1) / dx

    def _ends(self, state: Tensor) -> Tensor:
        """Fluxes (b, n-1, 2) through both ends, as the balance of the edge cells implies them."""
        rate, reaction, flux = self._midpoints(state)
        gain = self.grid.spacings[1] * (rate - reaction)
        return torch.stack([flux[..., 0] + gain[..., 0], flux[..., -1] - gain[..., -1]], -1)

    @property
    def linear_settings(self) -> Mapping[str, int]:
        return {"nu": 1, "rho": 1}

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        rate, reaction, flux = self._midpoints(state)
        diffusion = flux.diff(dim=-1) / self.grid.spacings[1]
        return {"u_t": rate[..., 1:-1], "diffusion": diffusion, "reaction": -reaction[..., 1:-1]}

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        """``flux``: through each end, less its mean over time; ``mass``: its balance from t = 0 to each later row."""
        ends = self._ends(state)
        return {"flux": (ends - ends.mean(1, keepdim=True)).flatten(1), "mass": self._imbalance(state)}

    def _imbalance(self, state: Tensor) -> Tensor:
        """(b, n-1) mass at each later row, less that at t = 0, what reacted and what came in at the mean fluxes."""
        (dt, dx), mass = self.grid.spacings, self.grid.spacings[1] * state[:, 0].sum(-1)
        _, reaction, _ = self._midpoints(state)
        inflow = -self._ends(state).mean(1).diff(dim=-1)
        supply = dx * reaction.sum(-1) + inflow
        return mass[:, 1:] - mass[:, :1] - dt * supply.cumsum(-1)

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        return (Implicit("mass", self._imbalance),) if self.data == "discrete" else ()

    def affine(self) -> bool:
        return False

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        (t, x), h, c = self.grid.mesh(), self.grid.spacings[1], self.config
        row = torch.arange(batch, dtype=x.dtype).reshape(-1, 1, 1)
        k = 2 + 0.5 * row
        state = (0.5 + torch.sin(k * x) * torch.cos(t))[:, None]
        times, x = (t[1:] + t[:-1]) / 2, x[1:]
        u, rate = 0.5 + torch.sin(k * x) * torch.cos(times), -torch.sin(k * x) * torch.sin(times)
        strong = rate + c.nu * k**2 * (u - 0.5) - c.rho * u * (1 - u)
        slopes = torch.stack([torch.ones_like(k[..., 0]), torch.cos(k[..., 0])], -1) * k * torch.cos(times[:, :1])
        ends = -c.nu * slopes + h * strong[..., [0, -1]] * x.new_tensor([1.0, -1.0])
        return state, {"interior": strong[..., 1:-1], "flux": (ends - ends.mean(1, keepdim=True)).flatten(1)}

    def symmetries(self) -> tuple[Symmetry, ...]:
        """The reflection of x, which exchanges the fluxes."""
        return (lambda state: state, lambda state: state.flip(-1))
