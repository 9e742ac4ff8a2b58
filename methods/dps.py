"""Diffusion posterior sampling (Chung et al., arXiv 2209.14687), as published, as in InverseBench, and corrected."""

from collections.abc import Iterator

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.diffusion.samplers import AncestralRule, guide
from jensenbench.numerics.tensors import per_row
from methods._dps_settings import Corrected, InverseBench, Published
from methods._losses import misfit_groups, observed

OVERSHOOT = 2.0  # a corrected step may change the data by at most this multiple of their misfit


class DPS(Iterative):
    """Guides an ancestral or SDE sampler by the gradient of the data misfit of E[x0 | x_t]."""

    name = "dps"
    Config = Published
    variants = {
        "corrected": Corrected(),
        "scaled": Corrected(variance="scaled"),
        "published": Published(),
        "inversebench": InverseBench(),
    }
    capabilities = Capabilities()
    reduces_to = "ddpm"
    tunes = ("corrected", "scaled")
    references = ("chung2023dps", "zheng2025inversebench", "rozet2024moment", "song2023pigdm")
    deviations = (
        "The misfit is in units of each field's standard deviation instead of pixel values in [-1, 1].",
        "One norm a state instead of one over the batch; the published sampler runs on batches of one only.",
        "E[x0 | x_t] is not cut to [-1, 1]: fields are not bounded like pixels.",
        "Variant `corrected`: the likelihood of the data given x_t has the variance noise² + sigma² e'AJA'e/e'e, "
        "measured along the misfit e, instead of a fixed step; squared norm; 60 levels of the EDM grid.",
        "Variant `scaled`: the same with the variance r² = sigma²/(sigma² + sigma_data²) of pseudo-inverse guidance, "
        "and a pull no longer than to zero misfit.",
    )

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        walk = self._corrected if isinstance(self.config, Corrected) else self._published
        yield from walk(prior, problem, noise)

    def _published(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        rule = self.config.rule()
        x = rule.start * noise(prior.shape)
        yield x
        for t in rule.order:

            def evaluate(state: Tensor, t: int = t) -> tuple[Tensor, Tensor]:
                denoised = self._clipped(rule.denoise(prior, state, t))
                return self._norm(problem, denoised), denoised

            if problem.observation is None:
                x = rule.step(x, self._clipped(rule.denoise(prior, x, t)), t, noise)
            else:
                gradient, denoised = guide(prior, x, evaluate)
                x = rule.step(x, denoised, t, noise) - self.config.zeta * gradient
            yield x

    def _clipped(self, denoised: Tensor) -> Tensor:
        return denoised.clamp(-1, 1) if self.config.clip else denoised

    def _norm(self, problem: Problem, denoised: Tensor) -> Tensor:
        misfit = misfit_groups(problem, denoised, standard=True).flatten(1)
        return torch.linalg.vector_norm(misfit, dim=None if self.config.couple_batch else 1)

    def _corrected(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        rule = AncestralRule(self.config.schedule())
        x = noise(prior.shape)
        yield x
        for t in rule.order:
            state, sigma = rule.level(x, t)
            mean = (
                prior(state, sigma)
                if problem.observation is None
                else self.posterior_mean(prior, problem, state, sigma)
            )
            x = rule.step(x, mean, t, noise)
            yield x

    def posterior_mean(self, prior: Denoiser, problem: Problem, x: Tensor, sigma: float) -> Tensor:
        """E[x0 | x, y] by Tweedie's formula with p(y | x) ~ N(A D, (noise² + r²) I), e = A D - y, J = dD/dx.

        D - sigma² J'A'e/(noise² + r²), where r² = sigma² e'AJA'e/e'e is the variance that A x0 has
        along e given x, since Cov(x0 | x) = sigma² J (arXiv 2405.13712). Exact for isotropic laws. With scaled
        variance r² = sigma²/(sigma² + sigma_data²), and the step goes no further than to zero misfit.
        """

        def evaluate(state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            denoised = prior(state, sigma)
            misfit = misfit_groups(problem, denoised, standard=True).flatten(1)
            return misfit.square().sum(1) / 2, denoised, misfit

        gradient, denoised, misfit = guide(prior, x, evaluate)
        squares, noise = misfit.square().sum(1), observed(problem).noise_std
        if self.config.variance == "scaled":
            steepness = gradient.square().flatten(1).sum(1)
            reach = squares / torch.where(steepness > 0, steepness, torch.inf)
            pull = reach.clamp(max=sigma**2 / (noise**2 + sigma**2 / (sigma**2 + prior.sigma_data**2)))
        else:
            change = misfit - misfit_groups(problem, denoised - gradient, standard=True).flatten(1)
            spread = noise**2 * misfit + sigma**2 * change
            along = (misfit * spread).sum(1).clamp(min=misfit.norm(dim=1) * spread.norm(dim=1) / OVERSHOOT)
            pull = sigma**2 * squares / torch.where(along > 0, along, torch.inf)
        return denoised - self.config.zeta * per_row(pull, x) * gradient
