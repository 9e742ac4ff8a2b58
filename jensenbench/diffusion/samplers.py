"""Update rules of diffusion samplers, each one once, and the guidance gradient."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import Noise
from jensenbench.diffusion.schedules import Ancestral, ProbabilityFlow, Scaled
from jensenbench.numerics.autograd import gradient_of

Velocity = Callable[[Tensor, float], Tensor]


class HeunStep(NamedTuple):
    """A state after one step, and the last denoiser output that it used."""

    x: Tensor
    denoised: Tensor


def euler(x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """x + (sigma_next - sigma) (x - D)/sigma, one step of the probability flow dx/dsigma = (x - D)/sigma."""
    return x + (sigma_next - sigma) * (x - denoised) / sigma


def heun(denoise: Callable[[Tensor, float], Tensor], x: Tensor, sigma: float, sigma_next: float) -> HeunStep:
    """One second-order step (arXiv 2206.00364, algorithm 1); Euler where sigma_next = 0."""
    seen: list[Tensor] = []

    def slope(state: Tensor, level: float) -> Tensor:
        seen.append(denoise(state, level))
        return (state - seen[-1]) / level

    return HeunStep(ode_heun(slope, x, sigma, sigma_next), seen[-1])


def ode_euler(velocity: Velocity, x: Tensor, t: float, t_next: float) -> Tensor:
    """One step of dx/dt = velocity(x, t)."""
    return x + (t_next - t) * velocity(x, t)


def ode_midpoint(velocity: Velocity, x: Tensor, t: float, t_next: float) -> Tensor:
    """One second-order step of dx/dt = velocity(x, t) with the velocity in its middle."""
    middle = (t + t_next) / 2
    return x + (t_next - t) * velocity(ode_euler(velocity, x, t, middle), middle)


def ode_heun(velocity: Velocity, x: Tensor, t: float, t_next: float, *, end: float = 0.0) -> Tensor:
    """One second-order step of dx/dt = velocity(x, t); Euler where t_next = ``end``, where it may be singular."""
    first = velocity(x, t)
    predicted = x + (t_next - t) * first
    if t_next == end:
        return predicted
    return x + (t_next - t) * (first + velocity(predicted, t_next)) / 2


FLOW_STEPS: dict[str, Callable[[Velocity, Tensor, float, float], Tensor]] = {
    "euler": ode_euler,
    "midpoint": ode_midpoint,
    "heun": partial(ode_heun, end=1.0),
}


class FlowRule:
    """Velocity of a probability flow whose schedule is any of :class:`ProbabilityFlow`."""

    def __init__(self, schedule: ProbabilityFlow):
        columns = (schedule.sigmas, schedule.scales, schedule.drift, schedule.pull)
        self.times, self.start = schedule.times.tolist(), schedule.start
        self._at = dict(zip(self.times, zip(*(column.tolist() for column in columns), strict=True), strict=True))

    def velocity(self, prior: Denoiser, x: Tensor, t: float) -> Tensor:
        """dx/dt at a time of the grid other than the last one."""
        sigma, scale, drift, pull = self._at[t]
        return drift * x - pull * prior(x / scale if scale else torch.zeros_like(x), sigma)


def extrapolate(x: Tensor, velocity: Tensor, t: float, *, end: float = 1.0) -> Tensor:
    """Where x_t = (1-t) eps + t x1 goes on a straight path: x + (1-t) v estimates x1, and for end = 0 x - t v eps."""
    return x + (end - t) * velocity


def interpolate(noise: Tensor, x1: Tensor, t: float) -> Tensor:
    """(1-t) noise + t x1."""
    return (1 - t) * noise + t * x1


def raise_noise(x: Tensor, sigma: float, gamma: float, xi: Tensor, *, inflation: float = 1.0) -> tuple[Tensor, float]:
    """Add noise from sigma to (1 + gamma) sigma (arXiv 2206.00364, algorithm 2, lines 4-6)."""
    raised = (1 + gamma) * sigma
    return x + (raised**2 - sigma**2) ** 0.5 * inflation * xi, raised


class AncestralRule:
    """q(x_{t-1} | x_t, x0) with the network's estimate for x0 (arXiv 2006.11239, eq. 7 and 15).

    ``sigmas``: noise levels in the order in which they are visited, the end included.
    """

    start = 1.0

    def __init__(self, schedule: Ancestral):
        self.order, self._at = range(len(schedule.betas))[::-1], schedule.coefficients()
        self._bar, self._sigma = schedule.alphas_bar.tolist(), schedule.sigmas.tolist()
        self._beta, self.sigmas = schedule.betas.tolist(), [*self._sigma[::-1], 0.0]

    def level(self, x: Tensor, t: int) -> tuple[Tensor, float]:
        """State and sigma as the shared denoiser expects them."""
        return x / self._bar[t] ** 0.5, self._sigma[t]

    def denoise(self, prior: Denoiser, x: Tensor, t: int) -> Tensor:
        """Estimate of x0 from x_t by way of the network's eps, as VP models state it."""
        eps = (x - self._bar[t] ** 0.5 * prior(*self.level(x, t))) / (1 - self._bar[t]) ** 0.5
        return self._at["recip"][t] * x - self._at["recip_m1"][t] * eps

    def step(self, x: Tensor, denoised: Tensor, t: int, noise: Noise) -> Tensor:
        """Draw x_{t-1}; a draw is taken for t = 0 too, and not used."""
        mean = self._at["mean_x0"][t] * denoised + self._at["mean_x"][t] * x
        xi = noise(x.shape[1:])
        return mean + self._at["std"][t] * xi if t else mean

    def noised(self, x0: Tensor, steps: int, noise: Noise) -> Tensor:
        """Draw from q(x | x0) at the level that the sampler has reached after so many steps; x0 after the last."""
        bar = [1.0, *self._bar][len(self._bar) - steps]
        return bar**0.5 * x0 + (1 - bar) ** 0.5 * noise(x0.shape[1:])

    def renoise(self, x: Tensor, t: int, noise: Noise) -> Tensor:
        """Draw x_t from x_{t-1}, which undoes step t in law."""
        return (1 - self._beta[t]) ** 0.5 * x + self._beta[t] ** 0.5 * noise(x.shape[1:])


