"""Curves of the Jensen gap against the noise level, by all estimators that apply to a prior, on equal noisy states."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan

import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.pde import PDE
from jensenbench.errors import UserError
from jensenbench.jensen.estimate import SQUARES, GapEstimate, Row, require_level, summary
from jensenbench.jensen.estimators.analytic import analytic_gap, has_closed_form
from jensenbench.jensen.estimators.empirical import empirical_gap
from jensenbench.jensen.estimators.monte_carlo import monte_carlo_gap
from jensenbench.jensen.estimators.tweedie import in_single_precision, tweedie_gap, wide_directions
from jensenbench.jensen.residual import InteriorResidual
from jensenbench.jensen.settings import JensenSettings
from jensenbench.priors.empirical import EmpiricalPrior
from jensenbench.runtime.progress import progress

SPOT_CLEAN = 10_000_000  # index of the first clean state where states are generated on demand; not trained on
WIDE_FROM = 256  # number of states from which the widest directions are computed
SHARES = (4, 2, 1)  # of the states of the empirical prior: a quarter, a half, all


@dataclass(frozen=True)
class Subject:
    """A PDE with its codec and physical states (N, C, *grid): ``train`` for the empirical prior, ``clean`` for x_t.

    ``unit`` is the rms of the equation's largest term, in which residuals are measured.
    """

    pde: PDE
    codec: Codec
    unit: float
    train: Tensor
    clean: Tensor

    @cached_property
    def empirical(self) -> EmpiricalPrior:
        """The empirical prior of the training states, in prior coordinates."""
        return EmpiricalPrior(self.codec.encode(self.train))

    @cached_property
    def wide(self) -> Tensor:
        """Principal directions of the training states, widest first."""
        return wide_directions(self.empirical.states[:WIDE_FROM], WIDE_FROM)

    @cached_property
    def residual(self) -> InteriorResidual:
        """The interior residual in prior coordinates, in units of the equation's largest term."""
        return InteriorResidual(self.pde, self.codec, self.unit, self.codec.encode(self.train[:16]))

    def noisy(self, sigma: float, settings: JensenSettings) -> Tensor:
        """States x0 + sigma eps (n, C, *grid); the same x0 and eps at every level and for every prior."""
        if len(self.clean) < settings.states:
            raise UserError(
                f"{self.pde.label}: {settings.states} noisy states need as many clean ones, there are {len(self.clean)}"
            )
        noise = KeyedNoise(self.keys(settings, "x_t"))(self.pde.shape)
        return self.codec.encode(self.clean[: settings.states]) + sigma * noise

    def keys(self, settings: JensenSettings, purpose: str) -> list[tuple[object, ...]]:
        """Keys of the streams of noise, one per state."""
        return [(settings.seed, self.pde.label, "jensen", purpose, index) for index in range(settings.states)]


def empirical_rows(
    subject: Subject, settings: JensenSettings, prior: Denoiser | None = None, *, shares: Sequence[int] = SHARES
) -> Iterator[Row]:
    """Curves of the empirical prior of a quarter, a half and all of the training states.

    With a trained ``prior`` each row splits the residual of its output into the gap and the network's error.
    """
    levels = settings.sigmas()
    x = torch.cat([subject.noisy(sigma, settings) for sigma in levels])
    at = torch.tensor(levels, dtype=x.dtype).repeat_interleave(settings.states)
    trained = None if prior is None else trained_residual(subject, prior, x, at)
    for share in shares:
        count = len(subject.train) // share
        found = empirical_gap(subject.residual, subject.empirical.first(count), x, at, trained=trained)
        for sigma, part in zip(levels, _by_level(found, settings.states), strict=True):
            yield {"estimator": "empirical", "law_states": count, "sigma": sigma} | summary(part)


@torch.no_grad()
def trained_residual(subject: Subject, prior: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """R(D(x)) (n, m) of a trained prior, a few hundred states at a time; NaN outside its levels."""
    single = in_single_precision(prior)
    answers = [single(part, level) for part, level in zip(x.split(256), sigma.split(256), strict=True)]
    known = (sigma >= prior.sigma_min) & (sigma <= prior.sigma_max)
    return subject.residual(torch.cat(answers)).where(known[:, None], nan)


def prior_rows(subject: Subject, settings: JensenSettings, prior: Denoiser) -> Iterator[Row]:
    """Curves of a prior: closed form where it has one, Tweedie's formula, and Monte Carlo at some levels."""
    if has_closed_form(prior) and subject.residual.degree is not None:
        yield from _curve("analytic", 0, subject, settings, settings.sigmas(), prior)
    yield from _curve("tweedie", settings.probes, subject, settings, settings.sigmas(), prior)
    yield from _curve("monte_carlo", settings.draws, subject, settings, drawn_levels(settings), prior)


def check_rows(subject: Subject, settings: JensenSettings) -> Iterator[Row]:
    """Monte Carlo and Tweedie estimates for the empirical prior of a quarter of the states, to check its curve."""
    prior = subject.empirical.first(len(subject.train) // SHARES[0])
    for estimator, count in (("tweedie", settings.probes), ("monte_carlo", settings.draws)):
        for row in _curve(estimator, count, subject, settings, drawn_levels(settings), prior):
            yield row | {"law_states": len(prior.states)}


def drawn_levels(settings: JensenSettings) -> list[float]:
    """The levels of Monte Carlo posteriors, from the highest on."""
    return settings.sigmas()[:: -settings.every][::-1]


def _curve(
    estimator: str, count: int, subject: Subject, settings: JensenSettings, levels: list[float], prior: Denoiser
) -> Iterator[Row]:
    """One row per level; where an estimator does not apply, the row says why."""
    for sigma in progress(levels, label=f"{subject.pde.label} {estimator}", unit="level"):
        labels = {"estimator": estimator, "count": count, "sigma": sigma}
        try:
            require_level(sigma, prior.sigma_min, prior.sigma_max)
            yield labels | summary(_estimate(estimator, subject, settings, prior, sigma))
        except UserError as error:
            yield labels | {"usable": False, "reason": str(error)}


def _estimate(estimator: str, subject: Subject, settings: JensenSettings, prior: Denoiser, sigma: float) -> GapEstimate:
    x, keys = subject.noisy(sigma, settings), subject.keys(settings, estimator)
    if estimator == "analytic":
        return analytic_gap(subject.residual, prior, x, sigma)
    few = min(settings.drawn_states, settings.states)
    if estimator == "monte_carlo":
        return monte_carlo_gap(
            subject.residual, prior, x[:few], sigma, keys[:few], draws=settings.draws, steps=settings.steps
        )
    few = few if isinstance(prior, EmpiricalPrior) else min(settings.probed_states, settings.states)
    return tweedie_gap(
        subject.residual, prior, x[:few], sigma, KeyedNoise(keys[:few]), probes=settings.probes,
        directions=subject.wide[: settings.directions],
    )  # fmt: skip


def _by_level(found: GapEstimate, states: int) -> Iterator[GapEstimate]:
    names = (*SQUARES, "loss_gap", "ess")
    parts = zip(*(getattr(found, name).split(states) for name in names), strict=True)
    for values in parts:
        yield GapEstimate(**dict(zip(names, values, strict=True)))
