"""Jensen gap along a method's trajectory: at the states where it calls the prior, which are not x0 + sigma eps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.jensen.curves import Subject
from jensenbench.jensen.estimate import SQUARES, GapEstimate, Row, square, summary, unknown
from jensenbench.jensen.estimators.empirical import empirical_gap
from jensenbench.jensen.settings import JensenSettings

CHUNK = 2048  # calls whose posteriors are held at a time


@dataclass(frozen=True)
class PriorCalls:
    """Calls of the prior: levels ``sigma`` (n,), states ``x`` and outputs ``denoised`` (n, C, *grid), ``run`` (n,).

    ``run`` numbers the state that was being sampled: calls of one are not independent of each other.
    """

    sigma: Tensor
    x: Tensor
    denoised: Tensor
    run: Tensor

    @classmethod
    def of_probes(cls, probes: Sequence[Sequence[tuple[Tensor, Tensor, Tensor]]]) -> "PriorCalls":
        """From the probes of one meter per run."""
        sigma, x, denoised = (
            torch.cat([call[part].detach().cpu().double() for run in probes for call in run]) for part in range(3)
        )
        counts = torch.tensor([sum(len(call[0]) for call in run) for run in probes])
        return cls(sigma, x, denoised, torch.arange(len(probes)).repeat_interleave(counts))

    def where(self, chosen: Tensor) -> "PriorCalls":
        """The calls that a bool mask (n,) selects."""
        return PriorCalls(self.sigma[chosen], self.x[chosen], self.denoised[chosen], self.run[chosen])

    def within(self, low: float, high: float) -> "PriorCalls":
        """The calls at levels in [low, high]."""
        return self.where((self.sigma >= low) & (self.sigma <= high))


def trajectory_rows(subject: Subject, settings: JensenSettings, calls: PriorCalls, *, trained: bool) -> Iterator[Row]:
    """One row per level near which at least two runs call the prior; each call counts for the nearest level.

    Values are means over the calls of a run, intervals are over runs. ``denoised`` is |R(D)|² of the outputs
    themselves; ``gap``, ``posterior`` and ``network`` refer to the empirical prior of all states.
    """
    levels = torch.tensor(settings.sigmas(), dtype=torch.float64)
    nearest = (calls.sigma.log()[:, None] - levels.log()).abs().argmin(1)
    found = gap_at_calls(subject, calls, trained=trained)
    for index, sigma in enumerate(settings.sigmas()):
        here = nearest == index
        runs = calls.run[here].unique()
        if len(runs) < 2:
            continue
        by_run = [(here & (calls.run == run)) for run in runs]
        means = {name: torch.stack([getattr(found, name)[part].mean() for part in by_run]) for name in SQUARES}
        means["loss_gap"] = torch.stack([found.loss_gap[part].mean() for part in by_run])
        means["ess"] = torch.stack([found.ess[part].median() for part in by_run])
        middle = float(calls.sigma[here].log().mean().exp())
        yield {"sigma": sigma, "sigma_mean": middle, "calls": int(here.sum())} | summary(GapEstimate(**means))


@torch.no_grad()
def gap_at_calls(subject: Subject, calls: PriorCalls, *, trained: bool) -> GapEstimate:
    """At every call: the gap of the empirical prior, |R(D)|² of the output, and the network's share of it."""
    parts = []
    for index in torch.arange(len(calls.sigma)).split(CHUNK):
        answered = subject.residual(calls.denoised[index])
        found = empirical_gap(subject.residual, subject.empirical, calls.x[index], calls.sigma[index], trained=answered)
        network = found.network if trained else unknown(answered)
        parts.append((found.gap, square(answered), found.posterior, network, found.loss_gap, found.ess))
    joined = (torch.cat(part) for part in zip(*parts, strict=True))
    return GapEstimate(**dict(zip(("gap", "denoised", "posterior", "network", "loss_gap", "ess"), joined, strict=True)))
