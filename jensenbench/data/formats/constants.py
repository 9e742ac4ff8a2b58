"""Constants of an equation that a file does not tell, found by least squares where its residual is linear in them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from jensenbench.core.pde import sum_terms
from jensenbench.data.formats.interpretations import first_states
from jensenbench.data.formats.rounding import shortest_decimal
from jensenbench.plugins.registry import make_pde

CLEAR = 0.05  # largest relative uncertainty of a constant that states tell


@dataclass(frozen=True)
class Constant:
    """A fitted setting of a PDE.

    Attributes:
        value: that minimises the residual; NaN where no real one does.
        uncertainty: rms of the smallest residual over the rms of the terms that the setting scales.
    """

    name: str
    value: float
    uncertainty: float

    @property
    def rounded(self) -> float:
        """The value as a setting, of as few digits as its uncertainty allows."""
        return shortest_decimal(self.value, self.uncertainty)

    @property
    def clear(self) -> bool:
        """Whether the states tell it, positive as all constants that files leave open."""
        return self.value > 0 and self.uncertainty <= CLEAR

    def describe(self) -> str:
        """For instance ``nu = 0.01 by least squares, to 2 %``."""
        return f"{self.name} = {self.rounded:g} by least squares, to {100 * self.uncertainty:.2g} %"


def best_constants(pde: str, settings: Mapping[str, Any], interpretations: Iterable[Tensor]) -> tuple[Constant, ...]:
    """Constants by :func:`fit_constants` of the interpretation of a file as states that tells them best."""
    fits = [fit_constants(pde, settings, states) for states in interpretations]
    return min(fits, key=lambda found: max((fit.uncertainty for fit in found if fit.value > 0), default=inf))


def fit_constants(pde: str, settings: Mapping[str, Any], states: Tensor) -> tuple[Constant, ...]:
    """Least-squares values of the ``linear_settings`` of the PDE that are not given, from states (N, C, *grid).

    The interior residual is R0 + Σ s_i R_i, where s_i is the declared power of setting i: one evaluation with all
    s = 1 and one more a setting give its parts.
    """
    declared = make_pde(pde, settings).linear_settings
    powers = {name: power for name, power in declared.items() if name not in settings}
    some = first_states(states)

    def residual(**scaled: float) -> Tensor:
        values = {name: scaled.get(name, 1.0) ** (1 / power) for name, power in powers.items()}
        return sum_terms(make_pde(pde, {**settings, **values}).terms(some)).flatten()

    if not powers:
        return ()
    ones = residual()
    parts = torch.stack([residual(**{name: 2.0}) - ones for name in powers], 1)
    rest = ones - parts.sum(1)
    found = torch.linalg.lstsq(parts, -rest[:, None]).solution[:, 0]
    left = (rest + parts @ found).norm() / (found.abs() * parts.norm(dim=0))
    return tuple(
        Constant(name, value if power == 1 else max(value, 0.0) ** (1 / power) or float("nan"), uncertainty)
        for (name, power), value, uncertainty in zip(powers.items(), found.tolist(), left.tolist(), strict=True)
    )
