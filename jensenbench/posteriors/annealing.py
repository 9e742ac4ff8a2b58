"""Annealed importance sampling with systematic resampling: from draws of the prior to starts of the chains."""

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.posteriors.target import Point

WEAKEST = 1e-3  # factor of the data potential at the start
FEWEST = 0.5  # share of effective chains below which they are resampled


def inverse_temperature(share: float) -> float:
    """Factor of the data potential after a share of the annealing in [0, 1]: grows geometrically to one."""
    return WEAKEST ** max(0.0, 1 - share)


def reweigh(point: Point, weights: Tensor, rise: float, uniform: float) -> tuple[Point, Tensor]:
    """Chains and their log weights (b,) after the factor of the data potential has grown by ``rise``.

    Where the effective number of chains is too small, all are resampled by their weights (systematic resampling,
    `delmoral2006sequential`), with one ``uniform`` number in [0, 1]: a chain that is stuck far from the posterior, say
    on the wrong side of an observed level set, moves to where another one is. Raises UserError where the solver refuses
    every chain.
    """
    weights = weights - rise * point.potential
    if not torch.isfinite(weights).any():
        raise UserError(f"the solver refuses all {len(weights)} chains; this PDE has no reference posterior")
    shares = weights.softmax(0)
    if float(1 / shares.square().sum()) >= FEWEST * len(weights):
        return point, weights
    positions = (torch.arange(len(weights), dtype=torch.float64) + uniform) / len(weights)
    chosen = torch.searchsorted(shares.cumsum(0), positions).clamp(max=len(weights) - 1)
    return Point(*(part[chosen] for part in point)), torch.zeros_like(weights)
