"""One quantity of two methods compared: ratio or difference, paired over states and seeds, with its interval."""

import math
from dataclasses import dataclass

import numpy as np

from jensenbench.evaluation.metrics import find_metric
from jensenbench.evaluation.statistics import Estimate, estimate, from_replicates
from jensenbench.reporting.style import format_value
from jensenbench.reporting.summary import FLOORED, Candidate, Group

Side = tuple[Candidate, str]  # a method and the full name of its metric, post-processing included


@dataclass(frozen=True)
class Contrast:
    """First over second where the metric is averaged in logarithms, else first minus second."""

    estimate: Estimate
    ratio: bool

    @property
    def reading(self) -> str:
        """What the 95 % interval says of the first: ``lower``, ``higher``, or ``not separated``."""
        low, high = self.estimate.interval()
        return "lower" if high < 0 else "higher" if low > 0 else "not separated"

    @property
    def separated(self) -> bool:
        """Whether the interval excludes equality."""
        return self.reading != "not separated"

    def text(self) -> str:
        """Value and interval; ratios carry a times sign."""
        ends = (self.estimate.mean, *self.estimate.interval())
        if not self.ratio:
            return format_value(*ends)
        return f"× {format_value(*(math.exp(min(end, 700.0)) for end in ends))}"


def contrast(group: Group, first: Side, second: Side) -> Contrast | None:
    """Compare two sides of one group; None where one has no complete values or nothing tells their spread."""
    (a, name), (b, other) = first, second
    values = [_forward(group, candidate, metric) for candidate, metric in (first, second)]
    if any(not v.size or not np.isfinite(v).all() for v in values) or values[0].shape != values[1].shape:
        return None
    ratio = group.scale(name).metric.transform != "identity"
    if find_metric(name).scope != "set":
        return Contrast(estimate(values[0] - values[1]), ratio)
    resampled = [group.replicates(a, name), group.replicates(b, other)]
    if any(replicates is None for replicates in resampled):
        return None
    scale = group.scale(name)
    difference = np.subtract(*(scale.forward(np.asarray(replicates)) for replicates in resampled))
    return Contrast(from_replicates(values[0] - values[1], difference), ratio)


def _forward(group: Group, candidate: Candidate, metric: str) -> np.ndarray:
    """Values on the metric's scale; residuals below what single precision can hold count as equal."""
    values = group.values(candidate, metric)
    if metric.split("@")[0] in FLOORED:
        values = np.maximum(values, group.dataset.floor_float32)
    return group.scale(metric).forward(values)
