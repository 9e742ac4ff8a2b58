"""Draws against the truth and against the exact posterior, float64.

Public entries take fields (I, K, C, *grid): instances, draws, channels. The formulas below them work
on flattened grids, (..., C, P).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import PDE, Field
from jensenbench.evaluation.metrics import PERCENT

CALIBRATION_DRAWS = 4  # fewer draws say nothing about a spread
TABLED = (0.5, 0.9)  # levels of the central intervals that tables show
LEVELS = tuple(percent / 100 for percent in PERCENT)  # and of a curve: about as many as eight draws tell apart
CERTAIN = 1e-6  # in units of a field's std: an entry with a smaller spread is known, smaller differences are rounding


@dataclass(frozen=True)
class Observed:
    """Stored data and truth (I, C, *grid) of all instances of one task.

    ``resamples`` (I, M, C, *grid) are states with the truth's coefficient and other latent parameters, where the task
    tells the former and not the latter.
    """

    observation: MaskObservation
    truth: Tensor
    resamples: Tensor | None = None

    @property
    def unknown(self) -> Tensor:
        """(I, C, P) bool: entries that were not observed."""
        return ~self.observation.mask.bool().flatten(2)


@dataclass(frozen=True)
class Optimum:
    """Posterior of one task, physical units; NaN for an instance without one, which ``note`` names.

    Attributes:
        mean, std: (I, C, *grid).
        draws: (I, n, C, *grid).
    """

    mean: Tensor
    std: Tensor
    draws: Tensor
    note: str = ""

    def uncertain(self, observed: Observed, field_std: Tensor) -> Tensor:
        """(I, C, P) bool: the entries that neither data nor equation determine."""
        return observed.unknown & (self.std.flatten(2) > CERTAIN * field_std.double()[:, None])


def accuracy(
    pde: PDE, fields: Tensor, observed: Observed, field_std: Tensor, levels: Sequence[float] = TABLED
) -> dict[str, Tensor]:
    """All metrics of fields (I, K, C, *grid) against the truth; coverage at ``levels``."""
    draws, truth, std = fields.flatten(3), observed.truth.flatten(2), field_std.double()[:, None]
    values = {
        **by_field(pde, "rel_l2", relative_error(draws, truth[:, None])),
        **by_field(pde, "rel_l2_mean", relative_error(draws.mean(1), truth)),
        **error_rates(pde, draws, truth),
        **crps_metrics(pde, draws / std, truth / std, observed.unknown),
        "data_misfit": data_misfit(draws, observed.observation, std),
    }
    if draws.shape[1] >= CALIBRATION_DRAWS:
        values |= calibration(draws / std, truth / std, observed.unknown, levels)
    return values


def by_field(pde: PDE, name: str, values: Tensor) -> dict[str, Tensor]:
    """Split (..., C) values into one entry a field."""
    return {f"{name}/{field.name}": values[..., channel] for channel, field in enumerate(pde.fields)}


def relative_error(fields: Tensor, truth: Tensor) -> Tensor:
    """‖û − u‖₂/‖u‖₂ of each channel, (..., C, P) to (..., C)."""
    return torch.linalg.vector_norm(fields - truth, dim=-1) / torch.linalg.vector_norm(truth, dim=-1)


def error_rates(pde: PDE, draws: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Share of wrong pixels of each two-valued field: of the draws (I, K, C, P), and of their mean."""
    values = {}
    for channel, field in enumerate(pde.fields):
        if field.levels:
            middle = threshold(field)
            of_draws = wrong_share(draws[:, :, channel], truth[:, None, channel], middle)
            of_mean = wrong_share(draws[:, :, channel].mean(1), truth[:, channel], middle)
            values |= {f"error_rate/{field.name}": of_draws, f"error_rate_mean/{field.name}": of_mean}
            values[f"points/{field.name}"] = torch.tensor(float(pde.n_points))
    return values


def threshold(field: Field) -> float:
    """Middle of the levels of a two-valued field."""
    return (min(field.levels) + max(field.levels)) / 2


def wrong_share(field: Tensor, truth: Tensor, middle: float) -> Tensor:
    """Share over the last axis of entries on the wrong side of ``middle``; NaN where the field is not finite."""
    share = ((field >= middle) != (truth >= middle)).double().mean(-1)
    return torch.where(torch.isfinite(field).all(-1), share, torch.nan)


def crps(draws: Tensor, truth: Tensor) -> Tensor:
    """Fair CRPS of K draws (I, K, ...) at every entry of ``truth`` (I, ...).

    mean|xᵢ − y| − Σᵢⱼ|xᵢ − xⱼ|/(2K(K−1)), unbiased for the distribution of the draws (Ferro, Q. J. R. Meteorol.
    Soc. 2014); the absolute error of a single draw.
    """
    count = draws.shape[1]
    skill = (draws - truth[:, None]).abs().mean(1)
    if count == 1:
        return skill
    rank = torch.arange(1, count + 1, dtype=draws.dtype)
    weights = (2 * rank - count - 1).reshape(-1, *[1] * (draws.ndim - 2))
    return skill - (draws.sort(1).values * weights).sum(1) / (count * (count - 1))


