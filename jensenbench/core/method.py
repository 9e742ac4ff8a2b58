"""Interface of a sampling method: settings, variants, capabilities, an optional fit, and samples."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.errors import Diverged, UnknownName

RESIDUALS = ("denoised", "noisy", "sample")


@dataclass(frozen=True)
class NoFit:
    """Settings of a method that trains nothing."""


@dataclass(frozen=True)
class Capabilities:
    """What a method claims to do; the conformance checks test it.

    Attributes:
        unconditional, observed: whether it can sample without and with observations.
        noisy: whether the observations may have noise; they may not where they are hard constraints.
        trains: whether it needs ``fit``; its ``Config`` then has a field ``fit`` of type ``Fit``.
        exact_observations, exact_residual: its samples meet the observations, the equation, to rounding.
        deterministic: samples do not depend on the noise beyond the initial latent.
        couples_batch: a sample may depend on the other elements of its batch.
        uses_prior: whether it calls the prior at all; a control method need not.
        residual_of: where it evaluates the equation, if it does: at "denoised" states, at the "noisy" states of its
            trajectory, or at the "sample" itself; the first alone is what the Jensen gap is about.
    """

    unconditional: bool = True
    observed: bool = True
    noisy: bool = True
    trains: bool = False
    exact_observations: bool = False
    exact_residual: bool = False
    deterministic: bool = False
    couples_batch: bool = False
    uses_prior: bool = True
    residual_of: str = "denoised"

    def __post_init__(self) -> None:
        if self.residual_of not in RESIDUALS:
            raise UnknownName("state of the residual", self.residual_of, RESIDUALS)


class TeacherPairs(Protocol):
    """Pairs of noise and of the states that a teacher sampler maps it to, in rounds of fresh pairs.

    Attributes:
        settings: how they were made.
        digest: of their content.
    """

    @property
    def settings(self) -> Any: ...

    @property
    def digest(self) -> str: ...

    def round(self, number: int) -> tuple[Tensor, Tensor]:
        """Noise and states (N, C, *grid) of one round."""
        ...


class Method(ABC):
    """A way to draw states of a problem with the shared prior; one public file in ``methods/`` each.

    ``variants`` maps labels to settings of type ``Config``.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    Fit: ClassVar[type] = NoFit
    Config: ClassVar[type]
    variants: ClassVar[Mapping[str, Any]]
    capabilities: ClassVar[Capabilities]
    reduces_to: ClassVar[str | None] = None
    references: ClassVar[tuple[str, ...]] = ()
    deviations: ClassVar[tuple[str, ...]] = ()
    tunes: ClassVar[tuple[str, ...]] = ()  # variants whose tunable settings tuning may change; published ones stay

    def __init__(self, config: Any = None):
        self.config = self.Config() if config is None else config

    def skip(self, problem: Problem) -> str | None:
        """Why this method cannot do this problem, or None; the reason is printed in the tables."""
        if problem.observation is None and not self.capabilities.unconditional:
            return "needs observations"
        if problem.observation is not None and not self.capabilities.observed:
            return "cannot use observations"
        if problem.observation is not None and problem.observation.noise_std > 0 and not self.capabilities.noisy:
            return "noisy data are no hard constraint"
        return None

    def build(self, prior: Denoiser, problem: Problem) -> nn.Module:
        """The untrained module that :meth:`fit` trains; trained weights are loaded into it before sampling.

        It depends on ``config.fit``, the prior and the (unconditional) problem alone.
        """
        raise NotImplementedError(f"method {self.name!r} trains, but has no build()")

    def fit(
        self,
        prior: Denoiser,
        problem: Problem,
        data: Tensor,
        *,
        state_dir: Path,
        seed: int,
        pairs: TeacherPairs | None = None,
    ) -> nn.Module:
        """Train a module on states (N, C, *grid) in prior coordinates, or on teacher pairs.

        Args:
            problem: the unconditional problem.
            state_dir: folder of the resumable state: a killed and resumed fit equals an uninterrupted one.
            pairs: given where ``Fit`` has a field ``pairs``.
        """
        raise NotImplementedError(f"method {self.name!r} trains, but has no fit()")

    @abstractmethod
    def sample(self, prior: Denoiser, problem: Problem, noise: Noise, *, fitted: nn.Module | None = None) -> Tensor:
        """States (b, C, *grid) in prior coordinates, observations not pasted in."""


class Iterative(Method):
    """A method with a trajectory of states: :meth:`steps` yields it, :meth:`sample` returns its last state."""

    @abstractmethod
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        """Yield the starting state and the state after every step; the last one is the sample."""

    def model(self, prior: Denoiser, fitted: nn.Module | None) -> Denoiser:
        """The denoiser that the steps call: the prior, or one that the method has trained."""
        return prior

    def sample(self, prior: Denoiser, problem: Problem, noise: Noise, *, fitted: nn.Module | None = None) -> Tensor:
        return self.final_state(self.model(prior, fitted), problem, noise)

    def final_state(self, model: Denoiser, problem: Problem, noise: Noise) -> Tensor:
        """The last state of the trajectory (b, C, *grid); raises Diverged where it is not finite."""
        state = deque(self.steps(model, problem, noise), maxlen=1).pop()
        if not torch.isfinite(state).all():
            raise Diverged(f"{self.name}: the final state is NaN or infinite")
        return state


def learns_denoiser(method: type[Method]) -> bool:
    """Whether a method follows a trajectory of noisy states with a denoiser that it has learnt itself."""
    return method.capabilities.trains and issubclass(method, Iterative)
