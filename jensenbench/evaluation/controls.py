"""Control runs: what the data, the truth, no information and the exact posterior would score."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.dataset import Dataset
from jensenbench.evaluation.accuracy import Observed, Optimum
from jensenbench.noise import KeyedNoise
from jensenbench.priors import LoadedPrior
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.posterior import GaussianPosterior
from jensenbench.problem import Problem

UNCONDITIONAL = "unconditional"
DEFAULT_STATES = 512


@dataclass(frozen=True)
class Control:
    """States (I, K, C, *grid) of a control, or the reason why there are none."""

    variant: str
    task: str
    fields: Tensor | None
    reason: str = ""
    services: bool = True


@dataclass(frozen=True)
class ControlSetting:
    """Sizes and sources of the controls of one (pde, prior, seed).

    Attributes:
        draws: number of draws by observed task.
        states: number of states of the unconditional task.
        unconditional: the prior's own unconditional samples (n, C, *grid), if there are any.
    """

    dataset: Dataset
    label: str
    seed: int
    observed: Mapping[str, Observed]
    draws: Mapping[str, int]
    states: int
    unconditional: Tensor | None


def data_controls(setting: ControlSetting) -> Iterator[Control]:
    """Controls that need no exact posterior.

    The data's floor is what as many training states as a method draws score against the same reference.
    """
    train = setting.dataset.split("train")
    floor = train[: setting.states, None]
    yield Control("data_floor", UNCONDITIONAL, floor, services=False)
    yield Control("float32_floor", UNCONDITIONAL, floor.float().double(), services=False)
    for task, observed in setting.observed.items():
        yield Control("truth", task, observed.truth[:, None], services=False)
        yield Control("training_mean", task, train.mean(0).expand_as(observed.truth)[:, None])
        yield _unconditional(setting, task)


def _unconditional(setting: ControlSetting, task: str) -> Control:
    """Unconditional samples dealt out to instances and draws in turn."""
    if setting.unconditional is None:
        return Control("unconditional_prior", task, None, "there are no unconditional samples of edm")
    shape = (len(setting.observed[task].truth), setting.draws[task])
    deal = torch.arange(shape[0] * shape[1]) % len(setting.unconditional)
    return Control("unconditional_prior", task, setting.unconditional[deal].unflatten(0, shape))


def exact_posteriors(setting: ControlSetting, prior: LoadedPrior) -> dict[str, GaussianPosterior]:
    """Exact posterior of every observed task by its label; none where the prior is not Gaussian."""
    if not isinstance(prior.denoiser, GaussianPrior):
        return {}
    return {
        task: _posterior(setting.dataset, prior, prior.denoiser, task, data) for task, data in setting.observed.items()
    }


def _posterior(
    dataset: Dataset, prior: LoadedPrior, law: GaussianPrior, task: str, data: Observed
) -> GaussianPosterior:
    return law.posterior(Problem(dataset.pde, task, prior.codec, observation=data.observation, scale=dataset.field_std))


def optimum(posterior: GaussianPosterior) -> Optimum:
    """Exact posterior mean and std of all instances."""
    return Optimum(posterior.mean, posterior.std)


def posterior_controls(setting: ControlSetting, posteriors: Mapping[str, GaussianPosterior]) -> Iterator[Control]:
    """The exact posterior's mean, and as many of its draws as the methods have."""
    for task, posterior in posteriors.items():
        yield Control("posterior_mean", task, posterior.mean[:, None])
        draws = [posterior.sample(_noise(setting, task, draw)) for draw in range(setting.draws[task])]
        yield Control("posterior_draw", task, torch.stack(draws, 1))


def _noise(setting: ControlSetting, task: str, draw: int) -> KeyedNoise:
    count = len(setting.observed[task].truth)
    return KeyedNoise(
        [(setting.seed, setting.label, task, instance, draw, "posterior_draw") for instance in range(count)]
    )
