"""Two sets of states compared as samples of distributions: moments and sliced Wasserstein distance, float64."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

DIRECTIONS = 128


@dataclass(frozen=True)
class Moments:
    """Mean and unbiased std (C, P) of states, and the squared standard errors of both."""

    mean: Tensor
    std: Tensor
    mean_error: Tensor
    std_error: Tensor


@dataclass(frozen=True)
class Reference:
    """Reference states (m, C, *grid) with what every comparison needs of them, in unit-std channels."""

    states: Tensor
    field_std: Tensor
    moments: Moments
    directions: Tensor
    projected: Tensor


def make_reference(states: Tensor, field_std: Tensor, *, seed: int = 0) -> Reference:
    """Prepare reference states (m, C, *grid), m >= 4; the directions follow from ``seed`` alone."""
    scaled = unit_channels(states, field_std)
    directions = random_directions(scaled[0].numel(), seed)
    return Reference(states, field_std, moments(scaled), directions, ordered(project(scaled, directions)))


def unit_channels(states: Tensor, field_std: Tensor) -> Tensor:
    """States as (n, C, P) in units of each field's std."""
    return states.double().flatten(2) / field_std.double()[:, None]


def random_directions(size: int, seed: int) -> Tensor:
    """(size, DIRECTIONS) unit vectors, uniform on the sphere."""
    normal = torch.randn(size, DIRECTIONS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return normal / torch.linalg.vector_norm(normal, dim=0)


def project(scaled: Tensor, directions: Tensor) -> Tensor:
    """Projections (L, n) of states (n, C, P)."""
    return (scaled.flatten(1) @ directions).T.contiguous()


def ordered(projected: Tensor) -> Tensor:
    """Each row sorted (numpy's sort of doubles is several times faster than torch's)."""
    return torch.from_numpy(np.sort(projected.numpy(), axis=-1))


def moments(scaled: Tensor) -> Moments:
    """Moments of states (n, C, P); the error of the std by the delta method with the sample's fourth moment."""
    n = len(scaled)
    variance = scaled.var(0)
    fourth = (scaled - scaled.mean(0)).square().square().mean(0)
    of_variance = (fourth - variance.square() * (n - 3) / (n - 1)) / n
    of_std = torch.where(variance > 0, of_variance / (4 * variance), 0.0).clamp(min=0)
    return Moments(scaled.mean(0), variance.sqrt(), variance / n, of_std)


def moment_gaps(here: Moments, there: Moments) -> tuple[Tensor, Tensor]:
    """Squared differences (C, P) of means and of stds less the sampling variance of both, without bias."""
    of_means = (here.mean - there.mean).square() - here.mean_error - there.mean_error
    of_stds = (here.std - there.std).square() - here.std_error - there.std_error
    return of_means, of_stds


def distance(scaled: Tensor, reference: Reference) -> Tensor:
    """Sliced 2-Wasserstein distance of states (n, C, P) in unit-std channels to the reference."""
    return sliced_w2(ordered(project(scaled, reference.directions)), reference.projected)


def sliced_w2(first: Tensor, second: Tensor) -> Tensor:
    """Sliced 2-Wasserstein distance of sorted projections (L, n) and (L, m), any n and m; exact a direction."""
    i, j, mass = coupling(first.shape[1], second.shape[1])
    return ((first[:, i] - second[:, j]).square() @ mass).mean().sqrt()


def coupling(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Optimal plan between n and m sorted points of equal weights: indices into both, and the mass moved."""
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    mass = torch.diff(ends, prepend=ends.new_zeros(1)).double() / (n * m)
    return (ends - 1) // m, (ends - 1) // n, mass


def partners(second: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """What n sorted points are matched to: mean partner (L, n) of each, and the mean partners' variance (L,).

    W₂² of points x is then mean (x − partner)² + variance.
    """
    i, j, mass = coupling(n, second.shape[1])
    mean = torch.zeros(len(second), n, dtype=second.dtype).index_add_(1, i, second[:, j] * mass * n)
    return mean, second.square().mean(1) - mean.square().mean(1)
