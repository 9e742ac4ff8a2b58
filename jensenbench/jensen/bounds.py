"""DPS likelihood approximation: its gap and bounds; optimum of a residual-regularised loss. On exact priors."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.jensen.estimators.analytic import Components
from jensenbench.numerics.least_norm import Linearised, least_norm

Predict = Callable[[Tensor], Tensor]  # affine, prior coordinates (b, C, *grid) to data (b, m)
NEWTON_STEPS = 50  # at most
SETTLED = 1e-13  # largest change of a state in a step after which the iteration stops
SOLVED = 1e-9  # largest norm of the optimality condition, relative to that of the posterior mean


@dataclass(frozen=True)
class Likelihood:
    """log E[p(y|x0) | x_t] (``expected``) and log p(y | E[x0|x_t]) (``at_mean``), each (n,), of Gaussian data y."""

    expected: Tensor
    at_mean: Tensor


@dataclass(frozen=True)
class Bounded:
    """|E[p(y|x0)|x_t] - p(y|E[x0|x_t])| (n,), its bound as printed and that with a Lipschitz constant."""

    gap: Tensor
    printed: Tensor
    lipschitz: Tensor


def likelihood_gap(posterior: Components, predict: Predict, values: Tensor, std: float) -> Likelihood:
    """Both likelihoods of data (n, m) = predict(x0) + std*eps, in closed form: DPS replaces the first by the second."""
    _require_noise(std)
    origin = predict(torch.zeros_like(posterior.factor[:1]))
    spread = (predict(posterior.factor) - origin).T
    noise = std**2 * torch.eye(values.shape[1], dtype=values.dtype)
    centres = predict(posterior.means.flatten(0, 1)).unflatten(0, posterior.weights.shape)
    parts = _log_density(values[:, None] - centres, noise + spread @ spread.T)
    expected = torch.logsumexp(posterior.weights.log() + parts, 1)
    return Likelihood(expected, _log_density(values - predict(posterior.mean), noise))


def theorem_one(posterior: Components, predict: Predict, values: Tensor, std: float) -> Bounded:
    """Theorem 1 of DPS (`chung2023dps`): the likelihood's gap is at most L |A| E|x0 - E[x0|x_t]|.

    As printed, L = m/sqrt(2 pi std²) exp(-1/(2 std²)). That is no Lipschitz constant of the density of m Gaussian
    values, whose slope is largest one std from its mean: (2 pi std²)^(-m/2) exp(-1/2)/std. The mean distance is
    replaced by the root of the trace of the posterior covariance, which is larger.
    """
    found = likelihood_gap(posterior, predict, values, std)
    reach = operator_norm(predict, posterior.mean.shape[1:]) * total_variance(posterior).sqrt()
    return bounded(found, reach, values.shape[1], std)


def bounded(found: Likelihood, reach: Tensor, count: int, std: float) -> Bounded:
    """The gap of ``count`` data with its bounds; ``reach`` (n,) is a bound of |A| E|x0 - E[x0|x_t]|."""
    printed = count / math.sqrt(2 * math.pi * std**2) * math.exp(-1 / (2 * std**2))
    steepest = (2 * math.pi * std**2) ** (-count / 2) * math.exp(-0.5) / std
    return Bounded((found.expected.exp() - found.at_mean.exp()).abs(), printed * reach, steepest * reach)


def operator_norm(predict: Predict, shape: Sequence[int]) -> float:
    """|A|, the largest singular value of an affine map of states (C, *grid)."""
    columns = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    operator = predict(columns) - predict(torch.zeros_like(columns[:1]))
    return float(torch.linalg.matrix_norm(operator, 2))


def total_variance(posterior: Components) -> Tensor:
    """Trace (n,) of the posterior covariance."""
    between = (posterior.means - posterior.mean[:, None]).flatten(2).square().sum(2)
    return (posterior.weights * between).sum(1) + posterior.factor.square().sum()


def regularised_optimum(residual: Callable[[Tensor], Tensor], mean: Tensor, weight: float) -> Tensor:
    """D* (n, C, *grid) that minimises |D - E[x0|x_t]|² + weight |R(D)|², |R|² a sum over points.

    It meets D* = E[x0|x_t] - weight (∇R(D*))ᵀ R(D*) (`yeomsong2025softly`, proposition 3.1): a denoiser trained with
    that residual term is biased by the last term even if the network is perfect. Solved by Gauss–Newton from the mean;
    NaN for states where it has not converged.
    """
    if not weight > 0:
        raise UserError(f"weight = {weight} of the residual term must be positive")
    state = mean.clone()
    for _ in range(NEWTON_STEPS):
        at = Linearised(residual, state)
        target = at.jvp(state - mean) - at.value
        step = least_norm(at, target, tolerance=0.0, iterations=4 * target.shape[1], damping=1 / weight).step
        before, state = state, mean + step
        if float((state - before).abs().max()) <= SETTLED:
            break
    at = Linearised(residual, state)
    error = (state + weight * at.vjp(at.value) - mean).flatten(1).norm(dim=1)
    wrong = error > SOLVED * (1 + mean.flatten(1).norm(dim=1))
    return torch.where(wrong.reshape(-1, *[1] * (mean.ndim - 1)), torch.nan, state)


def _log_density(distance: Tensor, covariance: Tensor) -> Tensor:
    """log N(distance; 0, covariance) over the last axis."""
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, distance.reshape(-1, distance.shape[-1]).T, upper=False)
    constant = factor.diagonal().log().sum() + distance.shape[-1] / 2 * math.log(2 * math.pi)
    return (-white.square().sum(0) / 2 - constant).reshape(distance.shape[:-1])


def _require_noise(std: float) -> None:
    if not 0 < std < math.inf:
        raise UserError(f"noise std = {std}: the likelihood of noise-free data has no density; use a positive one")