def crps_metrics(pde: PDE, draws: Tensor, truth: Tensor, unknown: Tensor) -> dict[str, Tensor]:
    """Mean CRPS over unknown entries of fields in units of their std: per field, and over all of them."""
    values = crps(draws, truth)
    overall = masked_mean(values.flatten(1), unknown.flatten(1))
    return {**by_field(pde, "crps", masked_mean(values, unknown)), "crps": overall}


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last axis where ``mask``; NaN where nothing is left."""
    return torch.where(mask, values, 0.0).sum(-1) / mask.sum(-1)


def data_misfit(draws: Tensor, observation: MaskObservation, std: Tensor) -> Tensor:
    """rms over draws (I, K, C, P) and observed entries of û − values, in units of each field's std."""
    misfit = (draws - observation.values.flatten(2)[:, None]) / std
    return masked_mean(misfit.square().mean(1).flatten(1), observation.mask.bool().flatten(1)).sqrt()


def calibration(draws: Tensor, truth: Tensor, unknown: Tensor, levels: Sequence[float] = TABLED) -> dict[str, Tensor]:
    """Coverage of central intervals and the spread–skill ratio over unknown entries, one value per instance."""
    finite = torch.isfinite(draws).flatten(1).all(1)
    shares = coverages(draws, truth, unknown, levels)
    values = {coverage_name(level): torch.where(finite, share, torch.nan) for level, share in shares.items()}
    unknown, count = unknown.flatten(1), draws.shape[1]
    variance = masked_mean(draws.var(1).flatten(1), unknown)
    error = masked_mean((draws.mean(1) - truth).square().flatten(1), unknown)
    return {**values, "spread_skill": (variance * (count + 1) / count / error).sqrt()}


def coverage_name(level: float) -> str:
    """Metric of the coverage at a level."""
    return f"coverage_{round(100 * level)}"


def coverages(draws: Tensor, truth: Tensor, unknown: Tensor, levels: Sequence[float]) -> dict[float, Tensor]:
    """Share (I,) of unknown entries of the truth (I, C, P) inside the central intervals of draws (I, K, C, P).

    Both in units of each field's std.
    """
    low, high = rank_interval(draws, truth)
    mask = unknown.flatten(1)
    return {level: masked_mean(coverage(low, high, level).flatten(1), mask) for level in levels}


def rank_interval(draws: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Ends of the truth's probability bin among K draws: [r, r' + 1]/(K + 1), r to r' its tied ranks.

    Fields in units of their std; what differs by less than ``CERTAIN`` is tied, so that rounding decides nothing where
    the data determine an entry.
    """
    size = draws.shape[1] + 1
    below = (draws < truth[:, None] - CERTAIN).sum(1)
    not_above = (draws <= truth[:, None] + CERTAIN).sum(1)
    return below.double() / size, (not_above + 1).double() / size


def coverage(low: Tensor, high: Tensor, level: float) -> Tensor:
    """Share of each probability bin [low, high] inside the central interval of that level.

    Its mean is ``level`` for a truth exchangeable with the draws, whatever their number; intervals
    between sample quantiles cover less when there are few draws.
    """
    tail = (1 - level) / 2
    overlap = high.clamp(max=1 - tail) - low.clamp(min=tail)
    return overlap.clamp(min=0) / (high - low)


def least_coverage(count: int, level: float) -> float:
    """What truths outside all ``count`` draws score: their bin of 1/(count + 1) reaches into a wide interval."""
    return max(0.0, 1 - (1 - level) / 2 * (count + 1))


def oracle(pde: PDE, fields: Tensor, observed: Observed, optimum: Optimum, field_std: Tensor) -> dict[str, Tensor]:
    """Draws (I, K, C, *grid) against the exact posterior, where it leaves a field uncertain.

    ``posterior_mean_error`` of K exact draws is not zero: the control of exact draws shows its value.
    """
    draws, truth = fields.flatten(3), observed.truth.flatten(2)
    exact, std = optimum.mean.flatten(2), optimum.std.flatten(2)
    uncertain = optimum.uncertain(observed, field_std)
    blank = torch.where(uncertain.any(-1), 0.0, torch.nan)
    over = relative_error(draws.mean(1), truth) / relative_error(exact, truth)
    values = {
        **by_field(pde, "posterior_mean_error", relative_error(draws.mean(1), exact) + blank),
        **by_field(pde, "error_over_optimum", over + blank),
    }
    if draws.shape[1] > 1:
        ratio = masked_mean(draws.var(1), uncertain) / masked_mean(std.square(), uncertain)
        values |= by_field(pde, "posterior_std_ratio", ratio.sqrt())
    return values
