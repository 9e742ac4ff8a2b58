"""Physics-constrained flow matching (PCFM): each estimate of x1 is projected onto h = 0 by Gauss–Newton steps.

Source: Utkarsh et al., NeurIPS 2025, arXiv 2506.04171. Variants: ``published`` and ``published_relaxed`` (the authors'
code without and with the penalised interpolation), ``corrected`` (noise of the flow itself, final projection) and
``equation`` (the same, with the residual of the PDE in h).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from jensenbench.core.constraints import joint_violation
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.diffusion.samplers import extrapolate, interpolate
from jensenbench.diffusion.schedules import FlowGrid
from jensenbench.errors import UnknownName, UserError
from jensenbench.numerics.least_norm import Linearised, Map, least_change, least_norm, sequential
from jensenbench.numerics.optim import GradientDescent
from methods._losses import misfit_groups

SOURCES, MODES = ("drawn", "estimated"), ("root", "least_squares")
LEAST_LOOK = 1e-3  # ahead of a state, in time, for the penalty of the last step


@dataclass(frozen=True, kw_only=True)
class Config(FlowGrid):
    """How the estimate of x1 is brought onto h = 0, and mixed with noise again.

    Attributes:
        newton: projection steps w <- w - Jᵀ(JJᵀ + damping I)⁻¹ h(w) on each estimate; one is exact where h is
            linear and nothing is damped.
        mode: "root", or "least_squares", which adds J(x1 - w) to h and yet starts from w, as the code does.
        damping: of the projection; it makes redundant rows of J harmless.
        tolerance, iterations: of its conjugate gradients.
        source: noise to mix with: "drawn", or "estimated": that of the flow itself, x - t v.
        relax: gradient steps of length ``step_size`` from the mixture y on |y - mixture|² + weight |h(y + γ v)|², where
            γ is the time left, at least 0.001; 20 in the code, 0: none.
        final: steps of sequential quadratic programming from the sample to the nearest zero of h; 0 in the code's
            sampler, 3 in the corrected variants.
        equation: whether the PDE's residual is part of h, beside noise-free observations and declared constraints.
    """

    newton: int = 1
    mode: str = "root"
    damping: float = 1e-6
    tolerance: float = 1e-12
    iterations: int = 1000
    source: str = "drawn"
    relax: int = 0
    step_size: float = 0.01
    weight: float = 1.0
    final: int = 0
    equation: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.newton, self.iterations) < 1 or min(self.relax, self.final) < 0:
            raise UserError(
                f"newton = {self.newton}, iterations = {self.iterations}, relax = {self.relax}, final = {self.final}: "
                "the first two must be at least 1, the others at least 0"
            )
        if not (self.damping >= 0 and self.tolerance > 0 and self.weight >= 0 and self.step_size > 0):
            raise UserError(
                f"damping = {self.damping}, tolerance = {self.tolerance}, weight = {self.weight}, step_size = "
                f"{self.step_size}: damping and weight must not be negative, the others positive"
            )
        for name, known in (("source", SOURCES), ("mode", MODES)):
            if getattr(self, name) not in known:
                raise UnknownName(name, getattr(self, name), known)


class PCFM(Iterative):
    """Extrapolates the flow to x1, projects it onto h = 0 by Gauss–Newton steps, interpolates back."""

    name = "pcfm"
    Config = Config
    variants = {
        "corrected": Config(steps=60, times="edm", damping=0.0, source="estimated", final=3),
        "published": Config(steps=100),
        "published_relaxed": Config(steps=100, relax=20),
        "equation": Config(
            steps=30,
            times="edm",
            damping=0.0,
            tolerance=1e-3,
            iterations=60,
            source="estimated",
            final=3,
            equation=True,
        ),
    }
    references = ("utkarsh2025pcfm",)
    capabilities = Capabilities(noisy=False, deterministic=True)
    deviations = (
        "The flow is the shared prior's, an exact change of variables, instead of a network trained by functional "
        "flow matching; the nearest point is nearest in prior coordinates.",
        "h holds observed entries and declared constraints, in units of each field's std; variant `equation` adds the "
        "discrete equation in units of its largest term.",
        "The paper's number of steps is not in the code: variants `published` take 100; `published_relaxed` has the "
        "penalised interpolation that the sampler's signature declares, `published` leaves it out as its entry point.",
        "Variants `corrected` and `equation` mix with the noise that the flow itself implies, not with the first draw, "
        "do not damp, visit the noise levels of EDM, and end in the projection that the code leaves to the caller.",
    )

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        config, h = self.config, self.constraint(problem)
        x = eps = noise(prior.shape)
        constrained = h(x).shape[1] > 0
        yield x
        for t, t_next in pairwise(config.grid().tolist()):
            # forward shooting: x1 = x_t + (1 - t) v
            velocity = prior.velocity(x, t)
            x1 = extrapolate(x, velocity, t)
            # projection of x1 onto h = 0
            if constrained:
                x1 = self.project(h, x1)
            if config.source == "estimated":
                eps = extrapolate(x, velocity, t, end=0.0)
            # reverse update on the straight path: x_t' = (1 - t') eps + t' x1
            x = interpolate(eps, x1, t_next)
            # relaxed correction: penalty of h ahead of x_t'
            if constrained and config.relax:
                x = self.relax(h, x, max(1 - t_next, LEAST_LOOK) * velocity)
            yield x
        # final projection of the sample
        if constrained and config.final:
            yield sequential(h, x, config.final, iterations=config.iterations)

    def constraint(self, problem: Problem) -> Map:
        """h: states (b, C, *grid) to violations (b, m) of size about 1."""
        unit = float(problem.scale[-1])

        def h(x: Tensor) -> Tensor:
            parts = [joint_violation(problem.constraints, problem.decode(x)) / unit]
            if problem.observation is not None:
                parts.append(misfit_groups(problem, x, standard=True).flatten(1))
            if self.config.equation:
                parts += problem.scaled_residual(x).values()
            return torch.cat(parts, 1)

        return h

    def project(self, h: Map, x1: Tensor) -> Tensor:
        """Gauss–Newton steps from the estimate x1 towards h = 0."""
        config, w = self.config, x1
        solver = {"damping": config.damping, "tolerance": config.tolerance, "iterations": config.iterations}
        for _ in range(config.newton):
            if config.mode == "root":
                # w <- w - Jᵀ(JJᵀ + damping I)⁻¹ h(w)
                w = least_change(h, w, **solver)
            else:
                # w <- w - Jᵀ(JJᵀ + damping I)⁻¹ (h(w) + J(x1 - w))
                at = Linearised(h, w)
                w = w + least_norm(at, -at.value - at.jvp(x1 - w), **solver).step
        return w

    def relax(self, h: Map, mixture: Tensor, ahead: Tensor) -> Tensor:
        """Gradient descent on |y - mixture|² + weight |h(y + ahead)|² from y = mixture."""
        config = self.config

        def penalised(y: Tensor, _: Tensor) -> Tensor:
            near = (y - mixture).flatten(1).square().sum(1)
            return near + config.weight * h(y + ahead).square().sum(1)

        return GradientDescent(iterations=config.relax, lr=config.step_size).minimise(penalised, mixture).x
