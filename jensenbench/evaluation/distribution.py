"""Samples against reference states as two sets: moments, sliced Wasserstein distance, law of the free data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jensenbench.evaluation.accuracy import threshold
from jensenbench.evaluation.metrics import BOOTSTRAP
from jensenbench.pde import PDE

DIRECTIONS = 128
REPLICATES = 200


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


def distribution(pde: PDE, states: Tensor, reference: Reference) -> dict[str, Tensor]:
    """Set metrics (scalars) of states (n, C, *grid), and resampled values of those that are ranked."""
    scaled = unit_channels(states, reference.field_std)
    if len(scaled) < 4 or not torch.isfinite(scaled).all():
        return {}
    here, there = moments(scaled), reference.moments
    mean_gap = (here.mean - there.mean).square() - here.mean_error - there.mean_error
    std_gap = (here.std - there.std).square() - here.std_error - there.std_error
    spread = (here.std.square().mean(-1) / there.std.square().mean(-1)).sqrt()
    distance = sliced_w2(ordered(project(scaled, reference.directions)), reference.projected)
    values = {"mmse": mean_gap.mean(), "smse": std_gap.mean(), "sliced_w2": distance}
    for channel, field in enumerate(pde.fields):
        values[f"mmse/{field.name}"] = mean_gap[channel].mean()
        values[f"smse/{field.name}"] = std_gap[channel].mean()
        values[f"std_ratio/{field.name}"] = spread[channel]
    wobbles = bootstrap(scaled, reference, [field.name for field in pde.fields])
    replicates = {f"{name}@{BOOTSTRAP}": values[name] + wobble for name, wobble in wobbles.items()}
    return {**values, **free_law(pde, states, reference.states), **replicates}


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


def bootstrap(scaled: Tensor, reference: Reference, names: Sequence[str], *, seed: int = 0) -> dict[str, Tensor]:
    """Deviations (REPLICATES,) of the set metrics when states are drawn again with replacement.

    Replicates are centred, since resampling adds to the bias that the estimates subtract. The indices
    follow from the number of states alone: all methods share them, so differences are paired. ``names``
    are the fields'.
    """
    n = len(scaled)
    picks = torch.randint(n, (REPLICATES, n), generator=torch.Generator().manual_seed(seed))
    mean, std = resampled_moments(scaled, picks)
    projected, there = project(scaled, reference.directions), reference.moments
    partner, variance = partners(reference.projected, n)
    gaps = [ordered(projected[:, pick]) - partner for pick in picks]
    distances = [(gap.square().mean(1) + variance).mean().clamp(min=0).sqrt() for gap in gaps]
    replicates = {
        "mmse": (mean - there.mean).square().flatten(1).mean(1),
        "smse": (std - there.std).square().flatten(1).mean(1),
        "sliced_w2": torch.stack(distances),
    }
    spread = (std.square().mean(-1) / there.std.square().mean(-1)).sqrt()
    replicates |= {f"std_ratio/{name}": spread[:, channel] for channel, name in enumerate(names)}
    return {name: values - values.mean() for name, values in replicates.items()}


def resampled_moments(scaled: Tensor, picks: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and std (B, C, P) of the states that each row of ``picks`` (B, n) names."""
    n, flat = len(scaled), scaled.flatten(1)
    weights = torch.zeros(len(picks), n, dtype=torch.float64)
    weights.scatter_add_(1, picks, torch.ones_like(picks, dtype=torch.float64))
    centre = flat.mean(0)
    first, second = weights @ (flat - centre) / n, weights @ (flat - centre).square() / n
    variance = (second - first.square()).clamp(min=0) * n / (n - 1)
    shape = (len(picks), *scaled.shape[1:])
    return (centre + first).reshape(shape), variance.sqrt().reshape(shape)


def free_law(pde: PDE, states: Tensor, reference: Tensor) -> dict[str, Tensor]:
    """Law of the coefficient over the reference's: interface density where two-valued, gradient energy."""
    values = {}
    for channel, field in enumerate(pde.fields):
        if field.role == "solution":
            continue
        pair = [coefficient(pde, s[:, channel].double(), field.role == "space_time") for s in (states, reference)]
        here, there = (gradient_energy(*part) for part in pair)
        values[f"free_law/gradient_energy/{field.name}"] = here / there
        if field.levels:
            here, there = (interface_density(part[0] >= threshold(field)) for part in pair)
            values[f"free_law/interface_density/{field.name}"] = here / there
    return values


def coefficient(pde: PDE, field: Tensor, space_time: bool) -> tuple[Tensor, tuple[float, ...]]:
    """The free part of a channel (n, *grid) and its spacings: the row t = 0 of a space-time field."""
    spacings = pde.grid.spacings
    return (field[:, 0], spacings[1:]) if space_time else (field, spacings)


def gradient_energy(field: Tensor, spacings: tuple[float, ...]) -> Tensor:
    """Mean over states and neighbours of the squared difference quotients, summed over the axes."""
    parts = [(field.diff(dim=axis + 1) / h).square().mean() for axis, h in enumerate(spacings)]
    return torch.stack(parts).sum()


def interface_density(phase: Tensor) -> Tensor:
    """Share of neighbours (n, *grid) of unlike phase."""
    unlike = [phase.diff(dim=axis).double() for axis in range(1, phase.ndim)]
    count = sum(part.numel() for part in unlike)
    return torch.stack([part.sum() for part in unlike]).sum() / count
