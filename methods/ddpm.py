"""Ancestral sampling of denoising diffusion models (Ho et al., arXiv 2006.11239)."""

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
    """The grid is all there is to set."""


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
        x = noise(prior.shape)
        yield x
        for t in rule.order:
            x = rule.step(x, rule.denoise(prior, x, t), t, noise)
            yield x
