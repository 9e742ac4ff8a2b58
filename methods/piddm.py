"""PIDDM: a one-step student distilled from the prior with the equation on its final samples (arXiv 2505.22391)."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Method, TeacherPairs
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError
from jensenbench.priors.loop import Loop
from methods._losses import excess, observed, residual_loss
from methods._piddm import Distillation, solve_affine
from methods._piddm_settings import Config, Fit
from methods._piddm_student import build_student, kind_of, refusal

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
        "Algorithm 3 returns the student's state; pasting the observations into it is a service for all methods. Data "
        "met to within their noise exert no pull, and noisy data are not pasted into the state whose residual counts.",
        "On exact Gaussian priors, whose flow map is affine, the student is affine and solved for in closed form.",
    )

    def skip(self, problem: Problem) -> str | None:
        if (problem.observation is not None) != self.config.uses_data:
            return "needs observations" if self.config.uses_data else "uses no observations"
        return refusal(self.config.fit, problem)

    def build(self, prior: Denoiser, problem: Problem) -> nn.Module:
        return build_student(self.config.fit, prior)

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
        if kind_of(fit, prior) == "affine":
            return solve_affine(fit, prior, problem, pairs)
        student = build_student(fit, prior, seed=seed).to(data.device).requires_grad_(True)
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
        start = noise(prior.shape)
        if not self.config.steps:
            return fitted(start)
        first = fitted(start) if self.config.anchor else start

        def objective(eps: Tensor, rows: Tensor) -> Tensor:
            part, state = problem.subset(rows.tolist()), fitted(eps)
            distance = ((state - first[rows]) / prior.sigma_data).flatten(1).square().mean(1)
            return state[0].numel() * (self.loss(part, state) + self.config.anchor * distance)

        return fitted(self.config.rule().minimise(objective, start, module=fitted).x)

    def loss(self, problem: Problem, state: Tensor) -> Tensor:
        """(b,): mean square residual, or in algorithm 3 that of the data misfit plus the weighted residual's."""
        if not self.config.uses_data:
            return residual_loss(problem, state, relative=self.config.relative)
        counts = observed(problem).counts().to(state).clamp(min=1)
        judged = problem.correct(state) if self.config.mixed else state
        physics = residual_loss(problem, judged, relative=self.config.relative)
        return (excess(problem, state) / counts).sum(1) + self.config.residual_weight * physics
