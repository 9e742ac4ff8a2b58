"""Darcy flow from one corner of a closed square to the opposite one, log-normal permeability (PIDM, CoCoGen)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from jensenbench.core.constraints import Conserved, Constraint
from jensenbench.core.pde import PDE, Axis, Field, Grid, LatentMap, Symmetry
from jensenbench.errors import UnknownName, UserError
from pdes import _published_residuals
from pdes._elliptic_solver import solve_closed
from pdes._grf import Array, draw_normals
from pdes._kle import Expansion, check_modes, expand
from pdes._neumann import corner_wells, mean_of_nodes, net_outflow, node_weights
from pdes._published_pressures import GENERATORS
from pdes._square import separable_wave
from pdes._stencils import divergence_of_flux, face_means, face_values

LAWS = ("pidm", "cocogen")
GAP = 1e-9  # relative distance of two eigenvalues that counts as distinct


@dataclass(frozen=True)
class DarcyCornerConfig:
    """Settings of :class:`DarcyCorner`.

    Attributes:
        n: nodes along each side, edges included, spacing 1/(n-1); 64 as published.
        law: distribution of the weights of the modes of log K, N(0, 1) (``pidm``) or U(0, 2.5) (``cocogen``).
        modes: number of modes, 1 to n²; published: 64 (``pidm``), 16 to 256 (``cocogen``).
        length: correlation length of the exponential covariance, > 0; published: 0.1.
        strength: source in the corner square at the origin, minus the sink in the opposite one, not 0; published: 10.
        side: side of these squares, in (0, 0.5]; published: 0.125.
        data: ``discrete`` (solves the scheme of the own residual) or ``published`` (by least squares, as the code of
            the paper named by ``law``, ``pdes/_published_pressures.py``; its own residual does not vanish).
    """

    n: int = 32
    law: str = "pidm"
    modes: int = 64
    length: float = 0.1
    strength: float = 10.0
    side: float = 0.125
    data: str = "discrete"

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise UnknownName("darcy_corner law", self.law, LAWS)
        if not (self.length > 0 and 0 < self.side <= 0.5 and isfinite(self.strength) and self.strength != 0):
            raise UserError(
                f"darcy_corner: length = {self.length}, side = {self.side}, strength = {self.strength}: need "
                "length > 0, 0 < side <= 0.5, and a finite strength that is not 0"
            )


class DarcyCorner(PDE):
    """Darcy with corner wells: -∇·(K∇p) = f on [0,1]², no flux, ∫p = 0, f = ±strength in opposite corner squares.

    * State (b, 2, n, n), dimensionless, on nodes: the permeability K (the coefficient), the pressure p (the solution).
    * Distribution: log K = Σ_k √λ_k w_k φ_k, the Karhunen–Loève expansion of the Gaussian field with covariance
      exp(-|x - x'|/length), λ_k its largest eigenvalues, φ_k their eigenvectors; the weights w_k are standard normal in
      PIDM (arXiv 2403.14404, whose data PBFM, arXiv 2506.08604, uses too), uniform in CoCoGen (arXiv 2312.10527).
    * Own residual: finite volumes around the nodes with arithmetic face means of K, half cells on the edges; second
      order in h, bilinear in the state. The parts ``edges`` (no flux) and ``mean`` (∫p = 0) are conditions.
    * Solver: batched conjugate gradients with a fast cosine preconditioner; then the trapezoidal mean of p is removed.
    """

    name: ClassVar[str] = "darcy_corner"
    Config: ClassVar[type] = DarcyCornerConfig
    floor: ClassVar[float] = 1e-10
    data_kinds: ClassVar = ("discrete", "published")
    references: ClassVar[tuple[str, ...]] = ("arXiv:2403.14404", "arXiv:2312.10527", "arXiv:2506.08604")
    published: ClassVar = {
        "pidm": _published_residuals.pidm,
        "pidm_pixel_centres": _published_residuals.pidm_pixel_centres,
        "cocogen": _published_residuals.cocogen_darcy,
        "cocogen_nodal": _published_residuals.cocogen_darcy_nodal,
    }

    def __init__(self, config: DarcyCornerConfig | None = None):
        super().__init__(config)
        check_modes(self.config.n, self.config.modes)
        self.fields = (Field("K", "coefficient"), Field("p", "solution"))
        self.grid = Grid((Axis("x", self.config.n), Axis("y", self.config.n)))

    def label_parts(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """The setting ``law``, then the settings that differ from the default."""
        others = {key: value for key, value in settings.items() if key != "law"}
        return [self.config.law, *super().label_parts(others)]

    @property
    def expansion(self) -> Expansion:
        """Modes of log K."""
        return expand(self.config.n, self.config.length, self.config.modes)

    def source(self) -> Tensor:
        """(n, n) right-hand side f at the nodes."""
        return corner_wells(self.config.n, self.config.strength, self.config.side)

    def weights(self, indices: Sequence[int], *, seed: int) -> Array:
        """Random weights (len(indices), modes) of the modes of log K."""
        normals = draw_normals(indices, (self.config.modes,), seed=seed)
        if self.config.law == "pidm":
            return normals
        return 2.5 * ndtr(normals)

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        k = torch.from_numpy(np.exp(self.expansion.field(self.weights(indices, seed=seed))))
        return torch.stack([k, torch.zeros_like(k)], 1)

    def _latent_map(self) -> LatentMap:
        """Standard normal weights of the modes of log K; uniform ones are no function of Gaussian noise."""
        if self.config.law != "pidm":
            return super()._latent_map()
        n, modes = self.config.n, self.expansion.field(np.eye(self.config.modes))

        def unsolved(flat: Tensor) -> Tensor:
            k = torch.exp(flat.reshape(-1, n, n))
            return torch.stack([k, torch.zeros_like(k)], 1)

        return LatentMap(torch.from_numpy(modes).flatten(1), unsolved, self.solve)

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        if self.data == "discrete":
            return super().generate(indices, seed=seed)
        k = self.draw(indices, seed=seed)[:, 0]
        return torch.stack([k, self.published_pressure(k)], 1)

    def published_pressure(self, k: Tensor) -> Tensor:
        """p (b, n, n) for K (b, n, n) as the public code of the paper named by ``law`` stores it, flaws included."""
        system, f = GENERATORS[self.config.law], self.source()
        return torch.stack([system(row, f).solve() for row in k]) if len(k) else torch.zeros_like(k)

    def published_velocity(self, k: Tensor, p: Tensor) -> Tensor:
        """Velocities (U1, U2) (b, 2, n, n) of K and p (b, n, n) as CoCoGen stores all four, p transposed against K."""
        return _published_residuals.cocogen_velocity(k, p, self.grid.spacings)

    def truncation_floor(self) -> float:
        """Large on coarse grids, and on all grids where p is transposed, as CoCoGen stores it."""
        return 1.5

    def solve(self, state: Tensor) -> Tensor:
        k, f = state[:, 0], self.source()
        inflow = f * node_weights(f) * self.grid.spacings[0] ** 2
        return torch.stack([k, solve_closed(k, inflow, self.grid.axes[0], "arithmetic")], 1)

    @property
    def linear_settings(self) -> Mapping[str, int]:
        return {"strength": 1}

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        k, p = state[:, 0], state[:, 1]
        flux = divergence_of_flux(face_values(k, "arithmetic"), p, self.grid.spacings)
        return {"diffusion": -flux, "source": -self.source().to(flux)[1:-1, 1:-1].expand_as(flux)}

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        """``edges``: K ∂p/∂ν + h r/2 at the nodes of the four edges, r the strong residual; ``mean``: that of p.

        It is the balance of a node's half cell per length of its edge, the flux through the edge where r = 0; at
        corners the slopes along both normals add up.
        """
        k, p = state[:, 0], state[:, 1]
        h, weights = self.grid.spacings[0], node_weights(p)
        faces = face_means(k, -2, "arithmetic"), face_means(k, -1, "arithmetic")
        balance = (net_outflow(faces, p) - h**2 * weights * self.source().to(p)) / (2 * h * weights)
        return {"edges": balance[:, self.edge.to(p.device)], "mean": mean_of_nodes(p)[:, None]}

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        if self.data == "published" and self.config.law == "cocogen":
            return ()  # its code fixes another sum than the mean
        weights = node_weights(state[0, 0])
        share = torch.stack([torch.zeros_like(weights), weights / weights.sum()])[None]
        return (Conserved("mean", share, state.new_zeros(1, 2), kept=None),)

    @property
    def edge(self) -> Tensor:
        """(n, n) bool: the nodes on the boundary."""
        return node_weights(torch.zeros(self.grid.shape)) < 1

    def affine(self) -> bool:
        return False

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = self.grid.mesh()
        wave = separable_wave(x, y, batch)
        k = (2 + torch.sin(3 * x) * torch.cos(2 * y)).expand_as(wave.u)
        k_x, k_y = 3 * torch.cos(3 * x) * torch.cos(2 * y), -2 * torch.sin(3 * x) * torch.sin(2 * y)
        strong = -k * (wave.xx + wave.yy) - k_x * wave.x - k_y * wave.y - self.source()
        line = torch.zeros(self.config.n, dtype=x.dtype)
        line[0], line[-1] = -1, 1
        edges = k * (line[:, None] * wave.x + line * wave.y) + self.grid.spacings[0] / 2 * strong
        parts = {"interior": strong[:, 1:-1, 1:-1], "edges": edges[:, self.edge], "mean": wave.mean[:, None]}
        return torch.stack([k, wave.u], 1), parts

    def symmetries(self) -> tuple[Symmetry, ...]:
        """Exchange of the axes, and the half turn that changes the sign of p, where both keep the distribution.

        They do not for weights of nonzero mean, nor where the last mode is one of a degenerate pair.
        """
        if self.config.law != "pidm" or self.data == "published" or not self._closed_under_exchange():
            return super().symmetries()
        return tuple(_isometry(swap, turn) for swap in (False, True) for turn in (False, True))

    def _closed_under_exchange(self) -> bool:
        modes, every = self.config.modes, self.config.n**2
        if modes >= every:
            return True
        last, left_out = expand(self.config.n, self.config.length, modes + 1).eigenvalues[-2:]
        return bool(last - left_out > GAP * last)


def _isometry(swap: bool, turn: bool) -> Symmetry:
    def move(state: Tensor) -> Tensor:
        moved = state.mT if swap else state
        return moved.flip(-2, -1) * moved.new_tensor([1.0, -1.0]).reshape(2, 1, 1) if turn else moved

    return move
