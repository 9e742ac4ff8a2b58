"""DiffusionPDE: Heun's sampler guided by the data misfit and, late, by the residual of the PDE.

Source: Huang et al., NeurIPS 2024, arXiv 2406.17763, algorithm 1. Variants: ``published`` (as the authors' code runs
it), ``corrected`` (squared losses, the solver's own residual), ``scaled`` (the same, over the variance of the data
given x_t) and ``detached`` (the baseline that the ECI and PCFM papers print under this name).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.core.settings import require_nonnegative, tunable
from jensenbench.diffusion.samplers import extrapolate, guide, heun
from jensenbench.diffusion.schedules import EDMGrid, FlowGrid
from jensenbench.errors import UserError
from jensenbench.numerics.autograd import gradient_of
from jensenbench.numerics.tensors import per_row
from methods._losses import excess, misfit_groups, missing_scheme, observed


@dataclass(frozen=True, kw_only=True)
class Config(EDMGrid):
    """Weights and form of the losses on top of Heun's sampler.

    Attributes:
        zeta_obs: weight of the data misfit, one number or one for each field. Squared losses: 10 is a good start, and
            values from 3 to 30 do as well.
        zeta_pde: weight of the equation's residual, used after the share ``switch`` of the steps. Squared losses: 0.01
            to 1.
        late_obs: factor of ``zeta_obs`` from then on.
        obs_normaliser, pde_normaliser: constants by which the norms are divided.
        scheme: residual that guides.
        squared: half squared norms of data in field stds and of the residual in units of the equation's
            largest term (their means times the number of entries, so that weights hold on any grid),
            instead of norms in physical units; a step then goes no further than to zero loss.
        scaled: squared losses over the variance that the data have given x_t, and a step as long as that of the
            probability flow with the likelihood's score.
    """

    steps: int = 2000
    zeta_obs: float | tuple[float, ...] = tunable(1.0, 0.1, 100)
    zeta_pde: float = tunable(1.0, 1e-3, 10)
    switch: float = 0.8
    late_obs: float = 0.1
    obs_normaliser: float = 1.0
    pde_normaliser: float = 16384.0
    scheme: str = "diffusionpde"
    squared: bool = False
    scaled: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("zeta_obs", "zeta_pde", "switch", "late_obs"):
            require_nonnegative(name, getattr(self, name))
        if self.obs_normaliser <= 0 or self.pde_normaliser <= 0:
            raise UserError(f"normalisers {self.obs_normaliser}, {self.pde_normaliser} must be positive")
        if self.scaled and not self.squared:
            raise UserError("scaled losses are squared ones: set squared: true")

    def spread(self, sigma: float, sigma_data: float) -> float:
        """r² = sigma²/(sigma² + sigma_data²), variance of x0 given x_t over its own (Song et al. 2023); 1 unscaled."""
        return sigma**2 / (sigma**2 + sigma_data**2) if self.scaled else 1.0

    def reach(self, sigma: float, sigma_next: float) -> float:
        """Factor of the gradient: sigma² of Tweedie's formula times the step's share of the noise; 1 unscaled."""
        return sigma * (sigma - sigma_next) if self.scaled else 1.0


@dataclass(frozen=True, kw_only=True)
class Detached(FlowGrid):
    """Euler steps along the flow, guided on the observed entries by a gradient that does not pass through the network.

    x <- x + v dt - zeta_obs grad of the mean squared misfit of x + (1-t) v with respect to that estimate, where v is
    the mean of the velocities of x at both ends of the step. The weight is constant in time, there is no equation
    term, and it diverges where zeta_obs exceeds the number of observed entries (arXiv 2412.01786, public code).

    Attributes:
        zeta_obs: weight of the mean squared misfit in prior coordinates, where fields have the std ``sigma_data``;
            200 in that code.
        couple_batch: divide by the size of the batch too, as the code does: it prints results for 256 states.
    """

    zeta_obs: float = 200.0
    couple_batch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_nonnegative("zeta_obs", self.zeta_obs)


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
        "than to zero loss; data that are met to within their noise have no gradient.",
        "Variant `detached` is the baseline that the ECI and PCFM papers print as DiffusionPDE: its gradient does not "
        "pass through the network, it has no equation term, and it diverges on few observations; its weight is that "
        "for a batch of one.",
    )

    def skip(self, problem: Problem) -> str | None:
        uses_equation = isinstance(self.config, Config) and self.config.zeta_pde > 0
        return (missing_scheme(problem, self.config.scheme) if uses_equation else None) or super().skip(problem)

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        trajectory = self._detached if isinstance(self.config, Detached) else self._guided
        yield from trajectory(prior, problem, noise)

    def _guided(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        """Algorithm 1."""
        sigmas = self.config.sigmas().tolist()
        # sample x_0 ~ N(0, sigma_0² I)
        x = sigmas[0] * noise(prior.shape)
        yield x
        for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
            if self.guides(problem, i):
                # Heun step, then against the gradient of L = zeta_obs L_obs + zeta_pde L_pde with respect to x_i
                x, gradient, length = self.guided(prior, problem, x, i)
                x = x - per_row(length, x) * gradient
            else:
                # Heun step alone
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
        """Heun's next state, the gradient of the loss of step i with respect to x, and its factor (b,)."""
        sigma, sigma_next = self.config.sigmas()[i : i + 2].tolist()
        spread = self.config.spread(sigma, prior.sigma_data)

        def evaluate(state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            # Euler step, second-order correction; the estimate of x0 is the last output of the network
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
        # zeta_obs L_obs, times 0.1 after the switch
        if problem.observation is not None:
            data = self.data_loss(problem, estimate)
            factor = self.config.late_obs if self.late(i) else 1.0
            variance = spread + problem.observation.noise_std**2 if self.config.scaled else 1.0
            total = total + data @ (factor / variance * group_weights(self.config.zeta_obs, data))
        # zeta_pde L_pde, after the switch alone
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

    def _detached(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        """The baseline of the ECI and PCFM repositories."""
        x = noise(prior.shape)  # x_0 ~ N(0, I)
        yield x
        for t, t_next in pairwise(self.config.grid().tolist()):
            # mean velocity of the same state at both times
            velocity = prior.velocity(x, t)
            if t_next < 1:
                velocity = (velocity + prior.velocity(x, t_next)) / 2
            # gradient of the misfit of the estimate of x1, with respect to that estimate
            gradient = prior.sigma_data**2 * self.detached_gradient(problem, extrapolate(x, velocity, t))
            # Euler step, then against the gradient
            x = extrapolate(x, velocity, t, end=t_next) - self.config.zeta_obs * gradient
            yield x

    def detached_gradient(self, problem: Problem, estimate: Tensor) -> Tensor | float:
        """Gradient of the mean squared misfit of the estimate of x1, in units of each field's std; 0 without data."""
        if problem.observation is None:
            return 0.0
        count = observed(problem).counts().to(estimate).sum(1).clamp(min=1)
        if self.config.couple_batch:
            count = count * len(estimate)

        def evaluate(x: Tensor) -> tuple[Tensor]:
            return (misfit_groups(problem, x, standard=True).square().flatten(1).sum(1),)

        return gradient_of(None, estimate, evaluate)[0] / per_row(count, estimate)


def group_weights(value: float | Sequence[float], groups: Tensor) -> Tensor:
    """(g,) weights of the groups of data (b, g); one number serves all. Raises UserError on another count."""
    weights = torch.as_tensor(value, dtype=groups.dtype, device=groups.device)
    if weights.ndim and len(weights) != groups.shape[1]:
        given, groups_count = tuple(weights.tolist()), groups.shape[1]
        raise UserError(f"weights {given} for {groups_count} groups of data: give one number, or {groups_count}")
    return weights.expand(groups.shape[1])


def any_positive(value: float | Sequence[float]) -> bool:
    """Whether a weight, or one of several, is above 0."""
    return max(value) > 0 if isinstance(value, Sequence) else value > 0
