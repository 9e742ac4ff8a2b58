"""All metrics of one run: as returned, and after each service."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from jensenbench.dataset import Dataset
from jensenbench.evaluation.accuracy import Observed, Optimum, accuracy, oracle
from jensenbench.evaluation.distribution import distribution
from jensenbench.evaluation.metrics import suffixed
from jensenbench.evaluation.residuals import residual_metrics
from jensenbench.evaluation.services import moved, paste, solve
from jensenbench.evaluation.sets import Reference


@dataclass(frozen=True)
class Judge:
    """What all runs of one (pde, prior, seed) are measured against.

    Attributes:
        observed: data and truth by task label; tasks that are not here are unconditional.
        optimum: exact posterior by task label, on the oracle track.
    """

    dataset: Dataset
    reference: Reference
    observed: Mapping[str, Observed]
    optimum: Mapping[str, Optimum] = field(default_factory=dict)

    def score(self, fields: Tensor, task: str, *, services: bool = True) -> tuple[dict[str, Tensor], str]:
        """Metrics by name of fields (I, K, C, *grid) in any float dtype, and what the solver refused."""
        fields, observed = fields.double(), self.observed.get(task)
        values = self.measure(fields, observed)
        if observed is not None and task in self.optimum:
            values |= oracle(self.dataset.pde, fields, observed, self.optimum[task], self.dataset.field_std)
        if not services:
            return values, ""
        if observed is not None and observed.observation.noise_std == 0:
            values |= suffixed(self._after(fields, paste(fields, observed.observation), observed), "pasted")
        solved = solve(self.dataset.pde, fields)
        after = self._after(fields, solved.fields, observed)
        values |= suffixed({**after, "refused": torch.tensor(float(solved.refused))}, "solved")
        return values, solved.reason

    def measure(self, fields: Tensor, observed: Observed | None) -> dict[str, Tensor]:
        """Residuals, and accuracy against the truth or, where nothing is observed, the distribution."""
        pde, std = self.dataset.pde, self.dataset.field_std
        values = residual_metrics(pde, fields, self.dataset.term_scale)
        if observed is not None:
            return values | accuracy(pde, fields, observed, std)
        states = fields.flatten(0, 1)
        sound = torch.isfinite(states).flatten(1).all(1)
        return values | distribution(pde, states[sound], self.reference)

    def _after(self, before: Tensor, after: Tensor, observed: Observed | None) -> dict[str, Tensor]:
        distance = moved(self.dataset.pde, before, after, self.dataset.field_std)
        return {**self.measure(after, observed), **distance}
