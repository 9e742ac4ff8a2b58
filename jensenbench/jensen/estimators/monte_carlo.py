"""Monte Carlo Jensen gap: posterior draws of any prior by ancestral sampling from x_t."""

from collections.abc import Sequence

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import KeyedNoise, Replay
from jensenbench.diffusion.samplers import AncestralRule
from jensenbench.diffusion.schedules import Ancestral, EDMGrid, betas_between
from jensenbench.jensen.estimate import GapEstimate, product, split_in_halves, unknown
from jensenbench.jensen.residual import InteriorResidual
from jensenbench.priors.empirical import EmpiricalPrior, effective_states

LAST = 0.002  # noise level before the last step, which goes to the denoised state
SHARE = 0.02  # that level is at most this share of the first one


@torch.no_grad()
def posterior_draws(
    prior: Denoiser, x: Tensor, sigma: float, keys: Sequence[tuple[object, ...]], *, draws: int, steps: int
) -> Tensor:
    """Draws (n, K, C, *grid) of x0 given x = x0 + sigma eps (n, C, *grid).

    Ancestral steps (arXiv 2006.11239) down the EDM grid that starts at sigma, each with the mean of the denoiser's
    outputs at both of its ends: for a Gaussian prior the variance of a step is then right to second order, with the
    output at its start alone to first order. A probability flow would give one point for each x, not its posterior.

    Args:
        keys: one per state, on which its draws depend, and on their number.
    """
    grid = EDMGrid(steps=steps, sigma_min=min(LAST, SHARE * sigma), sigma_max=sigma).sigmas()[:-1]
    rule = AncestralRule(Ancestral(betas_between(1 / (1 + grid.flip(0).square()))))
    noise = KeyedNoise(keys, device=x.device)
    state = x.double().repeat_interleave(draws, 0) / (1 + sigma**2) ** 0.5
    for t in rule.order:
        drawn, denoised = noise((draws, *prior.shape)).flatten(0, 1), rule.denoise(prior, state, t)
        if t:
            predicted = rule.step(state, denoised, t, Replay([drawn]))
            denoised = (denoised + rule.denoise(prior, predicted, t - 1)) / 2
        state = rule.step(state, denoised, t, Replay([drawn]))
    return state.unflatten(0, (len(x), draws))


def monte_carlo_gap(
    residual: InteriorResidual,
    prior: Denoiser,
    x: Tensor,
    sigma: float,
    keys: Sequence[tuple[object, ...]],
    *,
    draws: int,
    steps: int,
) -> GapEstimate:
    """The gap at states x from ``draws`` posterior draws each, even and at least four.

    For k draws the plug-in estimate mean(R) - R(mean) is too small by the factor (k - 1)/k, exactly for a quadratic R
    and to first order for others; the product of two corrected halves is then an unbiased estimate of the square.
    """
    found = posterior_draws(prior, x, sigma, keys, draws=draws, steps=steps)
    values = residual(found.flatten(0, 1)).unflatten(0, found.shape[:2])
    (first, low), (second, high) = (
        _half(residual, states, parts)
        for states, parts in zip(split_in_halves(found), split_in_halves(values), strict=True)
    )
    denoised, total = product(low, high), values.square().mean((1, 2))
    return GapEstimate(
        product(first, second), denoised, total, total - denoised, unknown(x), effective_count(prior, x, sigma, draws)
    )  # fmt: skip


def effective_count(prior: Denoiser, x: Tensor, sigma: float, count: float) -> Tensor:
    """Effective numbers (n,) of states of an empirical prior, else ``count``."""
    if isinstance(prior, EmpiricalPrior):
        return effective_states(prior.weights(x, sigma))
    return torch.full((len(x),), float(count), dtype=torch.float64)


def _half(residual: InteriorResidual, states: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Estimates (n, m) of the gap and of R(E[x0|x_t]) = E[R(x0)|x_t] - gap from (n, k) draws."""
    count, mean = states.shape[1], values.mean(1)
    gap = (mean - residual(states.mean(1))) * count / (count - 1)
    return gap, mean - gap
