"""Heun's sampler of the probability flow, with optional churn (Karras et al., arXiv 2206.00364)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.diffusion.samplers import heun, raise_noise
from jensenbench.diffusion.schedules import EDMGrid
from jensenbench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Config(EDMGrid):
    """The grid, and how much noise is added before a step (none by default).

    Attributes:
        churn: total S_churn, spread over the steps; at most (sqrt(2) - 1) sigma a step.
        churn_from, churn_to: levels S_min, S_max between which noise is added.
        churn_inflation: factor S_noise of its standard deviation.
    """

    churn: float = 0.0
    churn_from: float = 0.0
    churn_to: float = 1e9
    churn_inflation: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.churn < 0 or self.churn_inflation <= 0:
            raise UserError(
                f"churn = {self.churn}, churn_inflation = {self.churn_inflation}: need churn >= 0, inflation > 0"
            )


class EDM(Iterative):
    """Heun's sampler of the prior, deterministic or churned; uses no observations."""

    name = "edm"
    Config = Config
    variants = {
        "heun": Config(),
        "churned": Config(steps=256, churn=40, churn_from=0.05, churn_to=50, churn_inflation=1.003),
    }
    capabilities = Capabilities(observed=False)
    references = ("karras2022edm",)

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        sigmas = self.config.sigmas().tolist()
        x = sigmas[0] * noise(prior.shape)
        yield x
        for sigma, sigma_next in pairwise(sigmas):
            x, raised = self.perturb(x, sigma, noise)
            x = heun(prior, x, raised, sigma_next).x
            yield x

    def perturb(self, x: Tensor, sigma: float, noise: Noise) -> tuple[Tensor, float]:
        """State and level from which a step starts; a churned sampler draws once a step, used or not."""
        if not self.config.churn:
            return x, sigma
        inside = self.config.churn_from <= sigma <= self.config.churn_to
        gamma = min(self.config.churn / self.config.steps, math.sqrt(2) - 1) if inside else 0.0
        return raise_noise(x, sigma, gamma, noise(x.shape[1:]), inflation=self.config.churn_inflation)
