"""D-Flow: optimise the noise from which the flow starts, by gradients through all steps of the solver.

Source: Ben-Hamu et al., ICML 2024, arXiv 2402.14017, algorithm 1. Variants: ``published`` (the version in the ECI
repository) and ``corrected`` (line search, data met to within their noise, Heun's method on EDM noise levels).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Method
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.core.settings import require_nonnegative, tunable
from jensenbench.diffusion.samplers import FLOW_STEPS
from jensenbench.diffusion.schedules import FlowGrid
from jensenbench.errors import Diverged, UnknownName, UserError
from jensenbench.numerics.least_norm import least_change
from jensenbench.numerics.optim import LBFGS, Iterate
from methods._losses import excess, misfit_groups, missing_scheme

INVERSION = 100  # conjugate gradients for the state from which the inverted noise comes


@dataclass(frozen=True, kw_only=True)
class Config(FlowGrid):
    """Loss of a noise z: squared misfit and residual at the end of its flow, and a penalty of its norm.

    Attributes:
        solver: "euler", "midpoint" or "heun".
        iterations, lr, history, line_search, couple_batch: of L-BFGS; coupled, the whole batch is one problem. Good
            with a line search: lr = 1 and about 30 iterations.
        target: a batch element whose loss is not above this stops; None: no such stop.
        zeta_obs: weight of the squared misfit in units of each field's standard deviation.
        within_noise: leave out of it what the noise of the data explains.
        zeta_pde: weight of the squared residual, in units of the equation's largest term; 0 in the published form.
        scheme: residual that is minimised.
        zeta_norm: weight of -log p(|z|) = |z|²/2 - (d-1) log|z|, the chi distribution of the norm of d normal numbers.
        blend: alpha, the start is sqrt(alpha) times the noise to which the data lead by the inverse flow, plus
            sqrt(1 - alpha) times drawn noise.
        checkpoint: keep the state of each step alone and compute the step again for its gradient: less memory,
            more evaluations, the same numbers.
    """

    steps: int = 100
    solver: str = "euler"
    iterations: int = 20
    lr: float = 0.1
    history: int = 100
    line_search: bool = False
    couple_batch: bool = False
    target: float | None = None
    zeta_obs: float = 1.0
    within_noise: bool = False
    zeta_pde: float = tunable(0.0, 1e-4, 1)
    scheme: str = "own"
    zeta_norm: float = tunable(0.0, 1e-4, 1)
    blend: float = 0.0
    checkpoint: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("zeta_obs", "zeta_pde", "zeta_norm"):
            require_nonnegative(name, getattr(self, name))
        if self.solver not in FLOW_STEPS:
            raise UnknownName("solver", self.solver, FLOW_STEPS)
        if not 0 <= self.blend <= 1:
            raise UserError(f"blend = {self.blend}: the share of the inverted noise must lie in [0, 1]")
        self.optimiser()

    def optimiser(self) -> LBFGS:
        return LBFGS(
            iterations=self.iterations, lr=self.lr, history=self.history, line_search=self.line_search,
            couple_batch=self.couple_batch, target=-math.inf if self.target is None else self.target,
        )  # fmt: skip


class DFlow(Method):
    """Minimises data misfit and residual of the flow's end over its start, through all steps of the solver."""

    name = "dflow"
    Config = Config
    variants = {
        "corrected": Config(
            steps=15, times="edm", solver="heun", checkpoint=True,
            iterations=31, lr=1.0, line_search=True, within_noise=True,
        ),
        "published": Config(),
    }  # fmt: skip
    capabilities = Capabilities(residual_of="sample")
    tunes = ("corrected",)
    references = ("benhamu2024dflow", "cheng2025eci")
    deviations = (
        "No code of the authors is public; variant `published` is the version of the ECI repository, against which "
        "ECI and PCFM compare: Euler, L-BFGS with lr 0.1 and 20 iterations, no line search, no regulariser.",
        "The flow is the shared prior's, an exact change of variables; misfits are in units of each field's standard "
        "deviation; every batch element has its own L-BFGS instead of one for the batch.",
        "Variant `corrected`: a strong-Wolfe line search, data met to within their noise, and 15 steps of Heun's "
        "method on EDM noise levels, which give states the prior's spread to 3 % (three Euler steps gave 0.4 of it); "
        "29 evaluations each time, so that it costs many times what the other methods do.",
    )

    def skip(self, problem: Problem) -> str | None:
        reason = missing_scheme(problem, self.config.scheme) if self.config.zeta_pde else None
        return reason or super().skip(problem)

    @torch.no_grad()
    def sample(self, prior: Denoiser, problem: Problem, noise: Noise, *, fitted: nn.Module | None = None) -> Tensor:
        # draw the noise z
        z = noise(prior.shape)
        # minimise the loss of z
        if self.aims(problem):
            *_, (z, _) = self.iterates(prior, problem, z)
        # solve the flow from the optimum
        state = self.flow(prior, z)
        if not torch.isfinite(state).all():
            raise Diverged("dflow: the final state is NaN or infinite")
        return state

    def aims(self, problem: Problem) -> bool:
        """Whether anything but the norm of the noise is to be optimised."""
        return self.config.zeta_pde > 0 or (self.config.zeta_obs > 0 and problem.observation is not None)

    def iterates(self, prior: Denoiser, problem: Problem, noise: Tensor) -> Iterator[Iterate]:
        """Noises and their losses, from the start to the optimum, for drawn ``noise`` (b, C, *grid)."""

        def objective(z: Tensor, rows: Tensor) -> Tensor:
            part = problem if len(rows) == len(noise) else problem.subset(rows.tolist())
            return self.loss(part, z, self.flow(prior, z))

        yield from self.config.optimiser().iterates(objective, self.start(prior, problem, noise), module=prior.module)

    def flow(self, prior: Denoiser, x: Tensor, *, backward: bool = False) -> Tensor:
        """The end of the flow that starts at noise x, or with ``backward`` the noise that leads to the state x."""
        step, times = FLOW_STEPS[self.config.solver], self.config.grid().tolist()
        for t, t_next in pairwise(times[::-1] if backward else times):
            if self.config.checkpoint and x.requires_grad:
                x = checkpoint(step, prior.velocity, x, t, t_next, use_reentrant=False, preserve_rng_state=False)
            else:
                x = step(prior.velocity, x, t, t_next)
        return x

    def loss(self, problem: Problem, z: Tensor, state: Tensor) -> Tensor:
        """(b,): loss of the noise z whose flow ends in ``state``."""
        config, total = self.config, z.new_zeros(len(z))
        # zeta_obs |misfit|²
        if config.zeta_obs and problem.observation is not None:
            squares = misfit_groups(problem, state, standard=True).square().sum(2)
            total = total + config.zeta_obs * (excess(problem, state) if config.within_noise else squares).sum(1)
        # zeta_pde |residual|²
        if config.zeta_pde:
            parts = problem.scaled_residual(state, config.scheme).values()
            total = total + config.zeta_pde * torch.stack([part.square().sum(1) for part in parts]).sum(0)
        # zeta_norm times the negative log density of |z|
        if config.zeta_norm:
            total = total + config.zeta_norm * norm_penalty(z)
        return total

    def start(self, prior: Denoiser, problem: Problem, noise: Tensor) -> Tensor:
        """Drawn noise, blended with that of the state nearest to the prior's mean that meets the data."""
        if not self.config.blend or problem.observation is None:
            return noise
        mean = prior(torch.zeros_like(noise), math.inf)
        state = least_change(lambda x: problem.misfit(x).flatten(1), mean, iterations=INVERSION)
        return self.config.blend**0.5 * self.flow(prior, state, backward=True) + (1 - self.config.blend) ** 0.5 * noise


def norm_penalty(z: Tensor) -> Tensor:
    """(b,): |z|²/2 - (d-1) log|z|, up to a constant the negative log density of the norm of d normal entries."""
    norm = torch.linalg.vector_norm(z.flatten(1), dim=1)
    return norm.square() / 2 - (z[0].numel() - 1) * norm.log()
