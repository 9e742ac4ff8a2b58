"""Estimates of the Jensen gap per noisy state, their means, standard errors and 95 % intervals."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from scipy.special import stdtrit
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.priors.empirical import FEWEST_STATES

LEAST_DRAWS = 4  # two halves, each with a variance
SQUARES = ("gap", "denoised", "posterior", "network")  # mean squares of GapEstimate
Row = dict[str, Any]  # of a table of the Jensen gap, by column


@dataclass(frozen=True)
class GapEstimate:
    """Values at n noisy states, each (n,); squares are means over interior points. NaN: not known to the estimator.

    Attributes:
        gap: |E[R(x0)|x_t] - R(E[x0|x_t])|², unbiased, hence sometimes negative where it is small.
        denoised: |R(E[x0|x_t])|².
        posterior: E[|R(x0)|² | x_t], the residual of posterior samples, which have no gap.
        loss_gap: E[|R(x0)|² | x_t] - |R(E[x0|x_t])|², signed.
        network: |R(D(x_t)) - R(E[x0|x_t])|² of a trained prior D: the part of its residual that is not the gap.
        ess: effective number of states or draws behind the posterior; infinite for closed forms.
    """

    gap: Tensor
    denoised: Tensor
    posterior: Tensor
    loss_gap: Tensor
    network: Tensor
    ess: Tensor


def square(residual: Tensor) -> Tensor:
    """Mean square (n,) over points of residuals (n, m)."""
    return residual.square().mean(1)


def product(first: Tensor, second: Tensor) -> Tensor:
    """Mean product (n,) over points; of two independent estimates of a vector: its mean square without bias."""
    return (first * second).mean(1)


def unknown(like: Tensor) -> Tensor:
    """NaN (n,) for values that an estimator does not know."""
    return torch.full((len(like),), math.nan, dtype=torch.float64)


def split_in_halves(values: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent halves along axis 1 of draws (n, K, ...); K even and at least four."""
    count = values.shape[1]
    if count < LEAST_DRAWS or count % 2:
        raise UserError(
            f"{count} draws or probes per state: an unbiased estimate takes two equal halves; use an even "
            f"number, {LEAST_DRAWS} or more"
        )
    return values[:, : count // 2], values[:, count // 2 :]


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean over the states and its standard error; NaN for both where all are unknown."""
    if len(values) < 2:
        raise UserError(f"{len(values)} noisy state(s): a standard error takes two or more")
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


def student_95(count: int) -> float:
    """Half width of a 95 % interval of a mean of ``count`` values, in standard errors."""
    return float(stdtrit(count - 1, 0.975))


def summary(found: GapEstimate) -> Row:
    """Row of a table: roots of the mean squares with 95 % intervals, the signed loss gap, and whether it is usable.

    ``<name>_error`` is the standard error of the mean *square*; an interval's end below zero is shown as 0.
    """
    row: Row = {}
    for name in SQUARES:
        mean, error = mean_and_error(getattr(found, name))
        width = student_95(len(found.gap)) * error
        ends = {"": mean, "_low": mean - width, "_high": mean + width}
        row |= {f"{name}{end}": max(value, 0.0) ** 0.5 if value == value else value for end, value in ends.items()}
        row[f"{name}_error"] = error
    row["loss_gap"], row["loss_gap_error"] = mean_and_error(found.loss_gap)
    row["ess"] = float(found.ess.median())
    row["usable"] = row["ess"] >= FEWEST_STATES
    return row | {"states": len(found.gap)}


def require_level(sigma: float, lowest: float, highest: float) -> None:
    """Raise UserError for a noise level outside the prior's range [lowest, highest]."""
    if not (0 < sigma < math.inf and lowest <= sigma <= highest):
        raise UserError(
            f"sigma = {sigma:g} lies outside the prior's levels [{lowest:g}, {highest:g}]; choose one inside"
        )
