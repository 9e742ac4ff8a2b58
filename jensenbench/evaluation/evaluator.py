"""All metrics of one run: as returned, and after each post-processing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.data.dataset import Dataset
from jensenbench.evaluation.accuracy import LEVELS, TABLED, Observed, Optimum, accuracy, oracle
from jensenbench.evaluation.distribution import conditional_moments, conditional_spread, distribution
from jensenbench.evaluation.metrics import suffixed
from jensenbench.evaluation.post_processing import moved, newton, paste, solve
from jensenbench.evaluation.posterior import against_draws
from jensenbench.evaluation.residuals import constraint_errors, residual_metrics
from jensenbench.evaluation.robustness import high_order_metrics
from jensenbench.evaluation.sets import Reference


@dataclass(frozen=True)
class Score:
    """Metrics of one run by name, what is to be said about them, and CPU seconds by post-processing."""

    metrics: dict[str, Tensor]
    note: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluator:
    """What all runs of one (pde, prior, seed) are measured against.

    Attributes:
        codec: the prior's, in whose coordinates the Newton steps are shortest.
        observed: data and truth by task label; tasks that are not here are unconditional.
        optimum: posterior by task label, exact or sampled, where there is one.
    """

    dataset: Dataset
    codec: Codec
    reference: Reference
    observed: Mapping[str, Observed]
    optimum: Mapping[str, Optimum] = field(default_factory=dict)

    def score(self, fields: Tensor, task: str, *, post_process: bool = True) -> Score:
        """Metrics of fields (I, K, C, *grid) in any float dtype."""
        fields, observed = fields.double(), self.observed.get(task)
        values = self.measure(fields, observed, LEVELS)
        if observed is not None and task in self.optimum:
            values |= self._against_posterior(fields, observed, self.optimum[task])
        note = self.optimum[task].note if task in self.optimum else ""
        if not post_process:
            return Score(values, note)
        processed = self._post_processed(fields, task, observed)
        notes = "; ".join(part for part in (processed.note, note) if part)
        return Score(values | processed.metrics, notes, processed.seconds)

    def measure(self, fields: Tensor, observed: Observed | None, levels: Sequence[float] = TABLED) -> dict[str, Tensor]:
        """Residuals, and accuracy against the truth or, where nothing is observed, the distribution.

        ``levels``: of the central intervals whose coverage is measured.
        """
        pde, std = self.dataset.pde, self.dataset.field_std
        scale = self.dataset.term_scale
        values = residual_metrics(pde, fields, scale) | high_order_metrics(pde, fields, scale)
        if observed is not None:
            values |= constraint_errors(pde, fields, truth=observed.truth, data=observed.observation)
            values |= conditional_spread(pde, fields, observed.truth, self.reference)
            if observed.resamples is not None:
                values |= conditional_moments(pde, fields, observed.resamples, std)
            return values | accuracy(pde, fields, observed, std, levels)
        values |= constraint_errors(pde, fields)
        states = fields.flatten(0, 1)
        sound = torch.isfinite(states).flatten(1).all(1)
        return values | distribution(pde, states[sound], self.reference)

    def _against_posterior(self, fields: Tensor, observed: Observed, optimum: Optimum) -> dict[str, Tensor]:
        pde, std = self.dataset.pde, self.dataset.field_std
        uncertain = optimum.uncertain(observed, std)
        return oracle(pde, fields, observed, optimum, std) | against_draws(fields, optimum.draws, uncertain, std)

    def _post_processed(self, fields: Tensor, task: str, observed: Observed | None) -> Score:
        """Metrics after each post-processing, and what the solver refused."""
        data, values = observed.observation if observed else None, {}
        if data is not None and data.noise_std == 0:
            values |= suffixed(self._after(fields, paste(fields, data), observed), "pasted")
        solved = solve(self.dataset.pde, fields)
        refused = {"refused": torch.tensor(float(solved.refused))}
        values |= suffixed({**self._after(fields, solved.fields, observed), **refused}, "solved")
        seconds = {"solved": solved.seconds}
        for steps, projected in newton(self._problem(task, data), fields).items():
            stopped = {"unconverged": torch.tensor(float(projected.unconverged))}
            values |= suffixed({**self._after(fields, projected.fields, observed), **stopped}, f"newton{steps}")
            seconds[f"newton{steps}"] = projected.seconds
        return Score(values, solved.reason, seconds)

    def _problem(self, task: str, data: MaskObservation | None) -> Problem:
        dataset = self.dataset
        scales = {"scale": dataset.field_std, "term_scale": dataset.term_scale}
        return Problem(dataset.pde, task, self.codec, observation=data, **scales)

    def _after(self, before: Tensor, after: Tensor, observed: Observed | None) -> dict[str, Tensor]:
        distance = moved(self.dataset.pde, before, after, self.dataset.field_std)
        return {**self.measure(after, observed), **distance}
