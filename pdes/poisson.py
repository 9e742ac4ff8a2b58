"""Poisson equation with zero Dirichlet values on the unit square, Gaussian random source."""

from dataclasses import dataclass
from typing import ClassVar

from pdes import _published_residuals
from pdes._square import ShiftedLaplace


@dataclass(frozen=True)
class PoissonConfig:
    """Settings of :class:`Poisson`.

    Attributes:
        n: nodes along each side, edges included, spacing 1/(n-1); 32 in the default tier, 128 as published.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (solved on a four times finer grid
            and sampled; keeps a residual of order h).
    """

    n: int = 32
    data: str = "discrete"


class Poisson(ShiftedLaplace):
    """Poisson: ∇²u = f on [0,1]², u = 0 on the edge; 5-point scheme, direct sine solver.

    * State (b, 2, n, n), dimensionless, on nodes: the source f (the coefficient), the solution u.
    * Distribution: f ~ GRF(2, 3), the Gaussian random field N(0, τ^{2α-2} (-Δ + τ²)^{-α}) with α = 2, τ = 3, Neumann
      edges and no mean; f does not vanish on the edge. As DiffusionPDE (arXiv 2406.17763), f and u on the same nodes.
    * Own residual: the 5-point Laplacian of u minus f at the inner nodes, second order in h = 1/(n-1), affine in the
      state; u on the edge is the part ``boundary``. Generated states are Gaussian and have an exact prior.
    * Solver: sine transforms, direct, exact up to rounding.
    """

    name: ClassVar[str] = "poisson"
    Config: ClassVar[type] = PoissonConfig
    references: ClassVar[tuple[str, ...]] = ("arXiv:2406.17763",)
    published: ClassVar = {"diffusionpde": _published_residuals.poisson, "fundps": _published_residuals.fundps_poisson}
