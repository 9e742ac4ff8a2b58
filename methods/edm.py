"""EDM sampler: Heun's method on the probability flow, with optional churn; an unconditional sampler.

Source: Karras et al., NeurIPS 2022, arXiv 2206.00364, algorithms 1 and 2. Variants: ``heun`` (deterministic, 18 steps),
``churned`` (256 steps, noise added before each, with the paper's settings for ImageNet) and ``teacher`` (14 steps, as
in the pairs that students are distilled from).
"""

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
        churn: total S_churn, spread over the steps; at most (sqrt(2) - 1) sigma per step. The paper uses 30 to 80.
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
        "teacher": Config(steps=14),
        "churned": Config(steps=256, churn=40, churn_from=0.05, churn_to=50, churn_inflation=1.003),
    }
    capabilities = Capabilities(observed=False)
    references = ("karras2022edm",)

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        sigmas = self.config.sigmas().tolist()
        # line 2: x_0 ~ N(0, sigma_0² I)
        x = sigmas[0] * noise(prior.shape)
        yield x
        for sigma, sigma_next in pairwise(sigmas):  # line 3
            # lines 4 to 6: raise the noise level
            x, raised = self.perturb(x, sigma, noise)
            # lines 7 to 11: Euler step, second-order correction unless sigma_next = 0
            x = heun(prior, x, raised, sigma_next).x
            yield x

    def perturb(self, x: Tensor, sigma: float, noise: Noise) -> tuple[Tensor, float]:
        """State and level from which a step starts; a churned sampler draws once per step, used or not.

        gamma_i = min(S_churn/N, sqrt(2) - 1) where S_min <= sigma_i <= S_max, else 0.
        """
        if not self.config.churn:
            return x, sigma
        inside = self.config.churn_from <= sigma <= self.config.churn_to
        gamma = min(self.config.churn / self.config.steps, math.sqrt(2) - 1) if inside else 0.0
        return raise_noise(x, sigma, gamma, noise(x.shape[1:]), inflation=self.config.churn_inflation)
