"""Incompressible Navier-Stokes equations in vorticity form on the periodic unit square, pseudo-spectral."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, isfinite, pi, sqrt
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from jensenbench.core.constraints import Conserved, Constraint
from jensenbench.core.pde import PDE, Axis, Field, Grid, Symmetry
from jensenbench.errors import UnknownName, UserError
from pdes import _published_residuals
from pdes._grf import draw_normals, periodic_grf
from pdes._steppers import ETDRK4, CrankNicolsonEuler, ImplicitMidpoint, advance
from pdes._vorticity import PlaneWaves, Vorticity, resample

ARMS = ("space_time", "end_points", "invariants")
REFINEMENT = 2  # of the grid of continuous data
STEPS_PER_POINT = 0.5  # ETDRK4 steps per unit time and point along a side


@dataclass(frozen=True)
class NavierStokesConfig:
    """Settings of :class:`NavierStokes`.

    Attributes:
        n: periodic points along each side; 32 in the overnight tier; published: 128 (DiffusionPDE), 64 (FNO).
        arm: the own residual: ``space_time`` (the equation between snapshots), ``end_points`` (distance of the last
            snapshot to the solver's) or ``invariants`` (budgets of energy and enstrophy).
        nu: viscosity, > 0; published: 1e-3, FNO also 1e-4 and 1e-5.
        snapshots: fields at equal times in [0, horizon], both ends included, at least 2; ``end_points`` always has two.
        horizon: last time, > 0; the interval horizon/(snapshots - 1) should stay small for ``space_time``.
        forcing, phase: g = √2 forcing sin(2π(x + y) + phase); published: 0.1 and π/4.
        alpha, tau: smoothness and inverse length of the Gaussian field of the initial vorticity; published: 2.5 and 7.
        dt: time step of ``data: published``, or less where it does not divide the interval between snapshots.
        data: ``discrete`` (solves the scheme of the own residual), ``continuous`` (finely solved and sampled) or
            ``published`` (stepped as the public codes do).
    """

    n: int = 32
    arm: str = "space_time"
    nu: float = 1e-3
    snapshots: int = 8
    horizon: float = 1.0
    forcing: float = 0.1
    phase: float = pi / 4
    alpha: float = 2.5
    tau: float = 7.0
    dt: float = 1e-3
    data: str = "discrete"

    def __post_init__(self) -> None:
        if self.arm not in ARMS:
            raise UnknownName("navier_stokes arm", self.arm, ARMS)
        for name in ("nu", "horizon", "dt"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise UserError(f"navier_stokes: {name} = {value} must be finite and positive")
        for name, most in (("alpha", 20), ("tau", 1e6)):
            if not 0 < getattr(self, name) <= most:
                raise UserError(f"navier_stokes: {name} = {getattr(self, name)} of the field must lie in (0, {most:g}]")
        if self.snapshots < 2:
            raise UserError(f"navier_stokes: snapshots = {self.snapshots} is too few; use 2 or more, w(0) is the first")


class NavierStokes(PDE):
    """Navier-Stokes: w_t + v·∇w = ν∇²w + g, v = ∇^⊥ψ, -∇²ψ = w, [0,1)² periodic; pseudo-spectral, 2/3 rule.

    * State (b, snapshots, n, n), dimensionless: snapshots of the vorticity w as channels; the first one, w(0), is the
      coefficient. ψ is the stream function, v the velocity, g the forcing.
    * Distribution: w(0) ~ N(0, 2 τ^{2α-2} (-Δ + τ²)^{-α}), periodic, without its mean, α = 2.5, τ = 7: the problem of
      FNO (arXiv 2010.08895) and DiffusionPDE (arXiv 2406.17763).
    * Own residual, by the setting ``arm``: ``space_time``: the equation at the midpoints between snapshots, second
      order in their interval, which discrete data solve (implicit midpoint); ``end_points``: w(T) - Φ_T(w(0)) through
      the differentiable ETDRK4 solver Φ, for data with two snapshots; ``invariants``: budgets of energy (of ψ, in units
      of 4π²) and enstrophy between snapshots, nothing local, data as for ``space_time``. In all of them the mean
      vorticity, a conserved quantity, is the part ``mean``.
    * Solver: implicit midpoint by fixed-point iteration, or ETDRK4 (Cox & Matthews, 2002) for ``end_points``.

    Continuous data are ETDRK4 runs on a twice finer grid. Published data take the Crank-Nicolson steps of the public
    codes, in which the mean vorticity decays.
    """

    name: ClassVar[str] = "navier_stokes"
    Config: ClassVar[type] = NavierStokesConfig
    floor: ClassVar[float] = 1e-11
    data_kinds: ClassVar = ("discrete", "continuous", "published")
    references: ClassVar[tuple[str, ...]] = ("arXiv:2010.08895", "arXiv:2406.17763", "cox2002exponential")
    published: ClassVar = {
        "diffusionpde": _published_residuals.navier_stokes,
        "fundps": _published_residuals.fundps_navier_stokes,
    }

    def __init__(self, config: NavierStokesConfig | None = None):
        super().__init__(config)
        c = self.config
        self.frames = 2 if c.arm == "end_points" else c.snapshots
        self.interval = c.horizon / (self.frames - 1)
        later = (Field(f"w{frame}", "solution", basis="fourier") for frame in range(1, self.frames))
        self.fields = (Field("w0", "coefficient", basis="fourier"), *later)
        self.grid = Grid((Axis("x", c.n, kind="periodic"), Axis("y", c.n, kind="periodic")))
        self._flows: dict[torch.device, Vorticity] = {}

    def label_parts(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """The setting ``arm``, then the settings that differ from the default."""
        others = {key: value for key, value in settings.items() if key != "arm"}
        return [self.config.arm, *super().label_parts(others)]

    def refined(self, n: int) -> Self:
        return type(self)(replace(self.config, n=n, horizon=self.config.horizon * self.config.n / n))

    def truncation_floor(self) -> float:
        """Modes beyond the 2/3 rule in space, second order in the interval between snapshots in time."""
        h = self.grid.spacings[0]
        return 10 * h**2 if self.config.arm == "end_points" else 3 * h + 1.5 * self.interval**2

    def forcing(self, n: int) -> Tensor:
        """(n, n) values of g."""
        s = torch.arange(n, dtype=torch.float64) / n
        return sqrt(2) * self.config.forcing * torch.sin(2 * pi * (s[:, None] + s) + self.config.phase)

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        normals = draw_normals(indices, (self.config.n, self.config.n, 2), seed=seed)
        state = torch.zeros(len(indices), *self.shape, dtype=torch.float64)
        state[:, 0] = torch.from_numpy(periodic_grf(normals, alpha=self.config.alpha, tau=self.config.tau))
        return state

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        state = self.draw(indices, seed=seed)
        if self.data == "discrete":
            return self.solve(state)
        run = self.published_solution if self.data == "published" else self._fine_solution
        later = run(state[:, 0])[:, 1:]
        broken = ~torch.isfinite(later).flatten(1).all(1)
        if broken.any():
            raise UserError(
                f"navier_stokes: sample {int(broken.nonzero()[0])} overflows: its flow is too fast for the time step; "
                "use a smaller dt, horizon or forcing"
            )
        return torch.cat([state[:, :1], later], 1)

    def solve(self, state: Tensor) -> Tensor:
        flow, w = self._flow(state), state[:, 0].double()
        if self.config.arm == "end_points":
            solved = self._exponential(flow, w, refine=1)
        else:
            step = ImplicitMidpoint(flow.linear, flow.nonlinear, self.interval)
            solved = _snapshots(flow, step, w, self.frames, 1)
        return torch.cat([state[:, :1], solved[:, 1:].to(state)], 1)

    def published_solution(self, w: Tensor, forcing: Tensor | None = None) -> Tensor:
        """Snapshots (b, frames, n, n) from w(0) (b, n, n) as public codes step them; ``forcing`` replaces g."""
        c = self.config
        flow = Vorticity(self.forcing(c.n) if forcing is None else forcing, c.nu, published=True)
        substeps = ceil(self.interval / c.dt - 1e-9)
        step = CrankNicolsonEuler(flow.linear, flow.nonlinear, self.interval / substeps)
        return _snapshots(flow, step, w, self.frames, substeps)

    def _fine_solution(self, w: Tensor) -> Tensor:
        points = REFINEMENT * self.config.n
        flow = Vorticity(self.forcing(points), self.config.nu)
        fine = self._exponential(flow, resample(w, points), refine=REFINEMENT)
        return fine[..., ::REFINEMENT, ::REFINEMENT]

    def _exponential(self, flow: Vorticity, w: Tensor, *, refine: int) -> Tensor:
        substeps = ceil(refine * STEPS_PER_POINT * flow.n * self.interval)
        step = ETDRK4(flow.linear, flow.nonlinear, self.interval / substeps)
        return _snapshots(flow, step, w, self.frames, substeps)

    def _flow(self, like: Tensor) -> Vorticity:
        if like.device not in self._flows:
            forcing = self.forcing(self.config.n).to(like.device)
            self._flows[like.device] = Vorticity(forcing, self.config.nu)
        return self._flows[like.device]

    @property
    def linear_settings(self) -> Mapping[str, int]:
        return {"nu": 1} if self.config.arm == "space_time" else {}

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        if self.config.arm == "end_points":
            return {"end": state[:, 1], "map": -self.solve(state)[:, 1]}
        balance = self._balance(state.double())
        if self.config.arm == "invariants":
            balance = self._budgets(state.double(), balance)
        return {name: term.to(state) for name, term in balance.items()}

    def _balance(self, w: Tensor) -> dict[str, Tensor]:
        """Terms (b, frames - 1, n, n) of the equation between snapshots."""
        flow, spectrum = self._flow(w), torch.fft.rfft2(w)
        middle = (spectrum[:, 1:] + spectrum[:, :-1]) / 2
        rate = w.diff(dim=1) / self.interval
        forcing = -flow.values(flow.forcing)
        return {
            "w_t": rate,
            "advection": flow.values(flow.advection(middle)),
            "diffusion": -flow.values(flow.linear * middle),
            "forcing": forcing.expand_as(rate),
        }

    def _budgets(self, w: Tensor, balance: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Means (b, 2, frames - 1) of 4π²ψ and w times each term; those of advection vanish and are left out."""
        flow, middle = self._flow(w), (w[:, 1:] + w[:, :-1]) / 2
        stream = 4 * pi**2 * flow.values(flow.inverse_laplacian * torch.fft.rfft2(middle))
        return _means(stream, middle, {name: term for name, term in balance.items() if name != "advection"})

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        """``mean``: the mean vorticity of each snapshot."""
        return {"mean": state.mean((-2, -1))}

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        """The mean vorticity stays that of the first snapshot, in discrete data only."""
        if self.data != "discrete":
            return ()
        weights = state.new_full((1, 1, 1, 1), 1 / self.n_points)
        return (Conserved("mean", weights, state[:, :1].mean((-2, -1)).expand(-1, self.frames), kept=None),)

    @property
    def evolves(self) -> bool:
        return True

    def affine(self) -> bool:
        return False

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        mean = torch.zeros(batch, self.frames, dtype=torch.float64)
        if self.config.arm == "end_points":
            state, exact = self._manufactured_ends(batch)
            return state, {"interior": exact, "mean": mean}
        times = torch.linspace(0, self.config.horizon, self.frames, dtype=torch.float64)
        x, y = self.grid.mesh()
        state = PlaneWaves(x, y, times, batch, nu=self.config.nu)
        middle = PlaneWaves(x, y, (times[1:] + times[:-1]) / 2, batch, nu=self.config.nu)
        forcing = -self.forcing(self.config.n).expand_as(middle.w)
        terms = {"w_t": middle.rate, "diffusion": middle.diffusion, "forcing": forcing}
        if self.config.arm == "invariants":
            terms = _means(4 * pi**2 * middle.stream, middle.w, terms)
        else:
            terms["advection"] = middle.advection
        return state.w, {"interior": torch.stack(list(terms.values())).sum(0), "mean": mean}

    def _manufactured_ends(self, batch: int) -> tuple[Tensor, Tensor]:
        """w(0) of modes with |k|² = 2, which do not advect each other, and any w(T)."""
        x, y = self.grid.mesh()
        row = torch.arange(batch, dtype=x.dtype).reshape(-1, 1, 1)
        start, end = torch.cos(2 * pi * (x - y) + row) + torch.sin(2 * pi * (x + y)), torch.cos(2 * pi * x) + 0 * row
        rate = 8 * pi**2 * self.config.nu
        decay = exp(-rate * self.config.horizon)
        reached = decay * start + (1 - decay) / rate * self.forcing(self.config.n)
        return torch.stack([start, end], 1), end - reached

    def symmetries(self) -> tuple[Symmetry, ...]:
        """Shifts along x - y, which g does not see; on even grids also the mirror x <-> y that turns w and g over."""
        mirrors = (False, True) if self.config.n % 2 == 0 else (False,)
        return tuple(_motion(shift, mirror) for shift in range(self.config.n) for mirror in mirrors)


def _snapshots(flow: Vorticity, step: Any, w: Tensor, frames: int, substeps: int) -> Tensor:
    return flow.values(advance(step, torch.fft.rfft2(w), frames=frames, substeps=substeps))


def _means(stream: Tensor, w: Tensor, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tests = torch.stack([stream, w], 1)
    return {name: (tests * term[:, None]).mean((-2, -1)) for name, term in terms.items()}


def _motion(shift: int, mirror: bool) -> Symmetry:
    def move(state: Tensor) -> Tensor:
        turned = -torch.roll(state.mT, state.shape[-1] // 2, -1) if mirror else state
        return torch.roll(turned, (shift, -shift), (-2, -1))

    return move
