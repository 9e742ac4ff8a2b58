"""Training of physics-informed diffusion models: batches, objective, loop (arXiv 2403.14404)."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.problem import Problem
from jensenbench.numerics.autograd import gradient_of
from jensenbench.numerics.jacobian import directions, jacobian_maximum
from jensenbench.numerics.random import generator_of
from jensenbench.numerics.tensors import per_row
from jensenbench.priors.loop import Loop
from jensenbench.priors.network import NetworkPrior
from jensenbench.priors.training import apply_symmetries
from methods._pidm_settings import Fit

STEEPEST = 1e12  # entry of a Jacobian that corrections reckon with

Watch = Callable[[NetworkPrior, NetworkPrior], Mapping[str, float]]


class Objective:
    """Data loss and virtual residual likelihood (eq. 9 and algorithm 1), means over the rows of a batch."""

    def __init__(self, settings: Fit, problem: Problem):
        self.settings, self.problem, schedule = settings, problem, settings.schedule()
        self.alphas_bar, self.sigmas = schedule.alphas_bar, schedule.sigmas
        self.weights = schedule.sigmas.pow(-2).clamp(max=settings.snr_cap)
        self.variance = schedule.posterior_variance
        self.variance[0] = self.variance[1]  # it is 0 at t = 0

    def __call__(self, model: Denoiser, clean: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss, and its parts for the log, of clean states (b, C, *grid) at levels t (b,) with unit noise."""
        s, sigma = self.settings, self.sigmas.to(clean)[t]
        x = clean + per_row(sigma, clean) * noise  # x_t / sqrt(abar_t)
        estimate = model(x, sigma)
        data = (self.weights.to(clean)[t] * (estimate - clean).square().flatten(1).mean(1)).mean()
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


class Correction:
    """A step of the solution down the gradient of the summed squared residual: CoCoGen as PIDM's code runs it.

    Its length is ``length`` over the largest entry of the residual's Jacobian. Parts need one shape.
    """

    def __init__(self, problem: Problem, settings: Fit, length: float):
        self.problem, self.settings, self.length = problem, settings, length
        self.where = problem.pde.role_mask("solution")

    @cached_property
    def sets(self) -> Tensor:
        """Unknowns that may move together."""
        return directions(self.residual, self.where)

    def residual(self, fields: Tensor) -> Tensor:
        """(b, parts, *points)."""
        return torch.stack(residual_parts(self.problem, self.problem.encode(fields), self.settings), 1)

    def __call__(self, x: Tensor) -> Tensor:
        """The corrected states (b, C, *grid), prior coordinates."""
        fields = self.problem.decode(x)
        (gradient,) = gradient_of(None, fields, lambda state: (self.residual(state).square().flatten(1).sum(1),))
        steepest = jacobian_maximum(self.residual, fields, self.sets).clamp(max=STEEPEST)
        length = torch.where(steepest > 0, self.length / steepest, 0.0)
        return self.problem.encode(fields - per_row(length, x) * gradient * self.where.to(x))


def train(
    settings: Fit,
    problem: Problem,
    data: Tensor,
    *,
    state_dir: Path,
    seed: int,
    sources: Sequence[str],
    watch: Watch | None = None,
) -> nn.Module:
    """Train the network on states (N, C, *grid) in prior coordinates; resumes in ``state_dir``.

    ``watch`` measures the denoisers of the weights in training and of their average, for the rows of the log.
    """
    network, objective = settings.build(data.shape[1:], seed=seed).to(data.device), Objective(settings, problem)
    model = settings.denoiser(network, data.shape[1:])

    def loss(module: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        clean, t, noise = batch(settings, problem, data, step, seed)
        return objective(model, clean[loop.rows], t[loop.rows], noise[loop.rows])

    def check(average: nn.Module, step: int) -> Mapping[str, float]:
        return {} if watch is None else watch(model, settings.denoiser(average, data.shape[1:]))

    loop = Loop(
        network, loss, settings,
        identity=[seed, problem.pde.label, problem.codec.state(), problem.term_scale, len(data)],
        sources=[*sources, f"pdes.{problem.pde.name}"],
        state_dir=state_dir, label=f"fit pidm/{problem.pde.label}", device=data.device, check=check,
    )  # fmt: skip
    return loop.run()


def batch(settings: Fit, problem: Problem, data: Tensor, step: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Clean states, levels (b,) and unit noise of one step, float32."""
    source, size = generator_of((seed, "batch", step)), settings.batch
    index = torch.randint(len(data), (size,), generator=source)
    symmetry, t = torch.rand(size, generator=source), torch.randint(settings.levels, (size,), generator=source)
    noise = torch.randn(size, *data.shape[1:], generator=source).to(data.device)
    if not settings.shuffle:
        index = torch.arange(step * size, (step + 1) * size) % len(data)
    clean = data[index.to(data.device)]
    if settings.augment:
        clean = problem.encode(apply_symmetries(problem.pde, problem.decode(clean), symmetry))
    return clean.float(), t.to(data.device), noise
