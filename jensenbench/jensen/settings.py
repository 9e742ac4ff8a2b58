"""Settings of the Jensen-gap estimators: the block ``jensen`` of a tier."""

from dataclasses import dataclass, fields
from math import inf

from jensenbench.errors import UserError

LEAST_STATES = 16  # of an empirical prior, since its quarter has a curve too


@dataclass(frozen=True, kw_only=True)
class JensenSettings:
    """Noise levels and sample sizes of the estimators.

    Attributes:
        levels, lowest, highest: noise levels, evenly spaced in the logarithm, in prior coordinates.
        law_states: N of the empirical prior, beside which stand those of N/2 and N/4.
        states: noisy states at each level.
        probes, directions, probed_states: of the Tweedie-Hutchinson estimator: random directions per state, fixed ones
            besides (the widest of the data), and states.
        draws, drawn_states, every, steps: of the Monte Carlo posteriors: draws per state, states, the spacing of
            their levels, and ancestral steps.
        visits: states on which every method's trajectory is traced, for the gap where it calls the prior; 0: none.
        visit_calls: network evaluations per state, beyond which a method is not traced.
        seed: of the noise.
    """

    levels: int = 12
    lowest: float = 0.05
    highest: float = 50.0
    law_states: int = 8000
    states: int = 48
    probes: int = 8
    directions: int = 48
    probed_states: int = 12
    draws: int = 16
    drawn_states: int = 8
    every: int = 4
    steps: int = 20
    visits: int = 4
    visit_calls: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("seed", "visits") and not value > 0:
                raise UserError(f"jensen: {field.name} = {value} must be positive")
        if not self.lowest < self.highest < inf:
            raise UserError(f"jensen: lowest = {self.lowest} must lie below highest = {self.highest}")
        least = min(self.levels, self.states, self.probed_states, self.drawn_states)
        if least < 2:
            raise UserError(f"jensen: {least} levels or states; a curve and its standard errors take two or more")
        if self.visits < 2 and self.visits != 0:
            raise UserError(f"jensen: visits = {self.visits}; intervals take two states or more, 0 traces no method")
        if self.law_states < LEAST_STATES:
            raise UserError(
                f"jensen: law_states = {self.law_states}: a prior and its quarter take {LEAST_STATES} or more"
            )

    def sigmas(self) -> list[float]:
        """Noise levels, lowest first."""
        ratio = (self.highest / self.lowest) ** (1 / (self.levels - 1))
        return [float(f"{self.lowest * ratio**i:.4g}") for i in range(self.levels)]
