"""The likelihood's gap in DPS on a PDE: log E[p(y|x0) | x_t] against log p(y | E[x0|x_t]), at every noise level."""

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
from jensenbench.jensen.estimate import mean_and_error, student_95
from jensenbench.jensen.estimators.analytic import has_closed_form, posterior
from jensenbench.jensen.measure import Row, Subject
from jensenbench.jensen.settings import JensenSettings
from jensenbench.priors.empirical import FEWEST_STATES, EmpiricalPrior, effective_states

POINTS = 4  # observed entries of coefficient and solution each: more leave an empirical posterior no states
CHUNK = 1024  # states that are decoded at a time
NOISES = (0.1, 0.5)  # std of the data, in units of each field's


@dataclass(frozen=True)
class Sensors:
    """The same few entries of every state, seen with noise.

    Attributes:
        field_std: (C,), the units of the data.
        truth: physical states (n, C, *grid) that the data come from.
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
        """Data (b, m) without noise of states in prior coordinates, in units of the fields' std."""
        return self.read(self.subject.codec.decode(x))

    def read(self, fields: Tensor) -> Tensor:
        """The same of physical fields."""
        unit = self.field_std.reshape(-1, *[1] * (fields.ndim - 2)).expand(self.mask.shape)
        return fields[:, self.mask] / unit[self.mask]

    def of_law(self, law: EmpiricalPrior) -> Tensor:
        """The same of all states (N, m) of a law."""
        return torch.cat([self.predict(part.double()) for part in law.states.split(CHUNK)])

    def values(self, std: float) -> Tensor:
        """Data (n, m): the same draws of noise whatever its std."""
        clean = self.read(self.truth)
        keys = [(self.seed, self.subject.pde.label, "jensen", "y", index) for index in range(len(clean))]
        return clean + std * KeyedNoise(keys)(clean.shape[1:])


class LawAt(NamedTuple):
    """Posterior of an empirical law at n noisy states: log weights (n, N), and the trace (n,) of its covariance."""

    logs: Tensor
    variance: Tensor


def law_at(law: EmpiricalPrior, x: Tensor, sigma: float) -> LawAt:
    """The posterior of N states at x (n, C, *grid)."""
    logs = torch.log_softmax(law.logits(x, sigma), 1)
    weights = logs.exp()
    mean = law.average(weights, lambda part: part)
    square = law.average(weights, lambda part: part.flatten(1).square().sum(1, keepdim=True))[:, 0]
    return LawAt(logs, (square - mean.flatten(1).square().sum(1)).clamp(min=0))


def likelihood_rows(
    subject: Subject, settings: JensenSettings, field_std: Tensor, prior: Denoiser | None = None, label: str = ""
) -> Iterator[Row]:
    """Rows of a prior in closed form, if it is one, and of the empirical law of all states, by noise and level."""
    sensors = Sensors(subject, field_std, subject.clean[: settings.states], settings.seed)
    norm, states = operator_norm(sensors.predict, subject.pde.shape), sensors.of_law(subject.law)
    values, rows = {std: sensors.values(std) for std in NOISES}, {std: [] for std in NOISES}
    for sigma in settings.sigmas():
        x = subject.noisy(sigma, settings)
        exact = posterior(prior, x, sigma) if prior is not None and has_closed_form(prior) else None
        law = law_at(subject.law, x, sigma)
        for std in NOISES:
            labels = {"noise": std, "sigma": sigma}
            if exact is not None:
                found = likelihood_gap(exact, sensors.predict, values[std], std)
                reach, infinite = norm * total_variance(exact).sqrt(), torch.full((len(x),), math.inf)
                rows[std].append({"law": label} | labels | summarised(found, reach, sensors, std, infinite))
            found, ess = empirical_likelihood(law, states, values[std], std)
            reach = norm * law.variance.sqrt()
            rows[std].append({"law": "empirical"} | labels | summarised(found, reach, sensors, std, ess))
    for std in NOISES:
        yield from rows[std]


def empirical_likelihood(law: LawAt, states: Tensor, values: Tensor, std: float) -> tuple[Likelihood, Tensor]:
    """Both likelihoods under the law of N states, whose data are ``states`` (N, m), and effective states (n,).

    The latter is the smaller one of those behind x_t and those behind x_t and the data: the mean of p(y|x0) rests on
    few states where these are few.
    """
    weights = law.logs.exp()
    constant = values.shape[1] * math.log(2 * math.pi * std**2) / 2
    density = -torch.cdist(values, states).square() / (2 * std**2) - constant
    centre = (values - weights @ states).square().sum(1)
    found = Likelihood(torch.logsumexp(law.logs + density, 1), -centre / (2 * std**2) - constant)
    both = effective_states(torch.softmax(law.logs + density, 1))
    return found, torch.minimum(effective_states(weights), both)


def summarised(found: Likelihood, reach: Tensor, sensors: Sensors, std: float, ess: Tensor) -> Row:
    """One row: the difference of logarithms a datum with its 95 % interval over states, and the bounds' largest ratios.

    A posterior that has collapsed to one state has no variance but rounding, hence no bound.
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
