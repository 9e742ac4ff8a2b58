"""Jensen gap under an empirical prior: exact softmax posterior over N states, for any residual."""

import torch
from torch import Tensor

from jensenbench.jensen.estimate import GapEstimate, square, unknown
from jensenbench.jensen.residual import InteriorResidual
from jensenbench.priors.empirical import EmpiricalPrior, effective_states


def empirical_gap(
    residual: InteriorResidual,
    prior: EmpiricalPrior,
    x: Tensor,
    sigma: Tensor | float,
    *,
    trained: Tensor | None = None,
) -> GapEstimate:
    """The gap at states x (n, C, *grid), exact for the empirical prior, not for the distribution behind its states.

    Args:
        sigma: noise level of each state (n,), or of all.
        trained: R(D(x)) (n, m) of a trained prior; its difference from R at the posterior mean is ``network``.
    """
    weights, size = prior.weights(x, sigma), x[0].numel()

    def parts(states: Tensor) -> Tensor:
        values = residual(states)
        return torch.cat([states.flatten(1), square(values)[:, None], values], 1)

    means = prior.average(weights, parts)
    at_mean, total, expected = residual(means[:, :size].reshape(x.shape)), means[:, size], means[:, size + 1 :]
    denoised = square(at_mean)
    network = unknown(x) if trained is None else square(trained - at_mean)
    ess = effective_states(weights)
    return GapEstimate(square(expected - at_mean), denoised, total, total - denoised, network, ess)
