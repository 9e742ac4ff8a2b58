"""Exact posterior of a Gaussian-mixture prior given observed entries, noisy or noise-free."""

import torch
from torch import Tensor

from jensenbench.core.noise import Noise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError
from jensenbench.numerics.random import choose
from jensenbench.priors.mixture import MixturePrior


class MixturePosterior:
    """Posterior of the physical fields given observed entries y: again a mixture, with the components' weights

        p(k | y) ∝ w_k Π N(y; μ_k, τ² + s²)    over the observed entries, s the standard deviation of the noise.

    ``mean`` and ``std`` are (b, C, *grid) in physical units; noise-free data are met exactly.
    """

    note: str = ""

    def __init__(self, problem: Problem, prior: MixturePrior):
        data = problem.observation
        if not isinstance(data, MaskObservation):
            raise UserError("the exact posterior of a mixture needs entries observed through a mask, and got none")
        means = problem.decode(prior.means)  # (K, C, *grid)
        origin = torch.zeros_like(prior.means[:1])
        spread = problem.decode(origin + prior.tau) - problem.decode(origin)
        unit = problem.scale.double().reshape(-1, *[1] * (means.ndim - 2))
        variance, noise = spread.square(), (data.noise_std * unit).square()
        seen, total = data.mask.bool()[:, None], variance + noise
        misfit = data.values.double()[:, None] - means
        likelihood = torch.where(seen, -misfit.square() / total / 2, 0.0).flatten(2).sum(-1)
        self.weights = (prior.log_weights + likelihood).softmax(1)  # (b, K)
        self.means = means + torch.where(seen, variance / total, 0.0) * misfit  # (b, K, C, *grid)
        self.width = torch.where(seen, variance * noise / total, variance)[:, 0].sqrt()  # (b, C, *grid)

    @property
    def mean(self) -> Tensor:
        """Posterior mean of the fields."""
        return self._average(self.means)

    @property
    def std(self) -> Tensor:
        """Posterior standard deviation of every entry: that of the components, and between them."""
        between = self._average((self.means - self.mean[:, None]).square())
        return (self.width.square() + between).sqrt()

    def sample(self, noise: Noise) -> Tensor:
        """One exact draw per batch element, (b, C, *grid)."""
        shape = self.width.shape[1:]
        normals = noise((1 + shape.numel(),)).double()
        component = choose(self.weights, normals[:, 0])
        chosen = self.means[torch.arange(len(component)), component]
        return chosen + self.width * normals[:, 1:].reshape(-1, *shape)

    def _average(self, values: Tensor) -> Tensor:
        return (self.weights.reshape(*self.weights.shape, *[1] * (values.ndim - 2)) * values).sum(1)
