"""Replica exchange (parallel tempering) between chains whose data potential is scaled down."""

import torch
from torch import Tensor

from jensenbench.posteriors.target import Point


def ladder(levels: int, weakest: float) -> Tensor:
    """Factors (L,) of the data potential: 1, then smaller ones in geometric steps, down to the weakest."""
    if levels == 1:
        return torch.ones(1, dtype=torch.float64)
    return weakest ** (torch.arange(levels, dtype=torch.float64) / (levels - 1))


def exchange(point: Point, factors: Tensor, uniform: Tensor, first: int) -> tuple[Point, Tensor]:
    """Swap the states of neighbouring levels with probability min(1, exp((f_i − f_j)(Φ_i − Φ_j))).

    The product of all levels' distributions, exp(−|z|²/2 − f Φ), stays invariant (`earl2005parallel`).

    Args:
        point: batch of L levels for each chain, level 0 first.
        factors: (L,) of the data potential.
        uniform: (chains, L) on [0, 1].
        first: lower level of the first pair; pairs (first, first + 1), (first + 2, first + 3) and so on are tried.

    Returns:
        The states, and the mean acceptance probability (L − 1,) of each pair, zero for pairs that were not tried.
    """
    count = len(factors)
    lower = torch.arange(first, count - 1, 2)
    potential = point.potential.reshape(-1, count)
    gain = (factors[lower] - factors[lower + 1]) * (potential[:, lower] - potential[:, lower + 1])
    ratio = torch.exp(gain.clamp(max=0)).nan_to_num(nan=0.0)  # the difference of two refused states is NaN
    swapped = uniform[:, lower] < ratio
    order = torch.arange(count).repeat(len(potential), 1)
    order[:, lower] += swapped.long()
    order[:, lower + 1] -= swapped.long()
    index = (order + count * torch.arange(len(potential))[:, None]).flatten()
    accepted = torch.zeros(count - 1, dtype=torch.float64)
    accepted[lower] = ratio.mean(0)
    return Point(*(part[index] for part in point)), accepted
