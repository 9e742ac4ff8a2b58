"""Choice among interpretations of a data file (orientation, order of arrays, scale of the source) by the residual."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from jensenbench.core.pde import PDE, sum_terms
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UserError

SAME = 2e-3  # relative; spacings 1/n and 1/(n-1) differ by more up to n = 1000
SOURCE_MARGIN = 0.25  # relative; other schemes and sub-sampling change the fitted source less, a wrong source more
POINTS = 2**21  # largest number of points of the states that are inspected


@dataclass(frozen=True)
class Interpretation:
    """One interpretation of the arrays of a file as states.

    Attributes:
        states: (N, C, *grid).
        residual: rms of the own interior residual over the equation's largest term, of the first states.
        factor: factor of the term ``source`` that minimises the residual, None where there is no such term.
        unexplained: rms of that smallest residual over the rms of the other terms.
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
    file: Path, pde: PDE, interpretations: Mapping[str, Tensor], *, most: float, inspected: int = 256
) -> tuple[Tensor, tuple[str, ...]]:
    """The states of the interpretation with the smallest residual, and lines that say what was found.

    Args:
        interpretations: states (N, C, *grid) by name, that of the format first.
        most: largest residual that data of this format have, over the largest term.
        inspected: number of states whose residual is taken.

    Raises:
        UserError: no interpretation solves the equation; the message names the nearest one and the remedy.
    """
    found = [_interpret(pde, name, states, inspected) for name, states in interpretations.items()]
    best = min(found, key=lambda interpretation: interpretation.residual)
    wrong_source = best.factor is not None and abs(best.factor - 1) > SOURCE_MARGIN
    if wrong_source or not best.residual <= most:
        nearest = min(found, key=lambda interpretation: interpretation.unexplained)
        raise UserError(
            f"{file}: its states do not solve {pde.name}; {nearest.describe()}, at most {most:g} expected; "
            f"{_remedy(pde, nearest)}"
        )
    note = "" if best is found[0] else " (against the format)"
    return best.states, (
        *(
            f"{f'chosen{note}' if interpretation is best else 'refused'}: {interpretation.describe()}"
            for interpretation in found
        ),
        outliers(pde, best.states[:inspected] if inspected < 256 else best.states),
    )


def outliers(pde: PDE, states: Tensor) -> str:
    """Line that counts states with a residual above the PDE's floor, and above ten times the median."""
    parts = states.split(max(1, POINTS // states[0].numel()))
    rms = torch.cat([pde.residual(part)["interior"].flatten(1).square().mean(1).sqrt() for part in parts])
    above = int((rms > pde.floor * term_scale(pde, first_states(states))).sum())
    far = int((rms > 10 * rms.median()).sum())
    return f"{above} of {len(states)} states exceed the floor of generated data, {far} ten times the median residual"


def _interpret(pde: PDE, name: str, states: Tensor, inspected: int) -> Interpretation:
    some = first_states(states, inspected)
    terms = pde.terms(some)
    scale = max(_rms(term) for term in terms.values()) or 1.0
    residual = _rms(sum_terms(terms)) / scale
    source = terms.pop("source", None)
    if source is None or not source.any():
        return Interpretation(name, states, residual, None, residual)
    others = sum_terms(terms)
    factor = -float((others * source).sum() / source.square().sum())
    return Interpretation(name, states, residual, factor, _rms(others + factor * source) / (_rms(others) or 1.0))


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _remedy(pde: PDE, interpretation: Interpretation) -> str:
    """What would make the nearest interpretation solve the equation."""
    if interpretation.factor is None or interpretation.unexplained > SOURCE_MARGIN:
        return "check --pde, the order of the axes, and the settings against the file's"
    n = pde.config.n
    if abs(interpretation.factor * (n / (n - 1)) ** 2 - 1) < SAME:
        return f"spacing 1/{n} would fit: values at cell centres; interpolate them to nodes"
    if abs(interpretation.factor + 1) < SAME:
        return "the source with the other sign would fit; change its sign"
    return "rescale the source or the solution if the file is normalised, or check --pde"
