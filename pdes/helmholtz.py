"""Helmholtz equation below resonance with zero Dirichlet values on the unit square, Gaussian random source."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import ClassVar

import torch
from torch import Tensor

from jensenbench.core.constraints import Constraint, FixedEntries
from jensenbench.errors import UserError
from pdes import _published_residuals
from pdes._square import ShiftedLaplace


@dataclass(frozen=True)
class HelmholtzConfig:
    """Settings of :class:`Helmholtz`.

    Attributes:
        n: nodes along each side, edges included, spacing 1/(n-1); 32 in the default tier, 128 as published.
        k: wave number, k >= 0 and below the first resonance of the grid, which tends to √2 π = 4.44; published: 1.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (solved on a four times finer grid
            and sampled; keeps a residual of order h).
    """

    n: int = 32
    k: float = 1.0
    data: str = "discrete"


class Helmholtz(ShiftedLaplace):
    """Helmholtz: ∇²u + k²u = f on [0,1]², u = 0 on the edge, k below resonance; 5-point scheme, direct sine solver.

    * State (b, 2, n, n), dimensionless, on nodes: the source f (the coefficient), the solution u.
    * Distribution: f ~ GRF(2, 3), the Gaussian random field N(0, τ^{2α-2} (-Δ + τ²)^{-α}) with α = 2, τ = 3, Neumann
      edges and no mean, set to zero on the edge: the inhomogeneous problem of DiffusionPDE (arXiv 2406.17763), k = 1.
    * Own residual: the 5-point Laplacian of u plus k²u minus f at the inner nodes, second order in h = 1/(n-1), affine
      in the state; u on the edge is the part ``boundary``. Generated states are Gaussian and have an exact prior.
    * Solver: sine transforms, direct, exact up to rounding.
    """

    name: ClassVar[str] = "helmholtz"
    Config: ClassVar[type] = HelmholtzConfig
    references: ClassVar[tuple[str, ...]] = ("arXiv:2406.17763",)
    published: ClassVar = {
        "diffusionpde": _published_residuals.helmholtz,
        "fundps": _published_residuals.fundps_helmholtz,
    }

    def __init__(self, config: HelmholtzConfig | None = None):
        config = HelmholtzConfig() if config is None else config
        if not (isfinite(config.k) and config.k >= 0):
            raise UserError(f"helmholtz: wave number k = {config.k} must be finite, zero or positive; published: 1")
        super().__init__(config, shift=config.k * config.k)
        resonance = sqrt(self.solver.first_eigenvalue)
        if config.k >= resonance:
            raise UserError(
                f"helmholtz: k = {config.k:g} is not below the first resonance of the {config.n}² grid, "
                f"k = {resonance:.6g}; choose a smaller k"
            )

    @property
    def linear_settings(self) -> Mapping[str, int]:
        return {"k": 2}

    def coefficient(self, field: Tensor) -> Tensor:
        return torch.where(self.edge, torch.zeros_like(field), field)

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        mask = torch.zeros(self.shape, dtype=torch.bool, device=state.device)
        mask[0] = self.edge
        return (*super().constraints(state), FixedEntries("source_edge", mask[None], state.new_zeros(())))
