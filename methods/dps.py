"""Diffusion posterior sampling (DPS): an ancestral sampler guided by the gradient of the data misfit of E[x0 | x_t].

Source: Chung et al., ICLR 2023, arXiv 2209.14687, algorithm 1. Variants: ``published`` (the authors' code),
``inversebench`` (Zheng et al., arXiv 2503.11043), ``corrected`` and ``scaled`` (guidance whose length follows from a
likelihood of the data given x_t, after arXiv 2405.13712 and pseudo-inverse guidance, Song et al. 2023).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.core.settings import require_nonnegative, require_steps, tunable
from jensenbench.diffusion.samplers import AncestralRule, ScaledRule, guide
from jensenbench.diffusion.schedules import Scaled, VPGrid
from jensenbench.errors import UnknownName
from jensenbench.numerics.tensors import per_row
from methods._losses import misfit_groups, observed

VARIANCES = ("measured", "scaled")
OVERSHOOT = 2.0  # a corrected step may change the data by at most this multiple of their misfit


@dataclass(frozen=True, kw_only=True)
class Published(VPGrid):
    """x <- ancestral step - zeta grad ||y - A x0(x)||, where the norm is not squared.

    Attributes:
        zeta: step size; the authors' configurations have 0.5 for inpainting and 0.3 for deblurring of images.
        clip: cut the estimate of x0 to [-1, 1] (images), which also stops the gradient there.
        couple_batch: one norm over the whole batch, as in the code, instead of one per state.
    """

    zeta: float = 0.5
    clip: bool = False
    couple_batch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_nonnegative("zeta", self.zeta)

    def rule(self) -> AncestralRule:
        return AncestralRule(self.schedule())


@dataclass(frozen=True, kw_only=True)
class InverseBench:
    """The same guidance on Euler steps of the reverse SDE or ODE (Zheng et al., arXiv 2503.11043).

    Attributes:
        steps: of the sampler.
        schedule: "vp" or "edm".
        stochastic: SDE instead of ODE.
        beta_d, beta_min, last_time: of the VP schedule.
        sigma_max, rho: of the EDM schedule.
        sigma_end: noise level at which both end.
        zeta, clip, couple_batch: as in :class:`Published`; zeta is 10 in their Navier–Stokes problem.
    """

    steps: int = 1000
    schedule: str = "vp"
    stochastic: bool = True
    beta_d: float = 19.9
    beta_min: float = 0.1
    last_time: float = 1e-3
    sigma_max: float = 100.0
    rho: float = 7.0
    sigma_end: float = 0.01
    zeta: float = 10.0
    clip: bool = False
    couple_batch: bool = False

    def __post_init__(self) -> None:
        require_steps(self.steps)
        require_nonnegative("zeta", self.zeta)
        if self.schedule not in ("vp", "edm"):
            raise UnknownName("schedule", self.schedule, ("vp", "edm"))

    def levels(self) -> Scaled:
        if self.schedule == "edm":
            return Scaled.edm(self.steps, sigma_max=self.sigma_max, sigma_end=self.sigma_end, rho=self.rho)
        return Scaled.vp(
            self.steps, beta_d=self.beta_d, beta_min=self.beta_min, last=self.last_time, sigma_end=self.sigma_end
        )

    def rule(self) -> ScaledRule:
        return ScaledRule(self.levels(), stochastic=self.stochastic)


@dataclass(frozen=True, kw_only=True)
class Corrected(VPGrid):
    """Ancestral steps with :meth:`DPS.posterior_mean` in place of E[x0 | x_t].

    Attributes:
        zeta: factor of the guidance, 1 by derivation; tuning finds values from 1 to 5.
        variance: of the data given x_t, beside their noise: "measured" along the misfit, or "scaled", r² of Song et
            al. (2023) for data of unit variance.
    """

    steps: int = 60
    levels: str = "edm"
    zeta: float = tunable(1.0, 0.1, 10)
    variance: str = "measured"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_nonnegative("zeta", self.zeta)
        if self.variance not in VARIANCES:
            raise UnknownName("variance", self.variance, VARIANCES)


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
        "One norm per state instead of one over the batch; the published sampler runs on batches of one only.",
        "E[x0 | x_t] is not cut to [-1, 1]: fields are not bounded like pixels.",
        "Variant `corrected`: the likelihood of the data given x_t has the variance noise² + sigma² e'AJA'e/e'e, "
        "measured along the misfit e, instead of a fixed step; squared norm; 60 levels of the EDM grid.",
        "Variant `scaled`: the same with the variance r² = sigma²/(sigma² + sigma_data²) of pseudo-inverse guidance, "
        "and a step that goes no further than to zero misfit.",
    )

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        trajectory = self._corrected if isinstance(self.config, Corrected) else self._published
        yield from trajectory(prior, problem, noise)

    def _published(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        """Algorithm 1; the comments give its lines."""
        rule = self.config.rule()
        x = rule.start * noise(prior.shape)  # line 1: x_N ~ N(0, I)
        yield x
        for t in rule.order:  # line 2

            def evaluate(state: Tensor, t: int = t) -> tuple[Tensor, Tensor]:
                denoised = self._clipped(rule.denoise(prior, state, t))  # lines 3 and 4: estimate of x0
                return self._norm(problem, denoised), denoised

            if problem.observation is None:
                x = rule.step(x, self._clipped(rule.denoise(prior, x, t)), t, noise)
            else:
                gradient, denoised = guide(prior, x, evaluate)
                # lines 5 to 7: step of the sampler, then against the gradient of the norm with respect to x_t
                x = rule.step(x, denoised, t, noise) - self.config.zeta * gradient
            yield x

    def _clipped(self, denoised: Tensor) -> Tensor:
        return denoised.clamp(-1, 1) if self.config.clip else denoised

    def _norm(self, problem: Problem, denoised: Tensor) -> Tensor:
        misfit = misfit_groups(problem, denoised, standard=True).flatten(1)
        return torch.linalg.vector_norm(misfit, dim=None if self.config.couple_batch else 1)

    def _corrected(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        rule = AncestralRule(self.config.schedule())
        x = noise(prior.shape)  # x_N ~ N(0, I)
        yield x
        for t in rule.order:
            # estimate of x0: E[x0 | x_t, y], or E[x0 | x_t] without data
            state, sigma = rule.level(x, t)
            mean = (
                prior(state, sigma)
                if problem.observation is None
                else self.posterior_mean(prior, problem, state, sigma)
            )
            # x_{t-1} ~ q(x_{t-1} | x_t, x0) with that estimate
            x = rule.step(x, mean, t, noise)
            yield x

    def posterior_mean(self, prior: Denoiser, problem: Problem, x: Tensor, sigma: float) -> Tensor:
        """E[x0 | x, y] (b, C, *grid) by Tweedie's formula with p(y | x) ~ N(A D, (noise² + r²) I).

        D = E[x0 | x], e = A D - y, J = dD/dx. The result is D - sigma² J'A'e/(noise² + r²), where
        r² = sigma² e'AJA'e/e'e is the variance that A x0 has along e given x, since Cov(x0 | x) = sigma² J
        (arXiv 2405.13712). It is exact for isotropic Gaussian distributions. With scaled variance
        r² = sigma²/(sigma² + sigma_data²), and the step goes no further than to zero misfit.
        """

        def evaluate(state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            denoised = prior(state, sigma)
            misfit = misfit_groups(problem, denoised, standard=True).flatten(1)
            return misfit.square().sum(1) / 2, denoised, misfit

        # J'A'e, the gradient of |e|²/2 through the network
        gradient, denoised, misfit = guide(prior, x, evaluate)
        squares, noise = misfit.square().sum(1), observed(problem).noise_std
        if self.config.variance == "scaled":
            steepness = gradient.square().flatten(1).sum(1)
            reach = squares / torch.where(steepness > 0, steepness, torch.inf)
            length = reach.clamp(max=sigma**2 / (noise**2 + sigma**2 / (sigma**2 + prior.sigma_data**2)))
        else:
            # e'(noise² + r²)e, with A J'A'e from the change of the data along the gradient
            change = misfit - misfit_groups(problem, denoised - gradient, standard=True).flatten(1)
            spread = noise**2 * misfit + sigma**2 * change
            along = (misfit * spread).sum(1).clamp(min=misfit.norm(dim=1) * spread.norm(dim=1) / OVERSHOOT)
            length = sigma**2 * squares / torch.where(along > 0, along, torch.inf)
        return denoised - self.config.zeta * per_row(length, x) * gradient
