"""The Helmholtz equation below resonance on the unit square."""

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
    """n points along each side, edges included; wave number k; ``data`` discrete or continuous."""

    n: int = 32
    k: float = 1.0
    data: str = "discrete"


class Helmholtz(ShiftedLaplace):
    """Helmholtz: ∇²u + k²u = f on [0,1]², u = 0 on the edge, f ~ GRF(2, 3) set to zero on the edge; 5-point scheme.

    Source: the inhomogeneous Helmholtz problem of DiffusionPDE (arXiv 2406.17763), there with k = 1.
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
            raise UserError(f"helmholtz: wave number k = {config.k} must be a finite number, zero or positive")
        super().__init__(config, shift=config.k * config.k)
        resonance = sqrt(self.solver.first_eigenvalue)
        if config.k >= resonance:
            raise UserError(
                f"helmholtz: k = {config.k:g} is not below the first resonance of the {config.n}² grid, "
                f"k = {resonance:.6g}; choose a smaller k"
            )

    def coefficient(self, field: Tensor) -> Tensor:
        return torch.where(self.edge, torch.zeros_like(field), field)

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        mask = torch.zeros(self.shape, dtype=torch.bool, device=state.device)
        mask[0] = self.edge
        return (*super().constraints(state), FixedEntries("source_edge", mask[None], state.new_zeros(())))
