"""Base classes of elliptic problems on the unit square with zero Dirichlet values: Poisson, Helmholtz, Darcy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import pi
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from jensenbench.core.constraints import Constraint, FixedEntries
from jensenbench.core.pde import PDE, Axis, AxisKind, Field, Grid, Symmetry
from pdes._grf import cosine_interpolate, grf_coefficients, grf_field, sample_grf
from pdes._sine_solver import SineSolver, with_zero_edge
from pdes._stencils import laplacian

REFINEMENT = 4  # refinement of the grid on which continuous data are solved
FINE_POINTS = 2**22  # points of all fine states solved together, which bounds the memory


class Square(PDE):
    """States (coefficient, u) on a square grid; u vanishes on the edge.

    The coefficient is made of a Gaussian random field. Continuous data are every fourth point of a state on
    a finer grid, whose field is the cosine interpolant of the same field.
    """

    def __init__(self, config: Any = None):
        super().__init__(config)
        kind: AxisKind = getattr(self.config, "grid", "node")
        self.grid = Grid((Axis("x", self.config.n, kind=kind), Axis("y", self.config.n, kind=kind)))

    def coefficient(self, field: Tensor) -> Tensor:
        """The coefficient (b, n, n) made of a Gaussian random field."""
        return field

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        return self._unsolved(torch.from_numpy(sample_grf(indices, self.config.n, seed=seed)))

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        if self.data == "discrete":
            return super().generate(indices, seed=seed)
        return self._sampled(torch.from_numpy(sample_grf(indices, self.config.n, seed=seed)))

    @cached_property
    def _fine(self) -> Self:
        n = self.config.n
        points = (n - 1) * REFINEMENT + 1 if self.grid.axes[0].kind == "node" else n * REFINEMENT
        return type(self)(replace(self.config, n=points, data="discrete"))

    def _unsolved(self, field: Tensor) -> Tensor:
        a = self.coefficient(field)
        return torch.stack([a, torch.zeros_like(a)], 1)

    def _sampled(self, field: Tensor) -> Tensor:
        """States of Gaussian fields (b, n, n), solved on the fine grid."""
        fine = self._fine
        positions = np.arange(fine.config.n) / REFINEMENT

        def solution(part: Tensor) -> Tensor:
            state = fine._unsolved(torch.from_numpy(cosine_interpolate(part.numpy(), positions)))
            return fine.solve(state)[:, 1, ::REFINEMENT, ::REFINEMENT]

        parts = field.split(max(1, FINE_POINTS // fine.n_points))
        return torch.stack([self.coefficient(field), torch.cat([solution(part) for part in parts])], 1)

    @property
    def edge(self) -> Tensor:
        """(n, n) bool: the points on the boundary, or next to it on cells; a left-closed grid lacks the far edges."""
        mask = torch.zeros(self.grid.shape, dtype=torch.bool)
        mask[0] = mask[:, 0] = True
        if self.grid.axes[0].kind != "left_closed":
            mask[-1] = mask[:, -1] = True
        return mask

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        return {"boundary": state[:, 1][:, self.edge.to(state.device)]}

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        mask = torch.zeros(self.shape, dtype=torch.bool, device=state.device)
        mask[1] = self.edge
        return (FixedEntries("boundary", mask[None], state.new_zeros(())),)

    def symmetries(self) -> tuple[Symmetry, ...]:
        """The square's dihedral group; on a left-closed grid only the exchange of the axes."""
        turns = range(1 if self.grid.axes[0].kind == "left_closed" else 4)
        return tuple(_isometry(turn, swap, 1.0) for turn in turns for swap in (False, True))


def _isometry(turn: int, swap: bool, sign: float) -> Symmetry:
    def move(state: Tensor) -> Tensor:
        turned = torch.rot90(state, turn, (-2, -1))
        return sign * (turned.mT if swap else turned)

    return move


class ShiftedLaplace(Square):
    """∇²u + shift u = f with f ~ GRF(2, 3), 5-point scheme: the affine problems Poisson and Helmholtz."""

    floor: ClassVar[float] = 1e-11

    def __init__(self, config: Any = None, *, shift: float = 0.0):
        super().__init__(config)
        self.shift = shift
        self.fields = (Field("f", "coefficient"), Field("u", "solution", basis="sine"))
        self.solver = SineSolver(self.grid.axes[0], shift)

    def state_factor(self) -> Tensor:
        n = self.config.n
        noise = torch.eye(n * n, dtype=torch.float64).reshape(-1, n, n).numpy()
        field = torch.from_numpy(grf_field(grf_coefficients(noise, alpha=2.0, tau=3.0)))
        return self.solve(self._unsolved(field)) if self.data == "discrete" else self._sampled(field)

    def truncation_floor(self) -> float:
        """First order in h: f is rough."""
        return 1.5 * self.grid.spacings[0]

    def solve(self, state: Tensor) -> Tensor:
        f = state[:, 0]
        return torch.stack([f, with_zero_edge(self.solver(f[:, 1:-1, 1:-1]))], 1)

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        f, u = state[:, 0], state[:, 1]
        terms = {"laplacian": laplacian(u, self.grid.spacings), "source": -f[:, 1:-1, 1:-1]}
        return {**terms, "reaction": self.shift * u[:, 1:-1, 1:-1]} if self.shift else terms

    def affine(self) -> bool:
        return True

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = self.grid.mesh()
        wave = separable_wave(x, y, batch)
        f = torch.cos(2 * x) * torch.exp(y).expand_as(wave.u)
        residual = (wave.xx + wave.yy + self.shift * wave.u - f)[:, 1:-1, 1:-1]
        return torch.stack([f, wave.u], 1), {"interior": residual, "boundary": wave.u[:, self.edge]}

    def symmetries(self) -> tuple[Symmetry, ...]:
        """The square's symmetries, each with and without a change of sign: distribution and equation are odd."""
        return tuple(_isometry(turn, swap, sign) for sign in (1.0, -1.0) for turn in range(4) for swap in (False, True))


@dataclass(frozen=True)
class Wave:
    """A smooth function (b, n, m) with its derivatives, and its means (b,) over the unit square."""

    u: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    yy: Tensor
    mean: Tensor


def separable_wave(x: Tensor, y: Tensor, batch: int) -> Wave:
    """sin(px + c) sin(qy) on points (n, m), other p, q, c for each batch element; no symmetry of the square."""
    row = torch.arange(batch, dtype=x.dtype).reshape(-1, 1, 1)
    p, q, c = pi * (1 + 0.3 * row), 2 * pi / (1 + 0.2 * row), 0.4 + 0.5 * row
    sin_x, cos_x, sin_y, cos_y = torch.sin(p * x + c), torch.cos(p * x + c), torch.sin(q * y), torch.cos(q * y)
    u, mean = sin_x * sin_y, (torch.cos(c) - torch.cos(p + c)) / p * (1 - torch.cos(q)) / q
    return Wave(u, p * cos_x * sin_y, q * sin_x * cos_y, -(p**2) * u, -(q**2) * u, mean.flatten())
