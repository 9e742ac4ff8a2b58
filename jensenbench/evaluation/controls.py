"""Control runs: what the data, the truth, no information and the exact posterior would score."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from jensenbench.core.noise import KeyedNoise, Noise
from jensenbench.core.problem import Problem
from jensenbench.data.dataset import Dataset
from jensenbench.evaluation.accuracy import Observed, Optimum
from jensenbench.evaluation.metrics import UNCONDITIONAL
from jensenbench.posteriors.sampled import PUBLISHED, SampledPosterior
from jensenbench.priors.empirical import EmpiricalPrior
from jensenbench.priors.empirical_posterior import EmpiricalPosterior
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.io import LoadedPrior
from jensenbench.priors.mixture import MixturePrior
from jensenbench.priors.mixture_posterior import MixturePosterior

DEFAULT_STATES = 512
POSTERIOR_DRAWS = 128  # of each instance, with which draws of methods are compared


class Posterior(Protocol):
    """The distribution of the fields of all instances of a task given their data.

    ``note`` says which instances have none, and why.
    """

    @property
    def note(self) -> str: ...

    @property
    def mean(self) -> Tensor: ...

    @property
    def std(self) -> Tensor: ...

    def sample(self, noise: Noise) -> Tensor:
        """One draw per instance, (I, C, *grid)."""
        ...


@dataclass(frozen=True)
class Control:
    """States (I, K, C, *grid) of a control, or None; ``reason`` says why, or what is to be said of the states."""

    variant: str
    task: str
    fields: Tensor | None
    reason: str = ""
    post_process: bool = True


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

    The data's floor is what as many states as a method draws, on which no prior was trained, score against the same
    reference.
    """
    train = setting.dataset.split("train")
    unseen = torch.cat([setting.dataset.split(split) for split in ("validation", "test")])[: setting.states, None]
    few = f"only {len(unseen)} states were not trained on" if len(unseen) < setting.states else ""
    yield Control("data_floor", UNCONDITIONAL, unseen, few, post_process=False)
    yield Control("float32_floor", UNCONDITIONAL, unseen.float().double(), few, post_process=False)
    for task, observed in setting.observed.items():
        yield Control("truth", task, observed.truth[:, None], post_process=False)
        yield Control("training_mean", task, train.mean(0).expand_as(observed.truth)[:, None])
        yield _unconditional(setting, task)
        if observed.resamples is not None:
            yield Control("resimulated", task, observed.resamples[:, : setting.draws[task]])


def _unconditional(setting: ControlSetting, task: str) -> Control:
    """Unconditional samples dealt out to instances and draws in turn."""
    if setting.unconditional is None:
        return Control("unconditional_prior", task, None, "there are no unconditional samples of edm")
    shape = (len(setting.observed[task].truth), setting.draws[task])
    deal = torch.arange(shape[0] * shape[1]) % len(setting.unconditional)
    return Control("unconditional_prior", task, setting.unconditional[deal].unflatten(0, shape))


def posteriors_of(setting: ControlSetting, prior: LoadedPrior, published: Path = PUBLISHED) -> dict[str, Posterior]:
    """Posterior of every observed task by its label: exact under an exact prior, else the published one, if any.

    Published posteriors are those of the PDE's own distribution, which a network prior has learnt.
    """
    found = {task: _posterior(setting, prior, task, data, published) for task, data in setting.observed.items()}
    return {task: posterior for task, posterior in found.items() if posterior is not None}


def _posterior(
    setting: ControlSetting, prior: LoadedPrior, task: str, data: Observed, published: Path
) -> Posterior | None:
    pde, scale = setting.dataset.pde, setting.dataset.field_std
    problem = Problem(pde, task, prior.codec, observation=data.observation, scale=scale)
    if isinstance(prior.denoiser, GaussianPrior):
        return prior.denoiser.posterior(problem)
    if isinstance(prior.denoiser, MixturePrior):
        return MixturePosterior(problem, prior.denoiser)
    if isinstance(prior.denoiser, EmpiricalPrior):
        return EmpiricalPosterior(problem, prior.denoiser)
    return SampledPosterior.find(published / setting.dataset.label / task, pde, data.observation, scale)


def optimum(setting: ControlSetting, task: str, posterior: Posterior) -> Optimum:
    """Posterior mean, std and draws of all instances."""
    draws = [posterior.sample(_noise(setting, task, f"optimum-{draw}")) for draw in range(POSTERIOR_DRAWS)]
    return Optimum(posterior.mean, posterior.std, torch.stack(draws, 1), posterior.note)


def posterior_controls(setting: ControlSetting, posteriors: Mapping[str, Posterior]) -> Iterator[Control]:
    """The posterior's mean, and as many of its draws as the methods have; the reason where an instance has none."""
    for task, posterior in posteriors.items():
        if posterior.note:
            yield Control("posterior_mean", task, None, posterior.note)
            yield Control("posterior_draw", task, None, posterior.note)
            continue
        yield Control("posterior_mean", task, posterior.mean[:, None])
        draws = [posterior.sample(_noise(setting, task, draw)) for draw in range(setting.draws[task])]
        yield Control("posterior_draw", task, torch.stack(draws, 1))


def _noise(setting: ControlSetting, task: str, draw: int | str) -> KeyedNoise:
    count = len(setting.observed[task].truth)
    return KeyedNoise(
        [(setting.seed, setting.label, task, instance, draw, "posterior_draw") for instance in range(count)]
    )
