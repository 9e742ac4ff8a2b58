"""Closed-form Jensen gap: moments of a quadratic residual under a Gaussian or Gaussian-mixture posterior."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.errors import UserError
from jensenbench.jensen.estimate import GapEstimate, square, unknown
from jensenbench.jensen.residual import InteriorResidual
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.mixture import MixturePrior

LARGEST_RANK = 64  # of the posterior, up to which fourth moments are summed over all pairs of directions
CHUNK = 256  # directions at a time


@dataclass(frozen=True)
class Components:
    """x0 | x_t ~ sum_k weights_k N(means_k, F Fᵀ): weights (n, K), means (n, K, C, *grid), factor F (r, C, *grid)."""

    weights: Tensor
    means: Tensor
    factor: Tensor

    @property
    def mean(self) -> Tensor:
        """E[x0 | x_t], (n, C, *grid)."""
        return torch.einsum("nk,nk...->n...", self.weights, self.means)


def has_closed_form(prior: Denoiser) -> bool:
    """Whether :func:`analytic_gap` knows the posterior of a prior."""
    return isinstance(prior, GaussianPrior | MixturePrior)


def posterior(prior: Denoiser, x: Tensor, sigma: float) -> Components:
    """Posterior of a Gaussian or mixture prior given x = x0 + sigma eps."""
    if isinstance(prior, GaussianPrior):
        return _gaussian(prior, x.double(), sigma)
    if isinstance(prior, MixturePrior):
        return _mixture(prior, x.double(), sigma)
    raise UserError(f"{type(prior).__name__} has no posterior in closed form; use another estimator")


def analytic_gap(residual: InteriorResidual, prior: Denoiser, x: Tensor, sigma: float) -> GapEstimate:
    """The exact gap at states x (n, C, *grid); raises UserError for residuals of a degree above two.

    With Q the quadratic part of R, E[R(m + F z)] = R(m) + sum_j Q(F_j, F_j). The mean *square* of a quadratic residual
    needs all pairs of directions: it is unknown where the posterior has more than ``LARGEST_RANK`` directions.
    """
    components = posterior(prior, x, sigma)
    shift = _sum(residual.quadratic(part) for part in components.factor.split(CHUNK))
    flat = components.means.flatten(0, 1)
    centred = residual(flat) + shift
    expected = torch.einsum("nk,nkm->nm", components.weights, centred.unflatten(0, components.weights.shape))
    at_mean = residual(components.mean)
    denoised = square(at_mean)
    spread = _spread(residual, flat, components.factor)
    total = unknown(x)
    if spread is not None:
        total = (components.weights * (square(centred) + spread).unflatten(0, components.weights.shape)).sum(1)
    always = torch.full_like(denoised, torch.inf)
    return GapEstimate(square(expected - at_mean), denoised, total, total - denoised, unknown(x), always)


def _spread(residual: InteriorResidual, means: Tensor, factor: Tensor) -> Tensor | None:
    """Variance (n,) of R(m + F z), a mean over points: sum_j |L_m F_j|² + 2 sum_ij |Q(F_i, F_j)|²."""
    if residual.degree == 1:
        origin = torch.zeros_like(means[:1])
        return _sum(square(residual.linear(origin, part)).sum()[None] for part in factor.split(CHUNK))
    if len(factor) > LARGEST_RANK:
        return None
    slopes = _sum(square(residual.linear(means, column[None])) for column in factor)
    curved = _sum(square(residual.bilinear(factor, column.expand_as(factor))).sum() for column in factor)
    return slopes + 2 * curved


def _sum(parts: Iterable[Tensor]) -> Tensor:
    """Sum over directions: of parts (k, m) to (m,), of parts (n,) to (n,)."""
    return torch.stack([part.sum(0) if part.ndim > 1 else part for part in parts]).sum(0)


def _gaussian(prior: GaussianPrior, x: Tensor, sigma: float) -> Components:
    std, rest = ((sigma**2 * s**2 / (s**2 + sigma**2)) ** 0.5 for s in (prior.std, prior.mean.new_tensor(prior.rest)))
    conditional = GaussianPrior(prior.mean, prior.directions, std, float(rest))
    factor = conditional.factor().T.reshape(-1, *prior.shape)
    return Components(x.new_ones(len(x), 1), prior(x, sigma)[:, None], factor)


def _mixture(prior: MixturePrior, x: Tensor, sigma: float) -> Components:
    level, total = x.new_full((len(x),), sigma), prior.tau**2 + sigma**2
    weights = prior.responsibilities(x, torch.ones_like(level), level.square())
    means = (prior.tau**2 * x[:, None] + sigma**2 * prior.means) / total
    width = prior.tau * sigma / total**0.5
    factor = width * torch.eye(x[0].numel(), dtype=x.dtype).reshape(-1, *prior.shape)
    return Components(weights, means, factor)
