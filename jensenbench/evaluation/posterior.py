"""Draws of a method against draws of the posterior itself, float64."""

import torch
from torch import Tensor

from jensenbench.evaluation.accuracy import LEVELS, coverage_name, coverages
from jensenbench.evaluation.sets import ordered, project, random_directions, sliced_w2, unit_channels


def against_draws(fields: Tensor, exact: Tensor, unknown: Tensor, field_std: Tensor) -> dict[str, Tensor]:
    """Distance and coverage (I,) of draws (I, K, C, *grid) given posterior draws (I, n, C, *grid).

    ``posterior_w2`` is the sliced 2-Wasserstein distance of whole states in units of each field's std: K exact draws
    have a distance too, which the control of posterior draws shows. ``posterior_coverage`` is the share of posterior
    draws inside the central interval of the method's, over the entries ``unknown`` (I, C, P). NaN where either is
    not finite.
    """
    finite = torch.isfinite(fields).flatten(1).all(1) & torch.isfinite(exact).flatten(1).all(1)
    values = {"posterior_w2": torch.full((len(fields),), torch.nan, dtype=torch.float64)}
    for i in finite.nonzero().flatten().tolist():
        values["posterior_w2"][i] = _distance(fields[i], exact[i], field_std)
    if fields.shape[1] > 1:
        mine, theirs = (states.double().flatten(3) / field_std.double()[:, None] for states in (fields, exact))
        values |= _coverage(mine, theirs, unknown, finite)
    return values


def _distance(draws: Tensor, exact: Tensor, field_std: Tensor) -> Tensor:
    """Sliced W2 of draws (K, C, *grid) and (n, C, *grid); the directions are the same for all methods."""
    mine, theirs = unit_channels(draws, field_std), unit_channels(exact, field_std)
    directions = random_directions(mine[0].numel(), 0)
    return sliced_w2(ordered(project(mine, directions)), ordered(project(theirs, directions)))


def _coverage(draws: Tensor, exact: Tensor, unknown: Tensor, finite: Tensor) -> dict[str, Tensor]:
    """Mean over posterior draws (I, n, C, P) of their coverage by the method's (I, K, C, P), in std."""
    totals = {level: torch.zeros(draws.shape[0], dtype=torch.float64) for level in LEVELS}
    for truth in exact.unbind(1):
        for level, share in coverages(draws, truth, unknown, LEVELS).items():
            totals[level] += share
    return {
        f"posterior_{coverage_name(level)}": torch.where(finite, total / exact.shape[1], torch.nan)
        for level, total in totals.items()
    }
