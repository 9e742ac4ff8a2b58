"""Physics-informed diffusion model (PIDM): a network of its own, trained with the PDE residual of its estimates.

Source: Bastek, Sun and Kochmann, ICLR 2025, arXiv 2403.14404: eq. 9 and algorithm 1 (training with the residual as a
virtual observation), ancestral sampling, optional residual corrections. Variants: ``published`` (as the authors' code
runs it), ``corrected`` and ``corrected_sample`` (residual of E[x0 | x_t], or of a DDIM sample), ``plain`` (the control
without residual).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.core.settings import configure, require_nonnegative, require_steps
from jensenbench.diffusion.samplers import AncestralRule
from jensenbench.diffusion.schedules import Ancestral, cosine_betas
from jensenbench.errors import UnknownName, UserError
from jensenbench.numerics.tensors import per_row
from jensenbench.priors.backbones.build import build_seeded, find_backbone
from jensenbench.priors.chain_training import ChainBatches, train_chain
from jensenbench.priors.gradient_watch import BANDS, GradientWatch, held_out
from jensenbench.priors.loop import LoopSettings
from jensenbench.priors.network import PARAMETRISATIONS, NetworkPrior, network_precision
from methods._corrections import ScaledCorrection
from methods._losses import missing_scheme

ESTIMATES = ("mean", "sample", "sample_published")


@dataclass(frozen=True, kw_only=True)
class Fit(LoopSettings):
    """Everything the network depends on.

    Attributes:
        levels: T of the cosine schedule.
        parametrisation: ``edm``, or ``x0``: the network's output is the estimate.
        estimate: state at which the residual is taken: ``mean``, E[x0 | x_t] by the network; ``sample``, one DDIM step
            to t = 0 and the network once more; ``sample_published``, the network at t = 0 on x_t itself.
        scheme, every_part: the residual, and whether to average over its parts for conditions too.
        relative: residual in units of the equation's largest term instead of physical units.
        c_data, c_residual, snr_cap: weights of the two losses (1 and 1e-3 in the paper); cap of the data loss's weight
            SNR_t.
        backbone, backbone_settings: network of the suite; ``auto`` takes the U-Net on two axes, else the perceptron.
        autocast: as for a prior; bfloat16 adds to the residual of clean states.
        augment, shuffle: apply random symmetries of the PDE; draw states at random, not in order.
        watch: training states that are held out, and on which the rows of the log measure what the residual does to the
            network; 0: none.
        beta2, ema_decay, ema_from: of Adam; fixed decay of the weights' average from a step on (0: by ``ema``).
    """

    levels: int = 100
    parametrisation: str = "edm"
    estimate: str = "mean"
    scheme: str = "own"
    every_part: bool = False
    relative: bool = True
    c_data: float = 1.0
    c_residual: float = 1e-3
    snr_cap: float = 5.0
    backbone: str = "auto"
    backbone_settings: Mapping[str, Any] = field(default_factory=dict)
    autocast: str = "float32"
    augment: bool = True
    shuffle: bool = True
    watch: int = 0
    beta2: float = 0.99
    ema_decay: float = 0.0
    ema_from: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_steps(self.levels)
        for name, known in (("parametrisation", PARAMETRISATIONS), ("estimate", ESTIMATES)):
            if getattr(self, name) not in known:
                raise UnknownName(name, getattr(self, name), known)
        if not isinstance(self.watch, int) or self.watch < 0 or self.watch % BANDS:
            raise UserError(f"watch = {self.watch!r} must be 0 or a multiple of {BANDS}, the number of bands of noise")
        for name in ("c_data", "c_residual", "snr_cap", "beta2", "ema_decay"):
            require_nonnegative(name, getattr(self, name))
        if self.backbone != "auto":
            self.network(self.backbone)

    def network(self, name: str) -> Any:
        """Settings of the backbone of that name."""
        return configure(f"{name} setting", find_backbone(name).settings, self.backbone_settings)

    @property
    def betas(self) -> tuple[float, float]:
        return 0.9, self.beta2

    def decay(self, step: int) -> float:
        if self.ema_decay:
            return self.ema_decay if step >= self.ema_from else 0.0
        return super().decay(step)

    def schedule(self, *, wide: bool = False) -> Ancestral:
        return Ancestral(cosine_betas(self.levels), wide=wide)

    def build(self, shape: Sequence[int], *, seed: int = 0) -> nn.Module:
        """The network for states of a shape (C, *grid), with fresh weights."""
        name = ("unet" if len(shape) == 3 else "mlp") if self.backbone == "auto" else self.backbone
        return build_seeded(name, shape, self.network(name), key=(seed, "weights"))

    def denoiser(self, network: nn.Module, shape: Sequence[int]) -> NetworkPrior:
        """The network as E[x0 | x0 + sigma eps]."""
        precision = network_precision(self.autocast, next(network.parameters()).device)
        return PARAMETRISATIONS[self.parametrisation](network, shape, precision=precision)

    def batches(self, problem: Problem, data: Tensor, seed: int) -> ChainBatches:
        """Clean states, levels and noise of each step."""
        return ChainBatches(
            problem=problem, data=data, size=self.batch, levels=self.levels, seed=seed,
            augment=self.augment, shuffle=self.shuffle,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the sampler.

    Attributes:
        fit: of the network.
        wide: noise of variance beta_t, as published, instead of the posterior variance.
        correction: what the residual corrections act on, the state ``xt`` or the estimate ``x0``.
        late, extra: corrections during the last steps, and after them; 0 in the authors' configuration.
        length: of a correction, times the largest entry of the residual's Jacobian; 1e-6 in their code.
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
        return missing_scheme(problem, self.config.fit.scheme) or super().skip(problem)

    def build(self, prior: Denoiser, problem: Problem) -> nn.Module:
        return self.config.fit.build(prior.shape)

    def fit(
        self, prior: Denoiser, problem: Problem, data: Tensor, *, state_dir: Path, seed: int, pairs: Any = None
    ) -> nn.Module:
        settings, watch = self.config.fit, None
        if settings.watch:
            data, states = held_out(data, settings.watch)
            watch = watch_of(settings, problem, states)
        shape = data.shape[1:]
        return train_chain(
            settings.build(shape, seed=seed).to(data.device), lambda network: settings.denoiser(network, shape),
            Objective(settings, problem), settings.batches(problem, data, seed), settings,
            state_dir=state_dir, sources=("methods.pidm",), label=f"fit pidm/{problem.pde.label}", watch=watch,
        )  # fmt: skip

    def model(self, prior: Denoiser, fitted: nn.Module | None) -> Denoiser:
        if fitted is None:
            raise UserError("pidm samples from the network that its fit trains: run the stage `fit` first")
        return self.config.fit.denoiser(fitted, prior.shape)

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        """Ancestral steps with the estimates of ``prior``, here the model of the fit, then the extra corrections."""
        config = self.config
        rule, correct = AncestralRule(config.fit.schedule(wide=config.wide)), self.correction(problem)
        # x_T ~ N(0, I)
        x = noise(prior.shape)
        yield x
        for t in rule.order:
            # estimate of x0, corrected in the last steps if so set
            estimate = prior(*rule.level(x, t))
            if t < config.late and config.correction == "x0":
                estimate = correct(estimate)
            # x_{t-1} ~ q(x_{t-1} | x_t, x0)
            x = rule.step(x, estimate, t, noise)
            # correction of the state in the last steps
            if t < config.late and config.correction == "xt":
                x = correct(x)
            yield x
        # extra corrections of the sample
        for _ in range(config.extra):
            x = correct(x)
            yield x

    def correction(self, problem: Problem) -> ScaledCorrection:
        """The step that lowers the residual of states: CoCoGen's, as PIDM's code runs it."""
        return ScaledCorrection(problem, lambda x: residual_parts(problem, x, self.config.fit), self.config.length)


class Objective:
    """Data loss and virtual residual likelihood (eq. 9 and algorithm 1), means over the batch."""

    def __init__(self, settings: Fit, problem: Problem):
        self.settings, self.problem, schedule = settings, problem, settings.schedule()
        self.alphas_bar, self.sigmas = schedule.alphas_bar, schedule.sigmas
        self.weights = schedule.sigmas.pow(-2).clamp(max=settings.snr_cap)
        self.variance = schedule.posterior_variance
        self.variance[0] = self.variance[1]  # it is 0 at t = 0

    def __call__(self, model: Denoiser, clean: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss, and its parts for the log, of clean states (b, C, *grid) at levels t (b,) with unit noise."""
        s, sigma = self.settings, self.sigmas.to(clean)[t]
        # noisy state x_t / sqrt(abar_t) and its estimate of x0
        x = clean + per_row(sigma, clean) * noise
        estimate = model(x, sigma)
        # data loss min(SNR_t, cap) |x0 - estimate|²
        data = (self.weights.to(clean)[t] * (estimate - clean).square().flatten(1).mean(1)).mean()
        # virtual residual likelihood: -log N(0; R, Sigma_t) = R²/(2 Sigma_t), Sigma_t the posterior variance
        with torch.set_grad_enabled(torch.is_grad_enabled() and s.c_residual > 0):
            parts = residual_parts(self.problem, self._target(model, x, estimate, t), s)
            residual = torch.cat([part.flatten(1) for part in parts], 1)
            unit = self.problem.term_scale if s.relative else 1.0
            virtual = ((residual / unit).square().mean(1) / (2 * self.variance.to(clean)[t])).mean()
        loss = s.c_data * data + (s.c_residual * virtual if s.c_residual > 0 else 0.0)
        parts = {"data_loss": data, "residual_loss": virtual, "mean_abs_residual": residual.abs().mean()}
        return loss, {name: value.detach() for name, value in parts.items()}

    def _target(self, model: Denoiser, x: Tensor, estimate: Tensor, t: Tensor) -> Tensor:
        """The state at which the residual is taken."""
        last, sigma = float(self.sigmas[0]), per_row(self.sigmas.to(x)[t], x)
        if self.settings.estimate == "mean":
            return estimate
        if self.settings.estimate == "sample":
            return model(estimate + last * (x - estimate) / sigma, last)
        bar = per_row(self.alphas_bar.to(x)[t] / self.alphas_bar[0], x)
        return model(bar.sqrt() * x, last)


def residual_parts(problem: Problem, x: Tensor, settings: Fit) -> tuple[Tensor, ...]:
    """Residual of states in prior coordinates, physical units: the equation's part, or all parts."""
    parts = problem.residual(x, settings.scheme)
    return tuple(parts.values()) if settings.every_part else (parts["interior"],)


def watch_of(settings: Fit, problem: Problem, states: Tensor) -> GradientWatch:
    """Denoising loss and PDE loss of either estimate on held-out states: what the residual does to the network.

    The denoising loss has its weight SNR, and the PDE losses their variance, as in the objective; c_data and c_residual
    are left out.
    """
    alone = {"denoising": replace(settings, c_data=1.0, c_residual=0.0)}
    alone |= {kind: replace(settings, c_data=0.0, c_residual=1.0, estimate=kind) for kind in ("mean", "sample")}
    return GradientWatch(
        {name: Objective(weights, problem) for name, weights in alone.items()},
        states,
        settings.schedule().sigmas,
        residual=lambda x: torch.cat([part.flatten() for part in residual_parts(problem, x, settings)]),
        unit=problem.term_scale if settings.relative else 1.0,
    )
