"""Poisson's equation on the unit square."""

from dataclasses import dataclass
from typing import ClassVar

from pdes import _published_residuals
from pdes._square import ShiftedLaplace


@dataclass(frozen=True)
class PoissonConfig:
    """n points along each side, edges included; ``data`` discrete or continuous."""

    n: int = 32
    data: str = "discrete"


class Poisson(ShiftedLaplace):
    """Poisson: ∇²u = f on [0,1]², u = 0 on the edge, f ~ GRF(2, 3); 5-point scheme, direct sine solver.

    Source: the Poisson problem of DiffusionPDE (arXiv 2406.17763), f and u on the same nodes.
    """

    name: ClassVar[str] = "poisson"
    Config: ClassVar[type] = PoissonConfig
    references: ClassVar[tuple[str, ...]] = ("arXiv:2406.17763",)
    published: ClassVar = {"diffusionpde": _published_residuals.poisson, "fundps": _published_residuals.fundps_poisson}
