"""Noise schedules (EDM, VP, sub-VP, flow matching) and their exact map to the sigma of an EDM denoiser."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from jensenbench.core.settings import require_steps
from jensenbench.errors import UnknownName, UserError

LEVELS = ("linear", "edm")
TIMES = ("uniform", "edm")


@dataclass(frozen=True, kw_only=True)
class EDMGrid:
    """sigma_i = (sigma_max^{1/rho} + i/(N-1) (sigma_min^{1/rho} - sigma_max^{1/rho}))^rho, sigma_N = 0.

    Source: Karras et al., arXiv 2206.00364, eq. 5.
    """

    steps: int = 18
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        require_steps(self.steps)
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise UserError(
                f"sigma_min = {self.sigma_min}, sigma_max = {self.sigma_max}: need 0 < sigma_min < sigma_max"
            )
        if not self.rho > 0:
            raise UserError(f"rho = {self.rho} must be positive")

    def sigmas(self) -> Tensor:
        """(steps + 1,) float64 noise levels, from sigma_max down to sigma_min and then 0."""
        return torch.cat(
            [power_grid(self.sigma_max, self.sigma_min, self.steps, self.rho), torch.zeros(1, dtype=torch.float64)]
        )


@dataclass(frozen=True, kw_only=True)
class VPGrid:
    """Noise levels of an ancestral sampler.

    Attributes:
        steps: number of levels.
        levels: "linear": evenly spaced among ``schedule_steps`` levels of the linear-beta schedule
            (arXiv 2006.11239; spacing of 2102.09672; equal numbers give the schedule itself), or
            "edm": those of :class:`EDMGrid` with its default range.
        schedule_steps: length of the linear-beta schedule.
        beta_first, beta_last: its betas times its length.
        float32_coefficients: round the coefficients of the update, as the published DPS code does.
    """

    steps: int = 1000
    levels: str = "linear"
    schedule_steps: int = 1000
    beta_first: float = 0.1
    beta_last: float = 20.0
    float32_coefficients: bool = False

    def __post_init__(self) -> None:
        require_steps(self.steps)
        if self.levels not in LEVELS:
            raise UnknownName("levels", self.levels, LEVELS)
        if self.levels == "linear" and self.schedule_steps < self.steps:
            raise UserError(f"schedule_steps = {self.schedule_steps} must be at least steps = {self.steps}")
        first, last = self.beta_first, self.beta_last
        if not 0 < first < last < self.schedule_steps:
            raise UserError(
                f"beta_first = {first}, beta_last = {last}: need 0 < beta_first < beta_last < schedule_steps"
            )

    def schedule(self) -> "Ancestral":
        """The coefficients of the ancestral sampler."""
        if self.levels == "edm":
            sigmas = EDMGrid(steps=self.steps).sigmas()[:-1].flip(0)
            return Ancestral(betas_between(1 / (1 + sigmas.square())), self.float32_coefficients)
        betas = linear_betas(self.schedule_steps, self.beta_first, self.beta_last)
        return Ancestral(respaced(betas, self.steps), self.float32_coefficients)


@dataclass(frozen=True, kw_only=True)
class FlowGrid:
    """Times 0 = t_0 < ... < t_N = 1 of a flow x_t = (1-t) eps + t x1 (Lipman et al., arXiv 2210.02747).

    Attributes:
        steps: N.
        times: "uniform": t_i = i/N; or "edm": t = 1/(1 + sigma) at the levels of :class:`EDMGrid` with its
            default range, but for the first, which is pure noise.
    """

    steps: int = 200
    times: str = "uniform"

    def __post_init__(self) -> None:
        require_steps(self.steps)
        if self.times not in TIMES:
            raise UnknownName("times", self.times, TIMES)

    def grid(self) -> Tensor:
        """(steps + 1,) float64 times from 0 to 1."""
        if self.times == "edm":
            return torch.cat([torch.zeros(1, dtype=torch.float64), 1 / (1 + EDMGrid(steps=self.steps).sigmas()[1:])])
        return torch.arange(self.steps + 1, dtype=torch.float64) / self.steps


@dataclass(frozen=True)
class Ancestral:
    """Coefficients of q(x_{t-1} | x_t, x0) for x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps.

    Source: Ho et al., arXiv 2006.11239, eq. 4 and 7.

    Attributes:
        betas: (T,); index t = 0 is the cleanest level.
        single: round the coefficients of the update to float32.
        wide: take beta_t for the variance of a step, the other choice of the paper's section 3.2.
    """

    betas: Tensor
    single: bool = False
    wide: bool = False

    @property
    def alphas_bar(self) -> Tensor:
        """abar_t = prod of 1 - beta up to t, (T,)."""
        return torch.cumprod(1 - self.betas, 0)

    @property
    def previous(self) -> Tensor:
        """abar_{t-1}, (T,); 1 for t = 0."""
        return torch.cat([self.betas.new_ones(1), self.alphas_bar[:-1]])

    @property
    def sigmas(self) -> Tensor:
        """Noise levels of x_t / sqrt(abar_t), which the shared denoiser expects."""
        return ((1 - self.alphas_bar) / self.alphas_bar).sqrt()

    @property
    def posterior_variance(self) -> Tensor:
        """Var(x_{t-1} | x_t, x0), 0 in the last step."""
        return self.betas * (1 - self.previous) / (1 - self.alphas_bar)

    def coefficients(self) -> dict[str, list[float]]:
        """For each t: x0 = recip x - recip_m1 eps; x_{t-1} has mean mean_x0 x0 + mean_x x; std, not used at t = 0."""
        bar, previous, beta = self.alphas_bar, self.previous, self.betas
        variance = beta if self.wide else self.posterior_variance
        values = {
            "recip": (1 / bar).sqrt(),
            "recip_m1": (1 / bar - 1).sqrt(),
            "mean_x0": beta * previous.sqrt() / (1 - bar),
            "mean_x": (1 - previous) * (1 - beta).sqrt() / (1 - bar),
        }
        rounded = {name: value.float() if self.single else value for name, value in values.items()}
        rounded["std"] = (variance.log().float() / 2).exp() if self.single else variance.sqrt()
        return {name: value.tolist() for name, value in rounded.items()}


@dataclass(frozen=True)
class Scaled:
    """x_t = s (x0 + sigma eps) on a time grid t_0 > ... > t_N, with dsigma/dt and dlog(s)/dt.

    Source: arXiv 2206.00364, table 1; the grids are those of InverseBench (arXiv 2503.11043).
    """

    times: Tensor
    sigmas: Tensor
    sigma_slopes: Tensor
    scales: Tensor
    log_scale_slopes: Tensor
    start: float

    @classmethod
    def vp(
        cls,
        steps: int,
        *,
        beta_d: float = 19.9,
        beta_min: float = 0.1,
        last: float = 1e-3,
        sigma_end: float | None = 0.01,
    ) -> Self:
        """1 + sigma² = exp(beta_d t²/2 + beta_min t) = 1/s²; t linear from 1 to ``last``, then to sigma_end.

        Without ``sigma_end`` one more equal step follows, which ends at a time slightly below zero (CoCoGen).
        """
        t = torch.linspace(1, last, steps, dtype=torch.float64)
        if sigma_end is None:
            end = 2 * t[-1] - t[-2]
        else:
            end = t.new_tensor((math.sqrt(beta_min**2 + 2 * beta_d * math.log1p(sigma_end**2)) - beta_min) / beta_d)
        t = torch.cat([t, end[None]])
        rate, level = beta_d * t + beta_min, beta_d * t.square() / 2 + beta_min * t
        sigma = torch.expm1(level).sqrt()
        scale = torch.exp(-level / 2)
        return cls(t, sigma, rate * level.exp() / (2 * sigma), scale, -rate / 2, float(sigma[0] * scale[0]))

    @classmethod
    def edm(cls, steps: int, *, sigma_max: float = 100.0, sigma_end: float = 0.01, rho: float = 7.0) -> Self:
        """sigma = t, s = 1; the last of ``steps`` levels, sigma_end, is repeated, so that the last step only guides."""
        grid = power_grid(sigma_max, sigma_end, steps, rho)
        t = torch.cat([grid, grid[-1:]])
        return cls(t, t, torch.ones_like(t), torch.ones_like(t), torch.zeros_like(t), sigma_max)

    @property
    def drift(self) -> Tensor:
        """kappa_i = 1 - (s'/s) dt, the factor of x in step i."""
        return 1 + self.log_scale_slopes[:-1] * self.times.diff()

    @property
    def diffusion(self) -> Tensor:
        """f_i = 2 s² sigma' sigma dt, the variance added in step i."""
        return (-self._rate[:-1] * self.times.diff()).clamp(min=0)

    @property
    def forward_drift(self) -> Tensor:
        """Factor of x in a step of the forward SDE from t_{i+1} back to t_i."""
        return 1 - self.log_scale_slopes[1:] * self.times.diff()

    @property
    def forward_diffusion(self) -> Tensor:
        """Variance that this step adds."""
        return (-self._rate[1:] * self.times.diff()).clamp(min=0)

    @property
    def _rate(self) -> Tensor:
        return 2 * self.scales.square() * self.sigma_slopes * self.sigmas


FLOWS = ("edm", "vp", "subvp", "flow")


@dataclass(frozen=True)
class ProbabilityFlow:
    """dx/dt = drift x - gain D(x/s; sigma) for x_t = s (x0 + sigma eps), on t_0 > ... > t_N = 0 where x_N = x0.

    The four schedules are the same flow of the same denoiser D in other coordinates and on other grids:
    drift = s'/s + sigma'/sigma, gain = sigma' s/sigma, with derivatives in t. The coefficients at t_N, where an Euler
    step ends, are not used. Source: Karras et al., arXiv 2206.00364, eq. 4 and table 1; sub-VP: Song et al., arXiv
    2011.13456, eq. 29.

    Attributes:
        times, sigmas, scales, drift, gain: (N + 1,) float64.
        start: standard deviation of x_0 in units of the white noise it is made from.
    """

    times: Tensor
    sigmas: Tensor
    scales: Tensor
    drift: Tensor
    gain: Tensor
    start: float

    @classmethod
    def edm(cls, steps: int, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Self:
        """s = 1, sigma = t on the grid of :class:`EDMGrid`."""
        t = EDMGrid(steps=steps, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho).sigmas()
        return cls(t, t, torch.ones_like(t), 1 / t, 1 / t, sigma_max)

    @classmethod
    def vp(cls, steps: int, *, beta_d: float = 19.9, beta_min: float = 0.1, last: float = 1e-3) -> Self:
        """s² = exp(-L), s² (1 + sigma²) = 1 with L = beta_d t²/2 + beta_min t; t linear from 1 to ``last``, then 0."""
        t, level, rate = _betas_in_time(steps, beta_d, beta_min, last)
        scale, sigma = torch.exp(-level / 2), torch.expm1(level).sqrt()
        drift = rate / (2 * sigma.square())  # rate (1 + sigma²)/(2 sigma²) - rate/2
        return cls(t, sigma, scale, drift, rate / (2 * scale * sigma.square()), float(scale[0] * sigma[0]))

    @classmethod
    def subvp(cls, steps: int, *, beta_d: float = 19.9, beta_min: float = 0.1, last: float = 1e-3) -> Self:
        """s² = exp(-L), s sigma = 1 - s², so that sigma = 2 sinh(L/2); times as for VP."""
        t, level, rate = _betas_in_time(steps, beta_d, beta_min, last)
        scale, sigma = torch.exp(-level / 2), 2 * torch.sinh(level / 2)
        slope = rate / torch.tanh(level / 2) / 2  # sigma'/sigma
        return cls(t, sigma, scale, slope - rate / 2, slope * scale, float(scale[0] * sigma[0]))

    @classmethod
    def flow(cls, steps: int) -> Self:
        """x_t = (1 - t) x0 + t eps on the uniform :class:`FlowGrid`, whose time is 1 - t."""
        t = 1 - FlowGrid(steps=steps).grid()
        return cls(t, t / (1 - t), 1 - t, 1 / t, 1 / t, 1.0)


def probability_flow(name: str, steps: int) -> ProbabilityFlow:
    """A schedule by name, with the constants that its source uses; ``steps`` steps."""
    if name not in FLOWS:
        raise UnknownName("schedule", name, FLOWS)
    return getattr(ProbabilityFlow, name)(steps)


def _betas_in_time(steps: int, beta_d: float, beta_min: float, last: float) -> tuple[Tensor, Tensor, Tensor]:
    """Times, L(t) and dL/dt of linear betas; the last time is 0."""
    require_steps(steps)
    t = torch.cat([torch.linspace(1, last, steps, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    return t, beta_d * t.square() / 2 + beta_min * t, beta_d * t + beta_min


def power_grid(first: float, last: float, steps: int, rho: float) -> Tensor:
    """(steps,) float64 from ``first`` to ``last``, evenly spaced in the rho-th root."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    return (first ** (1 / rho) + ramp * (last ** (1 / rho) - first ** (1 / rho))) ** rho


def betas_between(alphas_bar: Tensor) -> Tensor:
    """Betas of the process whose levels are ``alphas_bar`` (T,), cleanest first."""
    return 1 - alphas_bar / torch.cat([alphas_bar.new_ones(1), alphas_bar[:-1]])


def respaced(betas: Tensor, steps: int) -> Tensor:
    """Betas of the same process at ``steps`` of its levels, the first and the last among them (arXiv 2102.09672)."""
    if steps == len(betas):
        return betas
    kept = torch.linspace(0, len(betas) - 1, steps, dtype=torch.float64).round().long()
    return betas_between(torch.cumprod(1 - betas, 0)[kept])


def linear_betas(steps: int, first: float, last: float) -> Tensor:
    """(steps,) betas from first/steps to last/steps: 1e-4 to 0.02 for 1000 steps of the usual 0.1 and 20."""
    return torch.linspace(first / steps, last / steps, steps, dtype=torch.float64)


def cosine_betas(steps: int, *, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """(steps,) betas of abar(t) = cos²(pi/2 (t/steps + offset)/(1 + offset)), capped (arXiv 2102.09672)."""
    share = torch.linspace(0, steps, steps + 1, dtype=torch.float64) / steps
    alphas_bar = torch.cos(math.pi / 2 * (share + offset) / (1 + offset)).square()
    return (1 - alphas_bar[1:] / alphas_bar[:-1]).clamp(max=largest)
