"""Toy: steady viscous Burgers equation with a random source, in one dimension."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import torch
from torch import Tensor

from jensenbench.core.pde import Field, Symmetry
from jensenbench.errors import UserError
from pdes._grf import draw_normals
from pdes._interval import Interval, cosine_field
from pdes._tridiagonal import solve_cyclic

NEWTON_STEPS = 60
NEWTON_TOLERANCE = 1e-9  # of the last correction: the error left is its square
HALVINGS = 12


@dataclass(frozen=True)
class Burgers1DConfig:
    """Settings of :class:`Burgers1D`.

    Attributes:
        n: nodes in [0, 1], ends included, spacing 1/(n-1); 64 in the tier of all PDEs, 7 at least.
        nu: viscosity, > 0; 0.05. Layers have the width nu, which h should resolve.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (solved on an eight times finer
            grid and sampled).
    """

    n: int = 64
    nu: float = 0.05
    data: str = "discrete"

    def __post_init__(self) -> None:
        if not (isfinite(self.nu) and self.nu > 0):
            raise UserError(f"burgers_1d: viscosity nu = {self.nu} must be finite and positive; default: 0.05")


class Burgers1D(Interval):
    """Steady Burgers: u u' = ν u'' + f on [0, 1], u(0) = u(1) = 0; conservative central differences, Newton.

    * State (b, 2, n), dimensionless, on nodes: the source f (the coefficient), the solution u.
    * Distribution: f ~ N(0, 27 (-d²/dx² + 9)^{-2}) with Neumann ends and no mean, the field of ``darcy_1d``.
    * Own residual: central differences of u²/2 and u minus f at the inner nodes, second order in h, quadratic in the
      state (``darcy_1d`` is bilinear). u at both ends is the part ``boundary``.
    * Solver: Newton's method with halved steps. The substitution of Hopf and Cole turns the equation into an eigenvalue
      problem whose positive eigenfunction is the unique solution; Newton's matrix is regular where |u| h < 2ν.
    """

    name: ClassVar[str] = "burgers_1d"
    Config: ClassVar[type] = Burgers1DConfig
    floor: ClassVar[float] = 1e-10
    least_n: ClassVar[int] = 7  # below it Newton's method fails for some of the sources, at the default ν
    references: ClassVar[tuple[str, ...]] = ("cole1951quasilinear",)

    def __init__(self, config: Burgers1DConfig | None = None):
        super().__init__(config)
        self.fields = (Field("f", "coefficient"), Field("u", "solution"))

    def truncation_floor(self) -> float:
        """Second order in the width ν of layers; the source is rough."""
        return min(1.0, 0.5 * (self.grid.spacings[0] / self.config.nu) ** 2)

    def coefficient(self, indices: Sequence[int], points: int, *, seed: int) -> Tensor:
        return cosine_field(draw_normals(indices, (self.config.n - 1,), seed=seed), points)

    def solution(self, coefficient: Tensor) -> Tensor:
        """By Newton's method from u = 0; each step is halved until it lowers the residual."""
        f, h, u = coefficient, 1 / (coefficient.shape[-1] - 1), torch.zeros_like(coefficient)
        wrong = f.new_ones(len(f), dtype=torch.bool)
        for _ in range(NEWTON_STEPS):
            change = self._correction(u, f, h)
            u = self._shortened(u, change, f, h)
            wrong = ~(change.abs().amax(-1) <= NEWTON_TOLERANCE * (1 + u.abs().amax(-1)))
            if not wrong.any():
                return u
        row = int(wrong.nonzero()[0])
        raise UserError(
            f"burgers_1d: Newton's method did not converge for sample {row} (largest |f| = "
            f"{float(f[row].abs().max()):.3g}, n = {f.shape[-1]}, nu = {self.config.nu}); raise n or nu"
        )

    def _correction(self, u: Tensor, f: Tensor, h: float) -> Tensor:
        """Newton's correction (b, m), zero at the ends."""
        viscous, slope = self.config.nu / h**2, u / (2 * h)
        closed = torch.nn.functional.pad
        lower = closed(-slope[:, 1:-2] - viscous, (1, 0))
        upper = closed(slope[:, 2:-1] - viscous, (0, 1))
        diagonal = torch.full_like(u[:, 1:-1], 2 * viscous)
        return closed(-solve_cyclic(lower, diagonal, upper, self._defect(u, f, h)), (1, 1))

    def _shortened(self, u: Tensor, change: Tensor, f: Tensor, h: float) -> Tensor:
        """u + s change, s = 1, 1/2, 1/4 … the first that lowers the residual, for each batch element."""
        before, length = self._defect(u, f, h).norm(dim=-1, keepdim=True), torch.ones_like(u[:, :1])
        for _ in range(HALVINGS):
            worse = self._defect(u + length * change, f, h).norm(dim=-1, keepdim=True) > before
            if not worse.any():
                break
            length = torch.where(worse, length / 2, length)
        return u + length * change

    def _defect(self, u: Tensor, f: Tensor, h: float) -> Tensor:
        return torch.stack(list(self._balance(u, f, h).values())).sum(0)

    def _balance(self, u: Tensor, f: Tensor, h: float) -> dict[str, Tensor]:
        half = u.square() / 2
        return {
            "convection": (half[:, 2:] - half[:, :-2]) / (2 * h),
            "diffusion": -self.config.nu * u.diff(n=2, dim=-1) / h**2,
            "source": -f[:, 1:-1],
        }

    @property
    def linear_settings(self) -> Mapping[str, int]:
        return {"nu": 1}

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        return self._balance(state[:, 1], state[:, 0], self.grid.spacings[0])

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, row = self.grid.axes[0].coordinates, torch.arange(batch, dtype=torch.float64)[:, None]
        k = 2 + row
        u, u_x, u_xx = torch.cos(k * x), -k * torch.sin(k * x), -(k**2) * torch.cos(k * x)
        f = torch.exp(x) * (1 + row)
        residual = u * u_x - self.config.nu * u_xx - f
        return torch.stack([f, u], 1), {"interior": residual[:, 1:-1], "boundary": u[:, [0, -1]]}

    def symmetries(self) -> tuple[Symmetry, ...]:
        """The reflection of x that turns u and f over."""
        return (lambda state: state, lambda state: -state.flip(-1))
