"""Darcy flow, -∇·(a∇u) = f: an elliptic equation with a random two-valued or log-normal coefficient on a square."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from jensenbench.core.constraints import Constraint
from jensenbench.core.pde import Field, LatentMap, effective_directions
from jensenbench.errors import UnknownName, UserError
from pdes import _published_residuals
from pdes._elliptic_solver import cell_outflow, solve_diffusion
from pdes._grf import grf_coefficients, grf_field
from pdes._square import Square, separable_wave
from pdes._stencils import FACES, divergence_of_flux, face_values

LAWS = ("two_valued", "lognormal")
GRIDS = ("node", "left_closed", "cell")
SMOOTH_STEP = 0.5  # width of the smooth step that replaces the jump of a, in standard deviations of the field


@dataclass(frozen=True)
class DarcyConfig:
    """Settings of :class:`Darcy`.

    Attributes:
        n: points along each side; 32 in the default tier, 128 as published.
        law: distribution of the coefficient a, made of a Gaussian random field: ``two_valued`` (``high`` where the
            field is >= 0, else ``low``) or ``lognormal`` (its exponential).
        low, high: the two values of a, 0 < low < high; published: 3 and 12 (older data: 4 and 12).
        source: constant right-hand side, not 0; published: 1.
        faces: mean of a between neighbouring points, ``arithmetic`` (published) or ``harmonic``.
        grid: ``node`` (points on all edges, h = 1/(n-1)); ``left_closed`` (the far edges missing, h = 1/n), as of data
            sub-sampled elsewhere; ``cell`` (cell centres, the edges half a cell outside, h = 1/n), as of the files of
            DiffusionPDE and PDEBench.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (solved on a four times finer grid
            and sampled; its residual does not fade on finer grids, since a is rough).
    """

    n: int = 32
    law: str = "two_valued"
    low: float = 3.0
    high: float = 12.0
    source: float = 1.0
    faces: str = "arithmetic"
    grid: str = "node"
    data: str = "discrete"

    def __post_init__(self) -> None:
        for kind, value, known in (("law", self.law, LAWS), ("faces", self.faces, FACES), ("grid", self.grid, GRIDS)):
            if value not in known:
                raise UnknownName(f"darcy {kind}", value, known)
        if not 0 < self.low < self.high:
            raise UserError(f"darcy: low = {self.low} and high = {self.high} must meet 0 < low < high; try 3 and 12")
        if self.source == 0:
            raise UserError("darcy: source = 0.0 leaves u = 0; use another one")
        if self.grid == "cell" and self.data != "discrete":
            raise UserError(f"darcy: no {self.data} data on cell centres; use grid: node, or data: discrete")


class Darcy(Square):
    """Darcy: -∇·(a∇u) = source on [0,1]², u = 0 on the edge; conservative 5-point scheme, conjugate gradients.

    * State (b, 2, n, n), dimensionless: the permeability a (the coefficient), the pressure u (the solution), on the
      same points.
    * Distribution: a is made of the Gaussian random field GRF(2, 3) = N(0, τ^{2α-2} (-Δ + τ²)^{-α}) with α = 2, τ = 3,
      Neumann edges and no mean. Its two-valued form is the Darcy problem of DiffusionPDE (arXiv 2406.17763). The data
      released there interpolate the two-valued a by cubic splines, which overshoot, and shift u by half a cell.
    * Own residual: the fluxes a ∂u through the faces between points, of which the divergence is minus the source;
      second order in h for smooth a, bilinear in the state. u on the edge is the part ``boundary``.
    * Solver: batched conjugate gradients, preconditioned by a fast Laplace solver, differentiable in a.

    On a left-closed grid u is taken to vanish on the missing far edges and a to continue constantly there. On cells the
    edge faces take the outer cell's own a over half a spacing; the balance of the outer cells is the part ``boundary``.
    """

    name: ClassVar[str] = "darcy"
    Config: ClassVar[type] = DarcyConfig
    floor: ClassVar[float] = 1e-10
    references: ClassVar[tuple[str, ...]] = ("arXiv:2406.17763", "arXiv:2010.08895")
    published: ClassVar = {"diffusionpde": _published_residuals.darcy, "fundps": _published_residuals.fundps_darcy}

    def __init__(self, config: DarcyConfig | None = None):
        super().__init__(config)
        two_valued, node = self.config.law == "two_valued", self.config.grid == "node"
        levels = (self.config.low, self.config.high) if two_valued else ()
        self.fields = (
            Field("a", "coefficient", levels=levels),
            Field("u", "solution", basis="sine" if node else "pixels"),
        )

    def truncation_floor(self) -> float:
        """The residual at jumps of a does not fade on finer grids, nor does that of a rough exp(GRF)."""
        return 1.5 if self.config.law == "two_valued" else 0.06

    def label_parts(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """The setting ``law``, then the settings that differ from the default."""
        others = {key: value for key, value in settings.items() if key != "law"}
        return [self.config.law, *super().label_parts(others)]

    def coefficient(self, field: Tensor) -> Tensor:
        """a (b, n, n) > 0 of a Gaussian random field (b, n, n)."""
        if self.config.law == "lognormal":
            return field.exp()
        return torch.where(field >= 0, field.new_tensor(self.config.high), field.new_tensor(self.config.low))

    def solve(self, state: Tensor) -> Tensor:
        a, axis, n = state[:, 0], self.grid.axes[0], self.config.n
        if axis.kind != "left_closed":
            u = solve_diffusion(a, self.config.source, axis, self.config.faces)
        else:
            closed = torch.nn.functional.pad(a[:, None], (0, 1, 0, 1), mode="replicate")[:, 0]
            nodes = replace(axis, n=n + 1, kind="node")
            u = solve_diffusion(closed, self.config.source, nodes, self.config.faces)[:, :n, :n]
        return torch.stack([a, u], 1)

    @property
    def linear_settings(self) -> Mapping[str, int]:
        return {"source": 1}

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        a, u = state[:, 0], state[:, 1]
        flux = divergence_of_flux(face_values(a, self.config.faces), u, self.grid.spacings)
        return {"diffusion": -flux, "source": torch.full_like(flux, -self.config.source)}

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        """``boundary``: u on the edge; on cells the outer cells' balance over 4a/h², a a typical value."""
        if self.config.grid != "cell":
            return super().conditions(state)
        outflow = cell_outflow(state[:, 0], state[:, 1], self.grid.spacings, self.config.faces)
        unit = 4 * self._middle / self.grid.spacings[0] ** 2
        return {"boundary": ((outflow - self.config.source) / unit)[:, self.edge.to(state.device)]}

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        return () if self.config.grid == "cell" else super().constraints(state)

    @property
    def _middle(self) -> float:
        return sqrt(self.config.low * self.config.high) if self.config.law == "two_valued" else 1.0

    def _latent_map(self) -> LatentMap:
        """White noise of the Gaussian field; the jump of a two-valued a has a smooth step as surrogate."""
        config, n = self.config, self.config.n
        noise = np.eye(n * n).reshape(-1, n, n)
        fields = torch.from_numpy(grf_field(grf_coefficients(noise, alpha=2.0, tau=3.0)))
        factor = effective_directions(fields.flatten(1))
        width = SMOOTH_STEP * float(factor.square().sum(0).mean().sqrt())

        def unsolved(flat: Tensor) -> Tensor:
            return self._unsolved(flat.reshape(-1, n, n))

        def smoothed(flat: Tensor) -> Tensor:
            a = config.low + (config.high - config.low) * torch.sigmoid(flat.reshape(-1, n, n) / width)
            return torch.stack([a, torch.zeros_like(a)], 1)

        return LatentMap(factor, unsolved, self.solve, smoothed if config.law == "two_valued" else None)

    def affine(self) -> bool:
        return False

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = self.grid.mesh()
        wave = separable_wave(x, y, batch)
        a = (2 + torch.sin(3 * x) * torch.cos(2 * y)).expand_as(wave.u)
        a_x, a_y = 3 * torch.cos(3 * x) * torch.cos(2 * y), -2 * torch.sin(3 * x) * torch.sin(2 * y)
        flux = a * (wave.xx + wave.yy) + a_x * wave.x + a_y * wave.y
        residual = (-flux - self.config.source)[:, 1:-1, 1:-1]
        state = torch.stack([a, wave.u], 1)
        return state, {"interior": residual, "boundary": self._on_edge(state)}

    def _on_edge(self, state: Tensor) -> Tensor:
        """Limit of :meth:`conditions` on fine grids, of a smooth state that does not vanish on the edge."""
        if self.config.grid != "cell":
            return state[:, 1][:, self.edge]
        (x, y), b = self.grid.mesh(), len(state)
        edges = torch.zeros_like(state[:, 1])
        for index, end in ((0, 0.0), (-1, 1.0)):
            edges[:, index] += separable_wave(torch.full_like(y[:1], end), y[:1], b).u[:, 0]
            edges[:, :, index] += separable_wave(x[:, :1], torch.full_like(x[:, :1], end), b).u[..., 0]
        return (state[:, 0] * edges / (2 * self._middle))[:, self.edge]
