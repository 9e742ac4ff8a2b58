"""Levels and sample sizes with which the Jensen gap is estimated: the block ``jensen`` of a tier."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, MultipleOf

from jensenbench.core.annotations import Count, Natural, Positive
from jensenbench.core.settings import check_settings
from jensenbench.errors import UserError

Several = Annotated[int, Ge(2)]  # a curve and its standard errors take two or more
EvenNumber = Annotated[int, Ge(4), MultipleOf(2)]


@dataclass(frozen=True, kw_only=True)
class JensenSettings:
    """Noise levels and sample sizes of the estimators.

    Attributes:
        levels: noise levels, evenly spaced in the logarithm, in prior coordinates.
        lowest, highest: first and last of them.
        law_states: N of the empirical distribution, beside which those of N/2 and N/4 stand.
        states: noisy states at each level.
        probes: random directions per state of the Tweedie-Hutchinson estimator.
        directions: fixed directions before them, along which the distribution is widest.
        probed_states: states of that estimator.
        draws: posterior draws per state of the Monte Carlo estimator.
        drawn_states: states of that estimator.
        every: it takes every so many-th level.
        steps: ancestral steps of a draw.
        visits: states on which every method is traced, to measure the gap where it calls the prior; 0: none.
        visit_calls: network evaluations per state, beyond which a method is not traced.
        seed: of the noise.
    """

    levels: Several = 12
    lowest: Positive = 0.05
    highest: Positive = 50.0
    law_states: Annotated[int, Ge(16)] = 8000
    states: Several = 48
    probes: EvenNumber = 8
    directions: Count = 48
    probed_states: Several = 12
    draws: EvenNumber = 16
    drawn_states: Several = 8
    every: Count = 4
    steps: Count = 20
    visits: Natural = 4
    visit_calls: Count = 400
    seed: Natural = 0

    def __post_init__(self) -> None:
        check_settings(self, "jensen:")
        if not self.lowest < self.highest:
            raise UserError(f"jensen: lowest = {self.lowest} must lie below highest = {self.highest}")
        if self.visits == 1:
            raise UserError(f"jensen: visits = {self.visits}; intervals take two states or more, 0 traces no method")

    def sigmas(self) -> list[float]:
        """Noise levels, lowest first."""
        ratio = (self.highest / self.lowest) ** (1 / (self.levels - 1))
        return [float(f"{self.lowest * ratio**i:.4g}") for i in range(self.levels)]
