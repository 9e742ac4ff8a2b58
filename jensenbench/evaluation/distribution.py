"""Metrics of samples and reference states as two sets, with resampled values, and statistics of the free data."""

from collections.abc import Sequence

import torch
from torch import Tensor

from jensenbench.core.pde import PDE
from jensenbench.evaluation.accuracy import threshold
from jensenbench.evaluation.metrics import BOOTSTRAP
from jensenbench.evaluation.sets import (
    Reference,
    distance,
    moment_gaps,
    moments,
    ordered,
    partners,
    project,
    unit_channels,
)

REPLICATES = 200
LEAST_DRAWS = 4


def distribution(pde: PDE, states: Tensor, reference: Reference) -> dict[str, Tensor]:
    """Set metrics (scalars) of states (n, C, *grid), and resampled values of those that are ranked."""
    scaled = unit_channels(states, reference.field_std)
    if len(scaled) < 4 or not torch.isfinite(scaled).all():
        return {}
    here, there = moments(scaled), reference.moments
    mean_gap, std_gap = moment_gaps(here, there)
    spread = (here.std.square().mean(-1) / there.std.square().mean(-1)).sqrt()
    values = {"mmse": mean_gap.mean(), "smse": std_gap.mean(), "sliced_w2": distance(scaled, reference)}
    for channel, field in enumerate(pde.fields):
        values[f"mmse/{field.name}"] = mean_gap[channel].mean()
        values[f"smse/{field.name}"] = std_gap[channel].mean()
        values[f"std_ratio/{field.name}"] = spread[channel]
    wobbles = bootstrap(scaled, reference, [field.name for field in pde.fields])
    replicates = {f"{name}@{BOOTSTRAP}": values[name] + wobble for name, wobble in wobbles.items()}
    return {**values, **free_law(pde, states, reference.states), **replicates}


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


def conditional_spread(pde: PDE, fields: Tensor, truth: Tensor, reference: Reference) -> dict[str, Tensor]:
    """Amplitude and statistics of the free data of fields (I, K, C, *grid), over those of the truths (I, C, *grid).

    ``std_ratio`` is the rms of fields less the reference mean over that of the truths, below 1 where samples
    shrink towards the mean; its replicates draw instances again. States that are not finite give nothing.
    """
    if not torch.isfinite(fields).all():
        return {}
    here, there = (
        (unit_channels(states, reference.field_std) - reference.moments.mean).square().mean(-1)
        for states in (fields.flatten(0, 1), truth)
    )
    here = here.unflatten(0, fields.shape[:2]).mean(1)
    picks = torch.randint(len(truth), (REPLICATES, len(truth)), generator=torch.Generator().manual_seed(0))
    values = free_law(pde, fields.flatten(0, 1), truth)
    for channel, field in enumerate(pde.fields):
        mine, true = here[:, channel], there[:, channel]
        values[f"std_ratio/{field.name}"] = (mine.mean() / true.mean()).sqrt()
        values[f"std_ratio/{field.name}@{BOOTSTRAP}"] = (mine[picks].mean(1) / true[picks].mean(1)).sqrt()
    return values


def conditional_moments(pde: PDE, fields: Tensor, resamples: Tensor, field_std: Tensor) -> dict[str, Tensor]:
    """``mmse`` and ``smse`` of fields (I, K, C, *grid) against re-simulated states (I, M, C, *grid).

    One distribution per instance; means over instances, which the replicates draw again. Fewer than four draws say
    nothing about a spread.
    """
    if fields.shape[1] < LEAST_DRAWS or not torch.isfinite(fields).all():
        return {}
    pairs = zip(fields, resamples, strict=True)
    gaps = [moment_gaps(*(moments(unit_channels(states, field_std)) for states in pair)) for pair in pairs]
    picks = torch.randint(len(gaps), (REPLICATES, len(gaps)), generator=torch.Generator().manual_seed(0))
    values = {}
    for name, parts in zip(("mmse", "smse"), zip(*gaps, strict=True), strict=True):
        of_fields = torch.stack(parts).mean(-1)
        overall = of_fields.mean(1)
        values |= {f"{name}/{field.name}": of_fields[:, i].mean() for i, field in enumerate(pde.fields)}
        values |= {name: overall.mean(), f"{name}@{BOOTSTRAP}": overall[picks].mean(1)}
    return values


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
    """Statistics of the coefficient over the reference's: interface density where two-valued, gradient energy."""
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
