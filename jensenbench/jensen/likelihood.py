"""DPS likelihood gap on a PDE: log E[p(y|x0) | x_t] against log p(y | E[x0|x_t]) at every noise level."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.pde import Role
from jensenbench.core.tasks import Task
from jensenbench.jensen.bounds import Likelihood, bounded, likelihood_gap, operator_norm, total_variance
from jensenbench.jensen.curves import Subject
from jensenbench.jensen.estimate import Row, mean_and_error, student_95
from jensenbench.jensen.estimators.analytic import has_closed_form, posterior
from jensenbench.jensen.settings import JensenSettings
from jensenbench.priors.empirical import FEWEST_STATES, EmpiricalPrior, effective_states

POINTS = 4  # observed entries of coefficient and solution each: with more, an empirical posterior collapses
CHUNK = 1024  # states that are decoded at a time
NOISES = (0.1, 0.5)  # std of the data's noise, in units of each field's std


@dataclass(frozen=True)
class Sensors:
    """Noisy observations of the same few entries of every state.

    Attributes:
        field_std: (C,), the units of the data.
        truth: physical states (n, C, *grid) that are observed.
    """

    subject: Subject
    field_std: Tensor
    truth: Tensor
    seed: int = 0

    @cached_property
    def mask(self) -> Tensor:
        """(C, *grid) observed entries."""
        pde = self.subject.pde
        roles: tuple[Role, Role] = ("coefficient", "solution")
        first, second = (min(1.0, POINTS / max(POINTS, int(pde.role_mask(role).sum()))) for role in roles)
        return Task("likelihood", coefficient=first, solution=second).mask(pde, seed=self.seed, index=0)

    def predict(self, x: Tensor) -> Tensor:
        """Noise-free data (b, m) of states in prior coordinates, in units of the fields' std."""
        return self.read(self.subject.codec.decode(x))

    def read(self, fields: Tensor) -> Tensor:
        """The same of physical fields."""
        unit = self.field_std.reshape(-1, *[1] * (fields.ndim - 2)).expand(self.mask.shape)
        return fields[:, self.mask] / unit[self.mask]

    def of_states(self, prior: EmpiricalPrior) -> Tensor:
        """The same (N, m) of all states of an empirical prior."""
        return torch.cat([self.predict(part.double()) for part in prior.states.split(CHUNK)])

    def values(self, std: float) -> Tensor:
        """Data (n, m) with noise of a std; the standard normal draws do not depend on it."""
        clean = self.read(self.truth)
        keys = [(self.seed, self.subject.pde.label, "jensen", "y", index) for index in range(len(clean))]
        return clean + std * KeyedNoise(keys)(clean.shape[1:])


class DenoisingPosterior(NamedTuple):
    """Posterior of an empirical prior at n noisy states: log weights (n, N), and the trace (n,) of its covariance."""

    logs: Tensor
    variance: Tensor


def denoising_posterior(prior: EmpiricalPrior, x: Tensor, sigma: float) -> DenoisingPosterior:
    """Posterior of x0 given x = x0 + sigma eps (n, C, *grid), x0 uniform on N states."""
    logs = torch.log_softmax(prior.logits(x, sigma), 1)
    weights = logs.exp()
    mean = prior.average(weights, lambda part: part)
    square = prior.average(weights, lambda part: part.flatten(1).square().sum(1, keepdim=True))[:, 0]
    return DenoisingPosterior(logs, (square - mean.flatten(1).square().sum(1)).clamp(min=0))


def likelihood_rows(
    subject: Subject, settings: JensenSettings, field_std: Tensor, prior: Denoiser | None = None, label: str = ""
) -> Iterator[Row]:
    """Rows of a closed-form prior, if it is one, and of the empirical prior of all states, by noise and level."""
    sensors = Sensors(subject, field_std, subject.clean[: settings.states], settings.seed)
    norm, states = operator_norm(sensors.predict, subject.pde.shape), sensors.of_states(subject.empirical)
    values, rows = {std: sensors.values(std) for std in NOISES}, {std: [] for std in NOISES}
    for sigma in settings.sigmas():
        x = subject.noisy(sigma, settings)
        exact = posterior(prior, x, sigma) if prior is not None and has_closed_form(prior) else None
        weighted = denoising_posterior(subject.empirical, x, sigma)
        for std in NOISES:
            labels = {"noise": std, "sigma": sigma}
            if exact is not None:
                found = likelihood_gap(exact, sensors.predict, values[std], std)
                reach, infinite = norm * total_variance(exact).sqrt(), torch.full((len(x),), math.inf)
                rows[std].append({"law": label} | labels | summarised(found, reach, sensors, std, infinite))
            found, ess = empirical_likelihood(weighted, states, values[std], std)
            reach = norm * weighted.variance.sqrt()
            rows[std].append({"law": "empirical"} | labels | summarised(found, reach, sensors, std, ess))
    for std in NOISES:
        yield from rows[std]


def empirical_likelihood(
    weighted: DenoisingPosterior, states: Tensor, values: Tensor, std: float
) -> tuple[Likelihood, Tensor]:
    """Both likelihoods of data (n, m) under an empirical prior of N states, and effective numbers of states (n,).

    The latter are the smaller ones of those given x_t and those given x_t and the data, on which the mean of p(y|x0)
    depends. ``states`` (N, m) are the noise-free data of the prior's states.
    """
    weights = weighted.logs.exp()
    constant = values.shape[1] * math.log(2 * math.pi * std**2) / 2
    density = -torch.cdist(values, states).square() / (2 * std**2) - constant
    centre = (values - weights @ states).square().sum(1)
    found = Likelihood(torch.logsumexp(weighted.logs + density, 1), -centre / (2 * std**2) - constant)
    both = effective_states(torch.softmax(weighted.logs + density, 1))
    return found, torch.minimum(effective_states(weights), both)


def summarised(found: Likelihood, reach: Tensor, sensors: Sensors, std: float, ess: Tensor) -> Row:
    """Row of the table: difference of logarithms per datum with its 95 % interval, largest ratios of gap to bounds.

    A posterior that has collapsed to one state has a variance of rounding errors only, hence no bound.
    """
    count = int(sensors.mask.sum())
    mean, error = mean_and_error((found.expected - found.at_mean) / count)
    width = student_95(len(ess)) * error
    size = float(ess.median())
    bounds = bounded(found, reach if size >= FEWEST_STATES else torch.nan * reach, count, std)
    return {
        "points": count,
        "states": len(ess),
        "difference": mean,
        "difference_low": mean - width,
        "difference_high": mean + width,
        "expected": float(found.expected.mean()) / count,
        "at_mean": float(found.at_mean.mean()) / count,
        "printed": float((bounds.gap / bounds.printed).max()),
        "lipschitz": float((bounds.gap / bounds.lipschitz).max()),
        "ess": size,
        "usable": size >= FEWEST_STATES,
    }
