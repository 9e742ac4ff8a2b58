"""Cost metering: counts network evaluations, their derivatives and residual evaluations per state."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.problem import Problem
from jensenbench.errors import BudgetExceeded, Diverged
from jensenbench.numerics.tensors import per_row

COUNTS = ("nfe", "vjp", "jvp", "residual_calls")


@dataclass
class Meter:
    """Counts states that went through the network, its vjp and jvp, and the residual.

    Attributes:
        budget: network evaluations allowed per state.
        record: whether (sigma, x, D) of every call are kept in ``probes``.
        counts: by name, one of ``COUNTS``: evaluations summed over states.
        states: number of states of all batches so far.
    """

    budget: float = math.inf
    record: bool = False
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    states: int = 0
    probes: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    _batch_start: int = 0

    def begin(self, batch: int) -> None:
        """Start a batch of so many states; the budget holds for each batch."""
        self.states += batch
        self._batch, self._batch_start = batch, self.counts["nfe"]

    def count(self, what: str, states: int) -> None:
        """Add evaluated states to a count; raises BudgetExceeded when the batch has spent its network evaluations."""
        self.counts[what] += states
        if what == "nfe" and self.states and self.counts["nfe"] - self._batch_start > self.budget * self._batch:
            raise BudgetExceeded(f"more than the budget of {self.budget:g} network evaluations per state")

    def require_finite(self, result: Tensor, where: str) -> None:
        """Raise Diverged, naming the call, if the output of a network is NaN or infinite."""
        if not torch.isfinite(result).all():
            call = self.counts["nfe"] // len(result)
            raise Diverged(f"the state is NaN or infinite at network call {call}, {where}")

    def per_state(self) -> dict[str, float]:
        """Counts divided by the number of states."""
        return {what: count / max(self.states, 1) for what, count in self.counts.items()}


class MeteredDenoiser(Denoiser):
    """A prior whose evaluations and derivatives are counted; a NaN output stops the run."""

    def __init__(self, prior: Denoiser, meter: Meter):
        self._prior, self._meter = prior, meter
        self.shape, self.sigma_data, self.module = prior.shape, prior.sigma_data, prior.module
        self.sigma_min, self.sigma_max = prior.sigma_min, prior.sigma_max

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self(x, sigma)

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        result = self._counted(self._prior(x, sigma), x)
        self._meter.require_finite(result, f"sigma = {torch.as_tensor(sigma).flatten()[0]:.4g}")
        if self._meter.record:
            levels = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x))
            self._meter.probes.append((levels, x.detach(), result.detach()))
        return result

    def velocity(self, x: Tensor, t: Tensor | float) -> Tensor:
        result = self._counted(self._prior.velocity(x, t), x)
        self._meter.require_finite(result, f"t = {torch.as_tensor(t).flatten()[0]:.4g}")
        if self._meter.record:
            self._record_flow(x, torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x)), result)
        return result

    def _record_flow(self, x: Tensor, t: Tensor, velocity: Tensor) -> None:
        """Probes at the states x/t and levels (1 - t)/t, where these are finite: D = x + (1 - t) v."""
        x, t, velocity = (values[t > 0].detach() for values in (x, t, velocity))
        rest = 1 - per_row(t, x)
        self._meter.probes.append(((1 - t) / t, x / (1 - rest), x + rest * velocity))

    def score(self, x: Tensor, mean_factor: Tensor | float, variance: Tensor | float) -> Tensor:
        result = self._counted(self._prior.score(x, mean_factor, variance), x)
        self._meter.require_finite(result, f"variance = {torch.as_tensor(variance).flatten()[0]:.4g}")
        if self._meter.record:
            factor, spread = (
                torch.as_tensor(value, dtype=x.dtype, device=x.device).expand(len(x))
                for value in (mean_factor, variance)
            )
            self._record_score(x.detach(), factor, spread, result.detach())
        return result

    def _record_score(self, x: Tensor, factor: Tensor, variance: Tensor, score: Tensor) -> None:
        """Probe at the state x/m and level sqrt(variance)/m, where D = (x + variance score)/m (Tweedie)."""
        m, v = per_row(factor, x), per_row(variance, x)
        self._meter.probes.append((variance.sqrt() / factor, x / m, (x + v * score) / m))

    def _counted(self, result: Tensor, x: Tensor) -> Tensor:
        return count_call(self._meter, result, x)


class MeteredModule(nn.Module):
    """A fitted network whose evaluations are counted; a NaN output stops the run."""

    def __init__(self, module: nn.Module, meter: Meter):
        super().__init__()
        self.inner, self._meter = module, meter

    def forward(self, x: Tensor, *args: Tensor) -> Tensor:
        result = count_call(self._meter, self.inner(x, *args), x)
        self._meter.require_finite(result, "of the fitted network")
        return result


class MeteredProblem(Problem):
    """A problem whose residual evaluations are counted."""

    def __init__(self, problem: Problem, meter: Meter):
        super().__init__(
            problem.pde,
            problem.task,
            problem.codec,
            observation=problem.observation,
            constraints=problem.constraints,
            scale=problem.scale,
            term_scale=problem.term_scale,
        )
        self._meter = meter

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        self._meter.count("residual_calls", len(x))
        return super().terms(x)

    def residual(self, x: Tensor, scheme: str = "own") -> dict[str, Tensor]:
        self._meter.count("residual_calls", len(x))
        return super().residual(x, scheme)


def count_call(meter: Meter, result: Tensor, x: Tensor) -> Tensor:
    """Count one evaluation of ``len(x)`` states, and later every derivative taken through it."""
    meter.count("nfe", len(x))
    if forward_ad.unpack_dual(x).tangent is not None:
        meter.count("jvp", len(x))
    if result.requires_grad:
        result.register_hook(lambda _: meter.count("vjp", len(x)))
    return result
