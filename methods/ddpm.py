"""Ancestral sampling of denoising diffusion probabilistic models (DDPM); an unconditional sampler.

Source: Ho et al., NeurIPS 2020, arXiv 2006.11239, algorithm 2. Variants: ``published`` (all 1000 levels) and
``ancestral`` (60 of them).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.diffusion.samplers import AncestralRule
from jensenbench.diffusion.schedules import VPGrid


@dataclass(frozen=True, kw_only=True)
class Config(VPGrid):
    """Levels that are visited (:class:`VPGrid`); there are no other settings. 60 steps are a good start."""


class DDPM(Iterative):
    """Ancestral sampler of the prior (VP); uses no observations."""

    name = "ddpm"
    Config = Config
    variants = {"ancestral": Config(steps=60), "published": Config()}
    capabilities = Capabilities(observed=False)
    references = ("ho2020ddpm",)
    deviations = (
        "The network is the shared EDM denoiser at sigma = sqrt((1 - abar)/abar), an exact change of variables, "
        "instead of a network trained to predict the noise.",
        "Variant `ancestral` visits 60 of the 1000 levels.",
    )

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        rule = AncestralRule(self.config.schedule())
        # line 1: x_T ~ N(0, I)
        x = noise(prior.shape)
        yield x
        for t in rule.order:  # line 2
            # lines 3 and 4: x_{t-1} ~ q(x_{t-1} | x_t, x0) with the estimate of x0 (eq. 7 and 15)
            x = rule.step(x, rule.denoise(prior, x, t), t, noise)
            yield x
