"""Physics-informed diffusion models (Bastek et al., ICLR 2025, arXiv 2403.14404), as published, and corrected."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.core.settings import require_nonnegative
from jensenbench.diffusion.samplers import AncestralRule
from jensenbench.errors import UnknownName, UserError
from methods._pidm import Correction, train
from methods._pidm_settings import Fit
from methods._pidm_watch import watched


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the sampler.

    Attributes:
        fit: of the network.
        wide: noise of variance beta_t, as published, instead of the posterior variance.
        correction: what the residual corrections act on, the state ``xt`` or the estimate ``x0``.
        late, extra: corrections during the last steps, and after them.
        length: of a correction, times the largest entry of the residual's Jacobian.
    """

    fit: Fit = field(default_factory=Fit)
    wide: bool = True
    correction: str = "xt"
    late: int = 0
    extra: int = 0
    length: float = 1e-6

    def __post_init__(self) -> None:
        if self.correction not in ("xt", "x0"):
            raise UnknownName("correction", self.correction, ("xt", "x0"))
        if min(self.late, self.extra) < 0:
            raise UserError(f"late = {self.late}, extra = {self.extra}: numbers of corrections cannot be negative")
        require_nonnegative("length", self.length)


PUBLISHED = Fit(
    steps=300_000, batch=64, lr=1e-4, flat=1.0, weight_decay=0.0, beta2=0.999, ema_decay=0.99, ema_from=1000,
    parametrisation="x0", scheme="pidm", every_part=True, relative=False, augment=False, shuffle=False,
)  # fmt: skip


class PIDM(Iterative):
    """A diffusion model of its own, trained with the residual of its estimates; ancestral sampling."""

    name = "pidm"
    Fit = Fit
    Config = Config
    variants = {
        "corrected": Config(),
        "plain": Config(fit=Fit(c_residual=0.0)),
        "corrected_sample": Config(fit=Fit(estimate="sample")),
        "published": Config(fit=PUBLISHED),
    }
    capabilities = Capabilities(observed=False, trains=True)
    references = ("bastek2025pidm", "karras2022edm")
    deviations = (
        "The network is one of the suite's backbones, in the prior's coordinates: channels of standard deviation 1/2 "
        "instead of raw fields.",
        "Variant `published` keeps the code's choices: a mean over three channels of which two are zero off their "
        "edge, residuals in physical units, states in fixed order; AdamW without decay is its Adam.",
        "Setting `estimate: sample_published` is the code's sample estimate, in which the second network call is given "
        "x_t again instead of the DDIM state; `sample` feeds the DDIM state.",
        "Variant `plain` is the control: the same network and training without the residual.",
        "Variants `corrected`: the solver's own residual at inner points in units of the equation's largest term, EDM "
        "preconditioning, random batches augmented by the equation's symmetries.",
    )

    def skip(self, problem: Problem) -> str | None:
        if self.config.fit.scheme not in problem.pde.schemes:
            return f"{problem.pde.name} has no residual of scheme {self.config.fit.scheme!r}"
        return super().skip(problem)

    def build(self, prior: Denoiser, problem: Problem) -> nn.Module:
        return self.config.fit.build(prior.shape)

    def fit(
        self, prior: Denoiser, problem: Problem, data: Tensor, *, state_dir: Path, seed: int, pairs: Any = None
    ) -> nn.Module:
        settings, (data, watch) = self.config.fit, watched(self.config.fit, problem, data)
        return train(settings, problem, data, state_dir=state_dir, seed=seed, sources=("methods.pidm",), watch=watch)

    def model(self, prior: Denoiser, fitted: nn.Module | None) -> Denoiser:
        if fitted is None:
            raise UserError("pidm samples from the network that its fit trains: run the stage `fit` first")
        return self.config.fit.denoiser(fitted, prior.shape)

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        """Ancestral steps with the estimates of ``prior``, here the model of the fit, then the extra corrections."""
        config = self.config
        rule, correct = AncestralRule(config.fit.schedule(wide=config.wide)), self.correction(problem)
        x = noise(prior.shape)
        yield x
        for t in rule.order:
            estimate = prior(*rule.level(x, t))
            if t < config.late and config.correction == "x0":
                estimate = correct(estimate)
            x = rule.step(x, estimate, t, noise)
            if t < config.late and config.correction == "xt":
                x = correct(x)
            yield x
        for _ in range(config.extra):
            x = correct(x)
            yield x

    def correction(self, problem: Problem) -> Correction:
        """The step that lowers the residual of states."""
        return Correction(problem, self.config.fit, self.config.length)
