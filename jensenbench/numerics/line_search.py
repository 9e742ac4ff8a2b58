"""Strong-Wolfe line search as a generator: yields trial steps, receives loss, slope and gradient."""

from collections.abc import Generator
from math import isfinite, sqrt
from typing import NamedTuple

from torch import Tensor

DECREASE, FLATNESS = 1e-4, 0.9  # c1 and c2 of the conditions, as usual for quasi-Newton directions
SMALLEST = 1e-9  # largest entry of the step below which an interval is not divided any further
MARGIN = 0.1  # share of an interval at each end; a second trial in succession there is moved inwards


class Trial(NamedTuple):
    """Loss, slope along the line and gradient at the step length ``t``."""

    t: float
    loss: float
    slope: float
    gradient: Tensor


Search = Generator[float, Trial, Trial]


def strong_wolfe(origin: Trial, first: float, reach: float, trials: int) -> Search:
    """Search one line: yields step lengths, is sent their trials, and returns the accepted trial.

    Bracketing and zoom of Nocedal & Wright, Numerical Optimization (2006), algorithms 3.5 and 3.6, with cubic
    interpolation; the safeguards are those of minFunc, which torch.optim.LBFGS has too. Losses that are not finite
    count as too high.

    Args:
        origin: the trial at t = 0, with a negative slope.
        first: the first step length to try.
        reach: largest entry of the search direction.
        trials: evaluations at most, after the first.
    """
    before, trial = origin, (yield first)
    for count in range(trials):
        if _too_high(trial, origin) or (count > 1 and trial.loss >= before.loss):
            return (yield from _zoom(origin, before, trial, reach, trials - count))
        if _flat(trial, origin):
            return trial
        if trial.slope >= 0:
            return (yield from _zoom(origin, before, trial, reach, trials - count))
        nearest, farthest = trial.t + 0.01 * (trial.t - before.t), 10 * trial.t
        before, trial = trial, (yield _cubic_minimum(before, trial, nearest, farthest))
    return min(origin, trial, key=lambda point: point.loss)


def _zoom(origin: Trial, one: Trial, other: Trial, reach: float, trials: int) -> Search:
    """Narrow an interval that holds an acceptable step; returns the end of lower loss when trials or room run out."""
    low, high = (other, one) if other.loss < one.loss else (one, other)
    near_end = False
    for _ in range(trials):
        left, right = sorted((low.t, high.t))
        if (right - left) * reach < SMALLEST:
            break
        t, near_end = _inside(_cubic_minimum(low, high, left, right), left, right, near_end)
        trial = yield t
        if _too_high(trial, origin) or trial.loss >= low.loss:
            low, high = (trial, low) if trial.loss < low.loss else (low, trial)
        elif _flat(trial, origin):
            return trial
        else:
            low, high = trial, (low if trial.slope * (high.t - low.t) >= 0 else high)
    return low


def _inside(t: float, left: float, right: float, near_end: bool) -> tuple[float, bool]:
    """The step to try, and whether it lies near an end; two such steps in succession would make no progress."""
    margin = MARGIN * (right - left)
    if min(right - t, t - left) >= margin:
        return t, False
    if near_end or not left < t < right:
        return (right - margin if right - t < t - left else left + margin), False
    return t, True


def _cubic_minimum(one: Trial, other: Trial, low: float, high: float) -> float:
    """Minimiser in [low, high] of the cubic with the losses and slopes of two trials; the middle if it has none."""
    if isfinite(one.loss) and isfinite(other.loss):
        left, right = sorted((one, other), key=lambda point: point.t)
        chord = left.slope + right.slope - 3 * (right.loss - left.loss) / (right.t - left.t)
        discriminant = chord**2 - left.slope * right.slope
        if discriminant >= 0:
            root = sqrt(discriminant)
            bend = right.slope - left.slope + 2 * root
            if bend:
                t = right.t - (right.t - left.t) * (right.slope + root - chord) / bend
                return min(max(t, low), high)
    return (low + high) / 2


def _too_high(trial: Trial, origin: Trial) -> bool:
    """Whether the loss violates the condition of sufficient decrease (Armijo), NaN included."""
    return not trial.loss <= origin.loss + DECREASE * trial.t * origin.slope


def _flat(trial: Trial, origin: Trial) -> bool:
    """Whether the slope meets the strong curvature condition."""
    return abs(trial.slope) <= -FLATNESS * origin.slope
