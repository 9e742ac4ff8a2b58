"""Intervals and ties: means on a metric's own scale, over instances and training seeds.

Values are (S, N): S training seeds crossed with N instances. With fewer than three seeds nothing is
known about how seeds vary: the interval is over instances and *conditional* on the trained priors. With three and more
the effect of a seed may differ by method; S - 1 degrees of freedom hold whatever share it has.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from jensenbench.evaluation.metrics import Metric

Array = NDArray[np.float64]
TINY = 1e-12  # added before logarithms, so that an exact zero has one
LARGEST = 700.0  # logarithms beyond overflow
MIN_SEEDS = 3
RESAMPLES = 1999  # of the studentised bootstrap
LEAST_RESAMPLED = 5  # instances


@dataclass(frozen=True)
class Scale:
    """The scale on which a metric is averaged, and the way back; logarithms are log(1 + value/floor).

    Attributes:
        floor: the data's own residual, for ``log_floor``; other logarithms have the floor ``TINY``.
        count: pixels n of a rate k/n, for ``log_count``.
    """

    metric: Metric
    floor: float = 0.0
    count: float = 1.0

    def forward(self, values: Array) -> Array:
        match self.metric.transform:
            case "identity":
                return np.asarray(values, dtype=float)
            case "log_count":
                return np.log((np.asarray(values) * self.count + 0.5) / (self.count + 1))
        return np.log1p(np.asarray(values, dtype=float) / self._shift)

    def back(self, y: float) -> float:
        match self.metric.transform:
            case "identity":
                return y
            case "log_count":
                return max(0.0, (math.exp(y) * (self.count + 1) - 0.5) / self.count)
        return self._shift * math.expm1(y) if y < LARGEST else math.inf

    def cost(self, y: Array) -> Array:
        """Transformed values turned so that less is better; distances from a target where there is one."""
        if self.metric.target is not None:
            return np.abs(y - self.forward(np.array(self.metric.target)))
        return -y if self.metric.direction == "higher" else y

    @property
    def _shift(self) -> float:
        return TINY + (self.floor if self.metric.transform == "log_floor" else 0.0)


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error and degrees of freedom; ``conditional`` on the trained priors or not.

    ``studentised``: resampled (mean* - mean)/error* of skewed values, whose quantiles replace Student's.
    """

    mean: float
    error: float
    df: float
    seeds: int
    instances: int
    conditional: bool
    studentised: Array | None = None

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Student's t interval or the studentised bootstrap's; NaN where one value tells nothing of the spread."""
        if self.studentised is not None:
            ends = np.quantile(self.studentised, [(1 + level) / 2, (1 - level) / 2])
            return self.mean - self.error * float(ends[0]), self.mean - self.error * float(ends[1])
        half = self.error * float(stdtrit(self.df, (1 + level) / 2)) if self.df > 0 else math.nan
        return self.mean - half, self.mean + half

    def p_value(self) -> float:
        """Two-sided p value of mean = 0; 1 where nothing can be said."""
        if not self.df > 0 or math.isnan(self.error):
            return 1.0
        if self.error == 0:
            return float(self.mean == 0)
        return float(2 * stdtr(self.df, -abs(self.mean) / self.error))


def estimate(values: Array) -> Estimate:
    """Mean of transformed values (S, N) with the error that fits S.

    Instances that lack a seed are left out. Three seeds or more: two-way random effects with S - 1 degrees of freedom,
    otherwise Student's t over the instances.
    """
    values = _complete(values)
    seeds, instances = values.shape
    if not instances:
        return Estimate(math.nan, math.nan, 0, seeds, 0, seeds < MIN_SEEDS)
    if seeds < MIN_SEEDS:
        return _one_way(values.mean(0), seeds, instances, conditional=True)
    if instances == 1:
        return _one_way(values[:, 0], seeds, 1, conditional=False)
    return _two_way(values)


def _complete(values: Array) -> Array:
    """(S, N) values without the instances that lack a seed."""
    values = np.atleast_2d(np.asarray(values, dtype=float))
    return values[:, np.isfinite(values).all(0)]


def _one_way(values: Array, seeds: int, instances: int, *, conditional: bool) -> Estimate:
    n = len(values)
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(float(values.mean()), error, n - 1, seeds, instances, conditional)


def estimate_skewed(values: Array) -> Estimate:
    """:func:`estimate` of values (S, N) that no transform makes symmetric: a studentised bootstrap over the instances.

    It corrects Student's interval for skewness (`efron1993bootstrap`, section 12.5); the resamples are the same at
    every call. Three seeds or more: Student's, which S - 1 degrees of freedom make wide.
    """
    found = estimate(values)
    if not found.conditional or found.instances < LEAST_RESAMPLED or not found.error > 0:
        return found
    means = _complete(values).mean(0)
    picks = np.random.default_rng(0).integers(0, len(means), (RESAMPLES, len(means)))
    resampled = means[picks]
    errors = resampled.std(1, ddof=1) / math.sqrt(len(means))
    varied = errors > 1e-9 * found.error
    return replace(found, studentised=(resampled.mean(1)[varied] - found.mean) / errors[varied])


def _two_way(values: Array) -> Estimate:
    """Crossed random effects: v = max(MS_a + MS_b − MS_e, MS_e)/(S N), with S − 1 degrees of freedom."""
    seeds, instances = values.shape
    mean, rows, columns = values.mean(), values.mean(1), values.mean(0)
    of_seeds = instances * rows.var(ddof=1)
    of_instances = seeds * columns.var(ddof=1)
    rest = float(np.square(values - rows[:, None] - columns + mean).sum()) / ((seeds - 1) * (instances - 1))
    error = math.sqrt(max(of_seeds + of_instances - rest, rest) / (seeds * instances))
    return Estimate(float(mean), error, min(seeds, instances) - 1, seeds, instances, conditional=False)


def from_replicates(values: Array, replicates: Array | None) -> Estimate:
    """Estimate of a set metric: (S,) values, and for one or two seeds the (S, B) resampled ones."""
    values = np.atleast_1d(np.asarray(values, dtype=float))
    if len(values) >= MIN_SEEDS or replicates is None:
        return estimate(values[:, None])
    means = np.atleast_2d(replicates).mean(0)
    return Estimate(float(values.mean()), float(means.std(ddof=1)), math.inf, len(values), 1, conditional=True)


def holm(p_values: Sequence[float]) -> Array:
    """Adjusted p values that control the family-wise error (Holm, Scand. J. Stat. 1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


@dataclass(frozen=True)
class Separation:
    """Which names a Holm test over all pairs separates.

    Attributes:
        means: by name, less is better; names with a missing value are out.
        p_values: adjusted, by pair of names.
    """

    means: Mapping[str, float]
    p_values: Mapping[tuple[str, str], float]
    level: float = 0.05

    @property
    def best(self) -> set[str]:
        """Names not separated from the one with the least mean."""
        if not self.means:
            return set()
        first = min(self.means, key=lambda name: self.means[name])
        return {name for name in self.means if not self._separated(first, name)}

    @property
    def ranks(self) -> dict[str, tuple[int, int]]:
        """Range of ranks of each name: 1 + the number of names separated below it, to all but those above it."""
        return {name: self._range(name) for name in self.means}

    def _range(self, name: str) -> tuple[int, int]:
        others = [other for other in self.means if self._separated(name, other)]
        below = sum(self.means[other] < self.means[name] for other in others)
        return 1 + below, len(self.means) - (len(others) - below)

    def _separated(self, one: str, other: str) -> bool:
        p = self.p_values.get((one, other), self.p_values.get((other, one), 1.0))
        return p < self.level


def separate(values: Mapping[str, Array]) -> Separation:
    """Holm's test over all pairs of paired differences.

    ``values``: (S, N) transformed values by name, less is better, same instances and seeds for all.
    """
    complete = {name: np.atleast_2d(v) for name, v in values.items() if np.size(v) and np.isfinite(v).all()}
    means = {name: float(v.mean()) for name, v in complete.items()}
    p = {pair: estimate(complete[pair[0]] - complete[pair[1]]).p_value() for pair in combinations(complete, 2)}
    return _adjusted(means, p)


def separate_sets(values: Mapping[str, Array], replicates: Mapping[str, Array]) -> Separation:
    """:func:`separate` for set metrics: (S,) values and (S, B) resampled ones, the resampling shared by all names."""
    complete = {name: np.atleast_1d(v) for name, v in values.items() if np.size(v) and np.isfinite(v).all()}
    means = {name: float(v.mean()) for name, v in complete.items()}
    p = {}
    for a, b in combinations(complete, 2):
        resampled = replicates[a] - replicates[b] if a in replicates and b in replicates else None
        p[a, b] = from_replicates(complete[a] - complete[b], resampled).p_value()
    return _adjusted(means, p)


def _adjusted(means: Mapping[str, float], p: Mapping[tuple[str, str], float]) -> Separation:
    return Separation(means, dict(zip(p, holm(list(p.values())), strict=True)))
