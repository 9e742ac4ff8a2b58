"""DiffusionPDE (Huang et al., NeurIPS 2024, arXiv 2406.17763), as its code runs it, and corrected."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.diffusion.samplers import guide, heun
from jensenbench.numerics.tensors import per_row
from methods._detached import Detached
from methods._diffusionpde_settings import Config
from methods._losses import any_positive, excess, group_weights, misfit_groups


class DiffusionPDE(Iterative):
    """Heun's sampler, guided through both network calls of a step by data misfit and equation residual."""

    name = "diffusionpde"
    Config = Config
    variants = {
        "corrected": Config(steps=60, zeta_obs=10, zeta_pde=0.1, scheme="own", squared=True),
        "scaled": Config(
            steps=60, zeta_obs=10, zeta_pde=0.1, switch=0, late_obs=1, scheme="own", squared=True, scaled=True
        ),
        "published": Config(),
        "detached": Detached(),
    }
    capabilities = Capabilities()
    reduces_to = "edm"
    tunes = ("corrected", "scaled")
    references = ("huang2024diffusionpde", "song2023pigdm", "cheng2025eci", "utkarsh2025pcfm")
    deviations = (
        "Variant `published` follows the code: norms are neither squared nor averaged as in the paper, weights are "
        "those of its configuration files, and its normalisers are constants of 128 x 128 grids.",
        "One gradient of the weighted sum instead of three gradients: the same numbers with fewer backward sweeps.",
        "Variant `corrected`: squared losses, the solver's own residual in units of its largest term, steps no longer "
        "than to zero loss, data met to within their noise exert no pull.",
        "Variant `detached` is the baseline that the ECI and PCFM papers print as DiffusionPDE: the pull does not pass "
        "through the network, knows no equation, and diverges on few observations; weighed for a batch of one.",
    )

    def skip(self, problem: Problem) -> str | None:
        if isinstance(self.config, Config) and self.config.zeta_pde and self.config.scheme not in problem.pde.schemes:
            return f"{problem.pde.name} has no residual of scheme {self.config.scheme!r}"
        return super().skip(problem)

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        if isinstance(self.config, Detached):
            yield from self.config.trajectory(prior, problem, noise)
            return
        sigmas = self.config.sigmas().tolist()
        x = sigmas[0] * noise(prior.shape)
        yield x
        for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
            if self.guides(problem, i):
                x, gradient, length = self.guided(prior, problem, x, i)
                x = x - per_row(length, x) * gradient
            else:
                x = heun(prior, x, sigma, sigma_next).x
            yield x

    def late(self, i: int) -> bool:
        """Whether step i is past the switch, which itself counts as early."""
        return i > self.config.switch * self.config.steps

    def guides(self, problem: Problem, i: int) -> bool:
        """Whether any loss acts in step i."""
        data = problem.observation is not None and any_positive(self.config.zeta_obs)
        return data or (self.late(i) and self.config.zeta_pde > 0)

    def guided(self, prior: Denoiser, problem: Problem, x: Tensor, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """Heun's next state, the gradient of the loss of step i with respect to x, and its length (b,)."""
        sigma, sigma_next = self.config.sigmas()[i : i + 2].tolist()
        spread = self.config.spread(sigma, prior.sigma_data)

        def evaluate(state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            step = heun(prior, state, sigma, sigma_next)
            loss = self.loss(problem, step.denoised, i, spread)
            return loss, loss, step.x

        gradient, loss, stepped = guide(prior, x, evaluate)
        return stepped, gradient, self.length(loss, gradient, self.config.reach(sigma, sigma_next))

    def length(self, loss: Tensor, gradient: Tensor, reach: float) -> Tensor:
        """``reach``, or less where it would overshoot: Polyak's 2L/|g|² takes a linear model of sqrt(L) to zero."""
        if not self.config.squared:
            return torch.full_like(loss, reach)
        steepness = gradient.square().flatten(1).sum(1)
        return (2 * loss / torch.where(steepness > 0, steepness, torch.inf)).clamp(max=reach)

    def loss(self, problem: Problem, estimate: Tensor, i: int, spread: float = 1.0) -> Tensor:
        """Weighted loss (b,) of the estimate of x0 in step i, whose variance is ``spread`` where losses are scaled."""
        total = estimate.new_zeros(len(estimate))
        if problem.observation is not None:
            data = self.data_loss(problem, estimate)
            factor = self.config.late_obs if self.late(i) else 1.0
            variance = spread + problem.observation.noise_std**2 if self.config.scaled else 1.0
            total = total + data @ (factor / variance * group_weights(self.config.zeta_obs, data))
        if self.late(i) and self.config.zeta_pde:
            total = total + self.config.zeta_pde / spread * self.equation_loss(problem, estimate)
        return total

    def data_loss(self, problem: Problem, estimate: Tensor) -> Tensor:
        """(b, g): norm of each group's misfit, or half its square beyond what the noise explains."""
        if self.config.squared:
            return excess(problem, estimate) / 2
        norms = torch.linalg.vector_norm(misfit_groups(problem, estimate, standard=False), dim=2)
        return norms / self.config.obs_normaliser

    def equation_loss(self, problem: Problem, estimate: Tensor) -> Tensor:
        """(b,): norm of the residual, or half its square in units of the equation's largest term."""
        residual = problem.residual(estimate, self.config.scheme)["interior"].flatten(1)
        if not self.config.squared:
            return torch.linalg.vector_norm(residual, dim=1) / self.config.pde_normaliser
        return (residual / problem.term_scale).square().sum(1) / 2
