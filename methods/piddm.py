"""PIDDM: a one-step student, distilled from the prior with the PDE residual of its own final samples.

Source: Zhang and Zou, "Physics-informed distillation of diffusion models", arXiv 2505.22391: eq. 8 (distillation),
algorithm 2 (refinement of the noise), algorithm 3 (observations). Variants: ``one_step`` (with other weights of the
residual in training ``distilled``, ``strong`` and ``balanced``), ``refined``, ``refined_plain`` and
``refined_anchored`` (algorithm 2), ``algorithm3`` and ``algorithm3_unmixed``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Method, TeacherPairs
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.core.settings import configure, require_nonnegative, tunable
from jensenbench.errors import UnknownName, UserError
from jensenbench.numerics.autograd import gradient_ratio
from jensenbench.numerics.optim import Adam, GradientDescent, Optimiser
from jensenbench.numerics.random import generator_of
from jensenbench.priors.backbones.build import BACKBONES, find_backbone
from jensenbench.priors.loop import Loop, LoopSettings
from jensenbench.priors.pairs import PairSettings
from jensenbench.priors.students import AFFINE_LIMIT, AffineStudent, affine_regression, build_student, student_kind
from jensenbench.priors.symmetries import PairSymmetry
from methods._losses import mean_excess, residual_loss

STUDENTS = ("auto", "teacher", "affine", *BACKBONES)
BALANCES = ("fixed", "gradients")
OPTIMISERS = ("adam", "gradient")


@dataclass(frozen=True, kw_only=True)
class Fit(LoopSettings):
    """Distillation: mean((d - x0)/sigma_data)² + lambda mean(R(d)/term)² over pairs (arXiv 2505.22391, eq. 8).

    Attributes:
        pairs: of noise and teacher state; with several rounds, the pairs are renewed every steps/rounds steps.
        student: ``teacher`` (the prior's network at sigma_max), ``affine`` (solved for, not trained), a backbone's
            name (from scratch), or ``auto``: teacher where the prior has a network, affine for an exact Gaussian
            prior, mlp for other exact ones (toys).
        backbone: settings of a backbone from scratch.
        residual_weight: lambda_train; 0.1 is the default, 1 the strong variant.
        balance: ``fixed``, or ``gradients``: the weight times |grad of the first term|/|grad of the second|.
        warm_up: share of the steps over which the weight rises from 0.
        augment: apply a random symmetry of the equation to noise and state where that is exact for both.
        autocast: of training; see :func:`jensenbench.priors.network.network_precision`.
    """

    lr: float = 1.5e-3
    pairs: PairSettings = field(default_factory=PairSettings)
    student: str = "auto"
    backbone: Mapping[str, Any] = field(default_factory=dict)
    residual_weight: float = 0.1
    balance: str = "fixed"
    warm_up: float = 0.3
    augment: bool = True
    autocast: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_nonnegative("residual_weight", self.residual_weight)
        for name, known in (("student", STUDENTS), ("balance", BALANCES)):
            if getattr(self, name) not in known:
                raise UnknownName(name, getattr(self, name), known)
        if not 0 <= self.warm_up <= 1:
            raise UserError(f"warm_up = {self.warm_up} must be a share of the steps, from 0 to 1")
        if self.student in BACKBONES:
            configure(f"{self.student} setting", find_backbone(self.student).settings, self.backbone)
        elif self.backbone:
            raise UserError(f"student {self.student!r} takes no settings of a backbone, got {dict(self.backbone)}")

    def weight(self, step: int) -> float:
        """lambda_train at a step of the warm-up or later."""
        return self.residual_weight * min(1.0, (step + 1) / max(1.0, self.warm_up * self.steps))

    def build(self, prior: Denoiser, *, seed: int = 0) -> nn.Module:
        """The student at its start."""
        kind = student_kind(self.student, prior)
        return build_student(kind, prior, self.backbone, autocast=self.autocast, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The student's training, and how its noise is optimised afterwards.

    Attributes:
        fit: of the student.
        uses_data: algorithm 3 (observed tasks) instead of sampling without observations.
        steps: K, of the optimiser of the noise; 0: the student's state as it is.
        optimiser: "adam", or "gradient": plain descent.
        lr: length of a step, in units of the white noise; Adam: 0.02 to 0.07, plain descent: 1e-4.
        residual_weight: lambda_infer, of the residual beside the data in algorithm 3; 0.05 to 0.4.
        mixed: the residual there is that of the state with the observations pasted in, unless they are noisy.
        anchor: weight mu of the mean square distance from the first state, in units of sigma_data.
        relative: residuals in units of the state's own largest term.
    """

    fit: Fit = field(default_factory=Fit)
    uses_data: bool = False
    steps: int = 0
    optimiser: str = "adam"
    lr: float = tunable(0.02, 1e-3, 0.1)
    residual_weight: float = tunable(0.1, 0.01, 10)
    mixed: bool = True
    anchor: float = 0.0
    relative: bool = False

    def __post_init__(self) -> None:
        if self.steps < 0 or (self.uses_data and not self.steps):
            raise UserError(f"steps = {self.steps}: must not be negative, and positive where data are used")
        require_nonnegative("residual_weight", self.residual_weight)
        require_nonnegative("anchor", self.anchor)
        if self.optimiser not in OPTIMISERS:
            raise UnknownName("optimiser", self.optimiser, OPTIMISERS)
        self.rule()

    def rule(self) -> Optimiser:
        """The optimiser of the noise."""
        kind = Adam if self.optimiser == "adam" else GradientDescent
        return kind(iterations=max(1, self.steps), lr=self.lr)


ONE, REFINED, GUIDED = Config(), Config(steps=100), Config(uses_data=True, steps=100)


class PIDDM(Method):
    """A student maps noise to a state in one step; refinement and data act on its noise."""

    name = "piddm"
    Fit = Fit
    Config = Config
    variants = {
        "one_step": ONE,
        "distilled": replace(ONE, fit=Fit(residual_weight=0)),
        "strong": replace(ONE, fit=Fit(residual_weight=1)),
        "balanced": replace(ONE, fit=Fit(balance="gradients")),
        "refined": REFINED,
        "refined_plain": replace(REFINED, optimiser="gradient", lr=1e-4),
        "refined_anchored": replace(REFINED, relative=True, anchor=1, lr=0.005),
        "algorithm3": GUIDED,
        "algorithm3_unmixed": replace(GUIDED, mixed=False),
    }
    capabilities = Capabilities(trains=True, residual_of="sample")
    tunes = ("refined", "refined_anchored", "algorithm3", "algorithm3_unmixed")
    references = ("zhang2025piddm",)
    deviations = (
        "No code is public: step counts, weights, learning rates, schedule and student are ours.",
        "Residuals are in units of the equation's largest term, data misfits in field standard deviations, both as "
        "mean squares; a step of plain descent is lr times the gradient of their sum times the number of unknowns.",
        "Algorithm 3 returns the student's state; pasting the observations into it is a post-processing for all "
        "methods. Data that are met to within their noise have no gradient, and noisy data are not pasted into the "
        "state whose residual counts.",
        "On exact Gaussian priors, whose flow map is affine, the student is affine and solved for in closed form.",
    )

    def skip(self, problem: Problem) -> str | None:
        if (problem.observation is not None) != self.config.uses_data:
            return "needs observations" if self.config.uses_data else "uses no observations"
        fit, pde = self.config.fit, problem.pde
        if fit.student == "affine" and fit.residual_weight and not pde.affine():
            return f"an affine student is solved for in closed form, which the residual of {pde.name} does not allow"
        if fit.student == "affine" and prod(pde.shape) > AFFINE_LIMIT:
            return f"an affine student of {prod(pde.shape)} unknowns is too large (limit {AFFINE_LIMIT})"
        return None

    def build(self, prior: Denoiser, problem: Problem) -> nn.Module:
        return self.config.fit.build(prior)

    def fit(
        self,
        prior: Denoiser,
        problem: Problem,
        data: Tensor,
        *,
        state_dir: Path,
        seed: int,
        pairs: TeacherPairs | None = None,
    ) -> nn.Module:
        fit = self.config.fit
        if pairs is None:
            raise UserError("piddm learns from teacher pairs: run the stage `pairs`")
        if student_kind(fit.student, prior) == "affine":
            return solve_affine(fit, prior, problem, pairs)
        student = fit.build(prior, seed=seed).to(data.device).requires_grad_(True)
        loss = Distillation(fit, prior, problem, pairs, seed=seed, device=data.device)
        loop = Loop(
            student, loss, fit, identity=[pairs.digest, problem.pde.label, problem.codec.state(), seed],
            sources=("methods.piddm", f"pdes.{problem.pde.name}"), state_dir=state_dir,
            label=f"fit piddm {problem.pde.label}", device=data.device,
        )  # fmt: skip
        return loop.run()

    @torch.no_grad()
    def sample(self, prior: Denoiser, problem: Problem, noise: Noise, *, fitted: nn.Module | None = None) -> Tensor:
        if fitted is None:
            raise UserError("piddm samples with its student: run the stage `fit`")
        # one step: x = d(eps) with eps ~ N(0, I)
        start = noise(prior.shape)
        if not self.config.steps:
            return fitted(start)
        first = fitted(start) if self.config.anchor else start

        # algorithms 2 and 3: descend the loss of d(eps) over eps
        def objective(eps: Tensor, rows: Tensor) -> Tensor:
            part, state = problem.subset(rows.tolist()), fitted(eps)
            distance = ((state - first[rows]) / prior.sigma_data).flatten(1).square().mean(1)
            return state[0].numel() * (self.loss(part, state) + self.config.anchor * distance)

        # the sample is d of the last noise
        return fitted(self.config.rule().minimise(objective, start, module=fitted).x)

    def loss(self, problem: Problem, state: Tensor) -> Tensor:
        """(b,): mean square residual, or in algorithm 3 that of the data misfit plus the weighted residual's."""
        # algorithm 2: |R(d)|²
        if not self.config.uses_data:
            return residual_loss(problem, state, relative=self.config.relative)
        # algorithm 3: |(d - x')M|² + lambda_infer |R(x_mix)|², where x_mix is d with the data x' on their mask M
        checked = problem.correct(state) if self.config.mixed else state
        physics = residual_loss(problem, checked, relative=self.config.relative)
        return mean_excess(problem, state) + self.config.residual_weight * physics


class Distillation:
    """The loss of a training step (eq. 8); batches are functions of (seed, step) alone."""

    def __init__(
        self, fit: Fit, prior: Denoiser, problem: Problem, pairs: TeacherPairs, *, seed: int, device: torch.device
    ):
        self._fit, self._problem, self._seed, self._unit = fit, problem, seed, prior.sigma_data
        self._symmetry = PairSymmetry(problem, device) if fit.augment else None
        self._round = cache(lambda number: [part.to(device) for part in pairs.round(number)])

    def __call__(self, student: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor | float]]:
        noise, states = self.batch(step)
        # first term: |d(eps) - x0|²
        made = student(noise)
        match = ((made - states) / self._unit).square().mean()
        if not self._fit.residual_weight:
            return match, {"match": match.detach()}
        # second term: lambda_train |R(d(eps))|²
        physics, weight = residual_loss(self._problem, made).mean(), self._fit.weight(step)
        if self._fit.balance == "gradients":
            weight = weight * gradient_ratio(match, physics, [w for w in student.parameters() if w.requires_grad])
        return match + weight * physics, {"match": match.detach(), "physics": physics.detach(), "weight": weight}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Noise and teacher states (b, C, *grid) of one step, float32."""
        fit, source = self._fit, generator_of((self._seed, "piddm", step))
        index = torch.randint(fit.pairs.count, (fit.batch,), generator=source)
        chance = torch.rand(fit.batch, generator=source)
        noise, states = (part[index.to(part.device)] for part in self._round(step * fit.pairs.rounds // fit.steps))
        return (noise, states) if self._symmetry is None else self._symmetry(noise, states, chance)


@torch.no_grad()
def solve_affine(fit: Fit, prior: Denoiser, problem: Problem, pairs: TeacherPairs) -> AffineStudent:
    """The affine student that minimises eq. 8 over all pairs of all rounds, in closed form.

    Regression gives x0 = W eps + b. As the residual is affine too, R = J x + r, the minimum with it is
    M d = m (W eps + b) - lambda Jᵀ r with M = m I + lambda JᵀJ and m = 1/(n sigma_data²), n unknowns.
    """
    rounds = [pairs.round(number) for number in range(pairs.settings.rounds)]
    noise, states = (torch.cat(part).flatten(1).double() for part in zip(*rounds, strict=True))
    solution = affine_regression(noise, states)
    if fit.residual_weight:
        solution = _with_residual(solution, problem, fit.residual_weight, 1 / (len(solution) * prior.sigma_data**2))
    return AffineStudent.of(tuple(prior.shape), solution)


def _with_residual(solution: Tensor, problem: Problem, weight: float, unit: float) -> Tensor:
    identity = torch.eye(len(solution), dtype=solution.dtype).reshape(-1, *problem.pde.shape)
    rest, along = (_residual_entries(problem, x) for x in (torch.zeros_like(identity[:1]), identity))
    jacobian = (along - rest).T
    right = unit * solution
    right[:, -1] -= weight * jacobian.T @ rest[0]
    matrix = weight * jacobian.T @ jacobian
    matrix.diagonal().add_(unit)
    return torch.linalg.solve(matrix, right)


def _residual_entries(problem: Problem, x: Tensor) -> Tensor:
    """(b, m) entries whose squares sum up to :func:`residual_loss`."""
    return torch.cat([part / part.shape[1] ** 0.5 for part in problem.scaled_residual(x).values()], 1)
