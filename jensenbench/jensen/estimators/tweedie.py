"""Tweedie-Hutchinson Jensen gap: posterior covariance from vector-Jacobian products of any denoiser."""

from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import Noise
from jensenbench.jensen.estimate import GapEstimate, product, split_in_halves, square, unknown
from jensenbench.jensen.estimators.monte_carlo import effective_count
from jensenbench.jensen.residual import InteriorResidual
from jensenbench.numerics.autograd import frozen
from jensenbench.priors.network import NetworkPrior


def tweedie_gap(
    residual: InteriorResidual,
    prior: Denoiser,
    x: Tensor,
    sigma: float,
    noise: Noise,
    *,
    probes: int,
    directions: Tensor | None = None,
) -> GapEstimate:
    """The gap of a quadratic residual at states x (n, C, *grid), from ``probes`` random directions per state.

    Second-order Tweedie: Cov(x0|x_t) = sigma² ∂D/∂x =: C (`rozet2024moment`), and with white z
    E[R(x0)|x_t] - R(E[x0|x_t]) = E_z B(z, C z), B the bilinear form of R's quadratic part (Hutchinson). The mean
    square of R needs fourth moments unless R is affine, where E|R|² - |R(D)|² = E_z (A z)·(A C z).
    The forms are symmetric, so that the transposed Jacobian may be used: one graph gives all products.

    ``network`` is |E[R(x0)|x_t]|² = |R(D) + gap|²: what is left of the residual without the gap, zero where
    all posterior samples solve the equation.

    Args:
        noise: one stream per state; ``probes`` are even and at least four.
        directions: (r, C, *grid) orthonormal; they are summed over one by one and projected out of z
            (`meyer2021hutchpp`). The widest directions of the data carry most of the variance of the plain estimate.
    """
    residual.require_quadratic()
    prior, affine = in_single_precision(prior), residual.degree == 1
    fixed = x.new_zeros(0, *prior.shape) if directions is None else directions.to(x)
    answer, covariance = _covariance(prior, x, sigma)
    pairs = [(z, covariance(z)) for z in (_off(fixed, noise(prior.shape).to(x)) for _ in range(probes))]
    sums = [(z, covariance(z)) for z in (direction.expand_as(x) for direction in fixed)]

    def trace(form: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        drawn = torch.stack([form(*pair) for pair in pairs], 1)
        return drawn + sum((form(*pair) for pair in sums), torch.zeros_like(drawn[:, 0]))[:, None]

    first, second = (half.mean(1) for half in split_in_halves(trace(residual.bilinear)))
    at_mean = residual(answer)
    denoised, network = square(at_mean), product(at_mean + first, at_mean + second)
    loss_gap = trace(lambda z, image: _slopes(residual, z, image)).mean(1) if affine else unknown(x)
    ess = effective_count(prior, x, sigma, torch.inf)
    return GapEstimate(product(first, second), denoised, denoised + loss_gap, loss_gap, network, ess)


def _off(fixed: Tensor, z: Tensor) -> Tensor:
    """z (n, C, *grid) without its part along orthonormal directions."""
    flat, basis = z.flatten(1), fixed.flatten(1)
    return (flat - flat @ basis.T @ basis).reshape(z.shape)


def _covariance(prior: Denoiser, x: Tensor, sigma: float) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """D(x), and z -> sigma² (∂D/∂x)ᵀ z."""
    with frozen(prior.module), torch.enable_grad():
        leaf = x.detach().requires_grad_()
        answer = prior(leaf, sigma)
    return answer.detach(), lambda z: sigma**2 * torch.autograd.grad(answer, leaf, z, retain_graph=True)[0]


def _slopes(residual: InteriorResidual, z: Tensor, image: Tensor) -> Tensor:
    """(A z)·(A C z) (n,) of an affine residual."""
    origin = torch.zeros_like(z[:1])
    return product(residual.linear(origin, z), residual.linear(origin, image))


def wide_directions(states: Tensor, count: int) -> Tensor:
    """The ``count`` (at most) widest orthonormal directions (r, C, *grid) of states (N, C, *grid)."""
    centred = (states - states.mean(0)).double().flatten(1)
    _, _, basis = torch.linalg.svd(centred, full_matrices=False)
    return basis[: min(count, len(states) - 1)].reshape(-1, *states.shape[1:])


def in_single_precision(prior: Denoiser) -> Denoiser:
    """The same prior, a network without bfloat16: the posterior covariance is a small difference of large slopes."""
    if not isinstance(prior, NetworkPrior):
        return prior
    single = copy(prior)
    single.precision = "float32"
    return single
