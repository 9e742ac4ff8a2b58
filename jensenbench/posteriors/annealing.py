"""From draws of the prior to starts of the chains: annealed importance sampling with resampling."""

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.posteriors.target import Point

COLDEST = 1e-3  # first factor of the data potential
FEWEST = 0.5  # effective share of the chains below which they are drawn anew


def temperature(share: float) -> float:
    """Factor of the data potential after that share of the annealing: grows geometrically to one."""
    return COLDEST ** max(0.0, 1 - share)


def reweigh(point: Point, weights: Tensor, rise: float, uniform: float) -> tuple[Point, Tensor]:
    """Chains and their log weights (b,) after the temperature has grown by ``rise``.

    Where too few chains carry the weight, all are drawn anew by it (systematic resampling): a chain that is caught far
    from the posterior, on the wrong side of an observed level set say, moves to where another one is
    (`delmoral2006sequential`). Raises UserError where the solver refuses every chain.
    """
    weights = weights - rise * point.potential
    if not torch.isfinite(weights).any():
        raise UserError(f"the solver refuses all {len(weights)} chains; this law has no reference posterior")
    shares = weights.softmax(0)
    if float(1 / shares.square().sum()) >= FEWEST * len(weights):
        return point, weights
    positions = (torch.arange(len(weights), dtype=torch.float64) + uniform) / len(weights)
    chosen = torch.searchsorted(shares.cumsum(0), positions).clamp(max=len(weights) - 1)
    return Point(*(part[chosen] for part in point)), torch.zeros_like(weights)
