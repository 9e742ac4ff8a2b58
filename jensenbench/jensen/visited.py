"""The gap at the states at which a method calls the prior, which are not distributed like x0 + sigma eps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.jensen.estimate import SQUARES, GapEstimate, square, summary, unknown
from jensenbench.jensen.estimators.empirical import empirical_gap
from jensenbench.jensen.measure import Row, Subject
from jensenbench.jensen.settings import JensenSettings

CHUNK = 2048  # calls whose posteriors are held at a time


@dataclass(frozen=True)
class Visits:
    """Calls of the prior: levels ``sigma`` (n,), states ``x`` and answers ``denoised`` (n, C, *grid), ``run`` (n,).

    ``run`` numbers the state that was being sampled: calls of one are not independent of each other.
    """

    sigma: Tensor
    x: Tensor
    denoised: Tensor
    run: Tensor

    @classmethod
    def of_probes(cls, probes: Sequence[Sequence[tuple[Tensor, Tensor, Tensor]]]) -> "Visits":
        """From the probes of one meter a run."""
        sigma, x, denoised = (
            torch.cat([call[part].detach().cpu().double() for run in probes for call in run]) for part in range(3)
        )
        counts = torch.tensor([sum(len(call[0]) for call in run) for run in probes])
        return cls(sigma, x, denoised, torch.arange(len(probes)).repeat_interleave(counts))

    def where(self, chosen: Tensor) -> "Visits":
        """The calls that a mask (n,) chooses."""
        return Visits(self.sigma[chosen], self.x[chosen], self.denoised[chosen], self.run[chosen])

    def within(self, low: float, high: float) -> "Visits":
        """The calls at levels of an interval."""
        return self.where((self.sigma >= low) & (self.sigma <= high))


def visited_rows(subject: Subject, settings: JensenSettings, visits: Visits, *, trained: bool) -> Iterator[Row]:
    """One row a level at which at least two runs call the prior; calls go to the nearest level.

    A value is a mean over the calls of a run, its interval is over runs. ``denoised`` is |R(D)|² of the answers
    themselves; ``gap``, ``posterior`` and ``network`` are those of the empirical law of all states.
    """
    levels = torch.tensor(settings.sigmas(), dtype=torch.float64)
    nearest = (visits.sigma.log()[:, None] - levels.log()).abs().argmin(1)
    found = found_at(subject, visits, trained=trained)
    for index, sigma in enumerate(settings.sigmas()):
        here = nearest == index
        runs = visits.run[here].unique()
        if len(runs) < 2:
            continue
        by_run = [(here & (visits.run == run)) for run in runs]
        means = {name: torch.stack([getattr(found, name)[part].mean() for part in by_run]) for name in SQUARES}
        means["loss_gap"] = torch.stack([found.loss_gap[part].mean() for part in by_run])
        means["ess"] = torch.stack([found.ess[part].median() for part in by_run])
        middle = float(visits.sigma[here].log().mean().exp())
        yield {"sigma": sigma, "sigma_mean": middle, "calls": int(here.sum())} | summary(GapEstimate(**means))


@torch.no_grad()
def found_at(subject: Subject, visits: Visits, *, trained: bool) -> GapEstimate:
    """The empirical law's gap at every call, R(D) of its answer, and what of that is the network's."""
    parts = []
    for rows in torch.arange(len(visits.sigma)).split(CHUNK):
        answered = subject.residual(visits.denoised[rows])
        found = empirical_gap(subject.residual, subject.law, visits.x[rows], visits.sigma[rows], trained=answered)
        network = found.network if trained else unknown(answered)
        parts.append((found.gap, square(answered), found.posterior, network, found.loss_gap, found.ess))
    joined = (torch.cat(part) for part in zip(*parts, strict=True))
    return GapEstimate(**dict(zip(("gap", "denoised", "posterior", "network", "loss_gap", "ess"), joined, strict=True)))
