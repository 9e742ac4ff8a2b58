"""Steps of diffusion samplers: EDM Heun and churn, DDPM ancestral, reverse SDE, flow ODE; guidance gradient."""

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
    """A state after one step, and the last denoiser output that the step used, both (b, C, *grid)."""

    x: Tensor
    denoised: Tensor


def euler(x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Euler step of the probability flow dx/dsigma = (x - D)/sigma: x + (sigma_next - sigma) (x - D)/sigma."""
    return x + (sigma_next - sigma) * (x - denoised) / sigma


def heun(denoise: Callable[[Tensor, float], Tensor], x: Tensor, sigma: float, sigma_next: float) -> HeunStep:
    """Second-order step from sigma to sigma_next (arXiv 2206.00364, algorithm 1); Euler where sigma_next = 0."""
    answers: list[Tensor] = []

    def slope(state: Tensor, level: float) -> Tensor:
        answers.append(denoise(state, level))
        return (state - answers[-1]) / level

    return HeunStep(ode_heun(slope, x, sigma, sigma_next), answers[-1])


def ode_euler(velocity: Velocity, x: Tensor, t: float, t_next: float) -> Tensor:
    """Euler step of dx/dt = velocity(x, t)."""
    return x + (t_next - t) * velocity(x, t)


def ode_midpoint(velocity: Velocity, x: Tensor, t: float, t_next: float) -> Tensor:
    """Midpoint step of dx/dt = velocity(x, t), second order."""
    middle = (t + t_next) / 2
    halfway = ode_euler(velocity, x, t, middle)
    return x + (t_next - t) * velocity(halfway, middle)


def ode_heun(velocity: Velocity, x: Tensor, t: float, t_next: float, *, end: float = 0.0) -> Tensor:
    """Heun step of dx/dt = velocity(x, t), second order; Euler where t_next = ``end``, where it may be singular.

    Lines of algorithm 1 of arXiv 2206.00364 are named for dx/dsigma = (x - D)/sigma.
    """
    # Line 4: the slope at t.
    first = velocity(x, t)
    # Line 5: the Euler step to t_next.
    predicted = x + (t_next - t) * first
    # Line 6: no correction where the slope at t_next does not exist.
    if t_next == end:
        return predicted
    # Lines 7 and 8: the mean of the slopes at both ends (trapezoidal rule).
    return x + (t_next - t) * (first + velocity(predicted, t_next)) / 2


FLOW_STEPS: dict[str, Callable[[Velocity, Tensor, float, float], Tensor]] = {
    "euler": ode_euler,
    "midpoint": ode_midpoint,
    "heun": partial(ode_heun, end=1.0),
}


class FlowRule:
    """Velocity of the probability flow of any schedule of :class:`ProbabilityFlow`.

    ``times``: t_0 > ... > t_N; ``start``: factor of the white noise at t_0.
    """

    def __init__(self, schedule: ProbabilityFlow):
        columns = (schedule.sigmas, schedule.scales, schedule.drift, schedule.gain)
        self.times, self.start = schedule.times.tolist(), schedule.start
        self._at = dict(zip(self.times, zip(*(column.tolist() for column in columns), strict=True), strict=True))

    def velocity(self, prior: Denoiser, x: Tensor, t: float) -> Tensor:
        """dx/dt = drift x - gain D(x/s; sigma) at a time of the grid other than the last one."""
        sigma, scale, drift, gain = self._at[t]
        return drift * x - gain * prior(x / scale if scale else torch.zeros_like(x), sigma)


def extrapolate(x: Tensor, velocity: Tensor, t: float, *, end: float = 1.0) -> Tensor:
    """End of the straight path through x_t = (1-t) eps + t x1: x + (1-t) v estimates x1; for end = 0, x - t v eps."""
    return x + (end - t) * velocity


def interpolate(noise: Tensor, x1: Tensor, t: float) -> Tensor:
    """State (1-t) noise + t x1 of the straight path from noise to x1."""
    return (1 - t) * noise + t * x1


def raise_noise(x: Tensor, sigma: float, gamma: float, xi: Tensor, *, inflation: float = 1.0) -> tuple[Tensor, float]:
    """State and level after a raise from sigma to (1 + gamma) sigma (arXiv 2206.00364, algorithm 2, lines 4-6).

    ``xi`` is standard normal, ``inflation`` its S_noise.
    """
    # Line 5: the raised noise level.
    raised = (1 + gamma) * sigma
    # Line 6: new noise of the missing variance.
    return x + (raised**2 - sigma**2) ** 0.5 * inflation * xi, raised


class AncestralRule:
    """DDPM's ancestral steps: q(x_{t-1} | x_t, x0) with an estimate in place of x0 (arXiv 2006.11239, eq. 7 and 15).

    Attributes:
        start: factor of the white noise from which sampling starts.
        order: indices t of the steps, from the noisiest to 0.
        sigmas: noise levels in the order of the steps, the final 0 included.
    """

    start = 1.0

    def __init__(self, schedule: Ancestral):
        self.order, self._at = range(len(schedule.betas))[::-1], schedule.coefficients()
        self._bar, self._sigma = schedule.alphas_bar.tolist(), schedule.sigmas.tolist()
        self._beta, self.sigmas = schedule.betas.tolist(), [*self._sigma[::-1], 0.0]

    def level(self, x: Tensor, t: int) -> tuple[Tensor, float]:
        """State x_t/sqrt(abar_t) and its sigma, as the shared denoiser expects them."""
        return x / self._bar[t] ** 0.5, self._sigma[t]

    def denoise(self, prior: Denoiser, x: Tensor, t: int) -> Tensor:
        """Estimate of x0 from x_t (b, C, *grid), by the predicted noise eps as in VP models."""
        # eps = (x_t - sqrt(abar_t) D)/sqrt(1 - abar_t).
        eps = (x - self._bar[t] ** 0.5 * prior(*self.level(x, t))) / (1 - self._bar[t]) ** 0.5
        # x0 = x_t/sqrt(abar_t) - sqrt(1/abar_t - 1) eps (eq. 15).
        return self._at["recip"][t] * x - self._at["recip_m1"][t] * eps

    def step(self, x: Tensor, denoised: Tensor, t: int, noise: Noise) -> Tensor:
        """Draw x_{t-1}; noise is drawn for t = 0 too, and not used."""
        # The mean of q(x_{t-1} | x_t, x0), eq. 7.
        mean = self._at["mean_x0"][t] * denoised + self._at["mean_x"][t] * x
        # Noise of the posterior's variance, none in the last step (algorithm 2, lines 3 and 4).
        xi = noise(x.shape[1:])
        return mean + self._at["std"][t] * xi if t else mean

    def noised(self, x0: Tensor, steps: int, noise: Noise) -> Tensor:
        """Draw from q(x | x0) (eq. 4) at the level reached after ``steps`` steps of the sampler; x0 after the last."""
        bar = [1.0, *self._bar][len(self._bar) - steps]
        return bar**0.5 * x0 + (1 - bar) ** 0.5 * noise(x0.shape[1:])

    def renoise(self, x: Tensor, t: int, noise: Noise) -> Tensor:
        """Draw x_t from q(x_t | x_{t-1}) (eq. 2): step t undone in distribution."""
        return (1 - self._beta[t]) ** 0.5 * x + self._beta[t] ** 0.5 * noise(x.shape[1:])


class ScaledRule:
    """Euler steps of the reverse SDE, or of its probability flow, for x_t = s (x0 + sigma eps) (arXiv 2503.11043).

    Attributes:
        start: factor of the white noise from which sampling starts.
        order: indices of the steps, 0 first.
        sigmas: noise levels in the order of the steps.

    Args:
        stochastic: the reverse SDE instead of the probability flow.
        quiet_end: draw the noise of the last step, but do not use it.
    """

    def __init__(self, schedule: Scaled, *, stochastic: bool, quiet_end: bool = False):
        self.order, self.start, self._stochastic = range(len(schedule.drift)), schedule.start, stochastic
        self._noisy = self.order[:-1] if quiet_end else self.order
        self._kappa, self._f = schedule.drift.tolist(), schedule.diffusion.tolist()
        self._s, self._sigma = schedule.scales.tolist(), schedule.sigmas.tolist()
        self.sigmas = self._sigma
        self._forward, self._added = schedule.forward_drift.tolist(), schedule.forward_diffusion.tolist()

    def denoise(self, prior: Denoiser, x: Tensor, i: int) -> Tensor:
        """Estimate of x0 from x = s (x0 + sigma eps)."""
        return prior(x / self._s[i], self._sigma[i])

    def step(self, x: Tensor, denoised: Tensor, i: int, noise: Noise) -> Tensor:
        """State after step i: kappa x + f score + sqrt(f) xi, or kappa x + f/2 score without noise."""
        # The score of x by Tweedie's formula.
        score = (denoised - x / self._s[i]) / (self._sigma[i] ** 2 * self._s[i])
        # Euler step of the probability flow.
        if not self._stochastic:
            return self._kappa[i] * x + self._f[i] / 2 * score
        # Euler-Maruyama step of the reverse SDE.
        mean, xi = self._kappa[i] * x + self._f[i] * score, noise(x.shape[1:])
        return mean + self._f[i] ** 0.5 * xi if i in self._noisy else mean

    def noised(self, x0: Tensor, steps: int, noise: Noise) -> Tensor:
        """Draw s (x0 + sigma eps) at the level that the sampler has reached after ``steps`` steps."""
        return self._s[steps] * (x0 + self._sigma[steps] * noise(x0.shape[1:]))

    def renoise(self, x: Tensor, i: int, noise: Noise) -> Tensor:
        """Euler-Maruyama step of the forward SDE back over the interval of step i, coefficients at its cleaner end."""
        return self._forward[i] * x + self._added[i] ** 0.5 * noise(x.shape[1:])


def guide(prior: Denoiser, x: Tensor, evaluate: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Gradient (b, C, *grid) with respect to x of losses (b,) that call the prior; see :func:`gradient_of`."""
    return gradient_of(prior.module, x, evaluate)