class ScaledRule:
    """Euler steps of the reverse SDE, or of its probability flow, for x_t = s (x0 + sigma eps) (arXiv 2503.11043).

    With ``quiet_end`` the noise of the last step is drawn, and not used. ``sigmas``: levels as they are visited.
    """

    def __init__(self, schedule: Scaled, *, stochastic: bool, quiet_end: bool = False):
        self.order, self.start, self._stochastic = range(len(schedule.drift)), schedule.start, stochastic
        self._noisy = self.order[:-1] if quiet_end else self.order
        self._kappa, self._f = schedule.drift.tolist(), schedule.diffusion.tolist()
        self._s, self._sigma = schedule.scales.tolist(), schedule.sigmas.tolist()
        self.sigmas = self._sigma
        self._forward, self._added = schedule.forward_drift.tolist(), schedule.forward_diffusion.tolist()

    def denoise(self, prior: Denoiser, x: Tensor, i: int) -> Tensor:
        return prior(x / self._s[i], self._sigma[i])

    def step(self, x: Tensor, denoised: Tensor, i: int, noise: Noise) -> Tensor:
        """kappa x + f score + sqrt(f) xi, or kappa x + f/2 score without noise."""
        score = (denoised - x / self._s[i]) / (self._sigma[i] ** 2 * self._s[i])
        if not self._stochastic:
            return self._kappa[i] * x + self._f[i] / 2 * score
        mean, xi = self._kappa[i] * x + self._f[i] * score, noise(x.shape[1:])
        return mean + self._f[i] ** 0.5 * xi if i in self._noisy else mean

    def noised(self, x0: Tensor, steps: int, noise: Noise) -> Tensor:
        """Draw s (x0 + sigma eps) at the level that the sampler has reached after so many steps."""
        return self._s[steps] * (x0 + self._sigma[steps] * noise(x0.shape[1:]))

    def renoise(self, x: Tensor, i: int, noise: Noise) -> Tensor:
        """One Euler step of the forward SDE back over the interval of step i, with the coefficients where it starts."""
        return self._forward[i] * x + self._added[i] ** 0.5 * noise(x.shape[1:])


def guide(prior: Denoiser, x: Tensor, evaluate: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Gradient with respect to x of a loss (b,) that goes through the prior; see :func:`gradient_of`."""
    return gradient_of(prior.module, x, evaluate)
