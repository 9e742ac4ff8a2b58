"""Which reading of a file the equation confirms: orientation, order of the arrays, scale of the source."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from jensenbench.core.pde import PDE, sum_terms
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UserError

SAME = 2e-3  # relative; spacings 1/n and 1/(n-1) differ by more up to n = 1000
SOURCE_MARGIN = 0.25  # relative; other schemes and sub-sampling move the source that fits, another source more
POINTS = 2**21  # of the states that are looked at


@dataclass(frozen=True)
class Reading:
    """One way to make states of a file's arrays.

    Attributes:
        states: (N, C, *grid).
        residual: rms of the own interior residual over the equation's largest term, of the first states.
        factor: what the term ``source`` must be multiplied by for the least residual, None where there is none.
        unexplained: rms of that least residual over the rms of the other terms.
    """

    name: str
    states: Tensor
    residual: float
    factor: float | None
    unexplained: float

    def describe(self) -> str:
        source = "" if self.factor is None else f", source that fits {self.factor:.4g} x the stored one"
        return f"{self.name}: residual {self.residual:.3g} x the largest term{source}"


def first_states(states: Tensor, most: int = 256) -> Tensor:
    """The first states, fewer of them where they are large."""
    return states[: max(2, min(most, POINTS // states[0].numel()))]


def choose(
    file: Path, pde: PDE, readings: Mapping[str, Tensor], *, most: float, looked_at: int = 256
) -> tuple[Tensor, tuple[str, ...]]:
    """The states of the reading with the smallest residual, and what was found.

    Args:
        readings: states (N, C, *grid) by name, the format's own reading first.
        most: largest residual that data of this format leave.
        looked_at: states that the residual is taken of.

    Raises:
        UserError: no reading solves the equation; the message tells the nearest one and what would make it fit.
    """
    found = [_read(pde, name, states, looked_at) for name, states in readings.items()]
    best = min(found, key=lambda reading: reading.residual)
    wrong_source = best.factor is not None and abs(best.factor - 1) > SOURCE_MARGIN
    if wrong_source or not best.residual <= most:
        nearest = min(found, key=lambda reading: reading.unexplained)
        raise UserError(
            f"{file}: its states do not solve {pde.name}; {nearest.describe()}, at most {most:g} expected; "
            f"{_remedy(pde, nearest)}"
        )
    note = "" if best is found[0] else " (against the format)"
    return best.states, (
        *(f"{f'chosen{note}' if reading is best else 'refused'}: {reading.describe()}" for reading in found),
        outliers(pde, best.states[:looked_at] if looked_at < 256 else best.states),
    )


def outliers(pde: PDE, states: Tensor) -> str:
    """How many states stand out: over the PDE's own floor, and over ten times the median of all."""
    parts = states.split(max(1, POINTS // states[0].numel()))
    rms = torch.cat([pde.residual(part)["interior"].flatten(1).square().mean(1).sqrt() for part in parts])
    above = int((rms > pde.floor * term_scale(pde, first_states(states))).sum())
    far = int((rms > 10 * rms.median()).sum())
    return f"{above} of {len(states)} states exceed the floor of own data, {far} ten times the median residual"


def _read(pde: PDE, name: str, states: Tensor, looked_at: int) -> Reading:
    some = first_states(states, looked_at)
    terms = pde.terms(some)
    scale = max(_rms(term) for term in terms.values()) or 1.0
    residual = _rms(sum_terms(terms)) / scale
    source = terms.pop("source", None)
    if source is None or not source.any():
        return Reading(name, states, residual, None, residual)
    others = sum_terms(terms)
    factor = -float((others * source).sum() / source.square().sum())
    return Reading(name, states, residual, factor, _rms(others + factor * source) / (_rms(others) or 1.0))


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _remedy(pde: PDE, reading: Reading) -> str:
    """What would make the nearest reading solve the equation."""
    if reading.factor is None or reading.unexplained > SOURCE_MARGIN:
        return "check --pde, the order of the axes, and the settings against the file's"
    n = pde.config.n
    if abs(reading.factor * (n / (n - 1)) ** 2 - 1) < SAME:
        return f"spacing 1/{n} would fit: values at cell centres; interpolate them to nodes"
    if abs(reading.factor + 1) < SAME:
        return "the source with the other sign would fit; change its sign"
    return "rescale the source or the solution if the file is normalised, or check --pde"
