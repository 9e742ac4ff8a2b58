"""Diffusion prior as a denoiser E[x0 | x0 + sigma*eps = x], with the velocity and score that follow from it."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from jensenbench.numerics.tensors import per_row


class Denoiser(ABC):
    """E[x0 | x0 + sigma*eps = x] in prior coordinates (the codec's encoding of the fields).

    Subclasses implement :meth:`denoise` for sigma inside ``[sigma_min, sigma_max]``. Any float
    dtype goes in and the same comes out. ``module`` is the trainable network, None for closed forms.
    """

    shape: tuple[int, ...]
    sigma_min: float
    sigma_max: float
    sigma_data: float
    module: nn.Module | None = None

    @abstractmethod
    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Posterior mean at (b, C, *grid) ``x`` for (b,) ``sigma`` in [sigma_min, sigma_max]."""

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Posterior mean for every sigma in [0, inf]; a scalar sigma holds for the whole batch.

        Above ``sigma_max`` it is D(x sigma_max/sigma, sigma_max), at infinity the mean; below
        ``sigma_min`` it is D(x, sigma_min).
        """
        if x.shape[1:] != torch.Size(self.shape):
            raise ValueError(f"prior of shape {self.shape} was given states of shape {tuple(x.shape[1:])}")
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(x.shape[0])
        inside = sigma.clamp(self.sigma_min, self.sigma_max)
        shrink = torch.where(sigma > self.sigma_max, inside / sigma, torch.ones_like(sigma))
        return self.denoise(x * per_row(shrink, x), inside)

    def velocity(self, x: Tensor, t: Tensor | float) -> Tensor:
        """E[x1 - eps | x_t = x] of the flow x_t = (1-t) eps + t x1, t in [0, 1].

        It is (D(x/t; (1-t)/t) - x)/(1-t), by its limit where (1-t)/t exceeds ``sigma_max``; x at t = 1, where
        x_t says nothing about eps.
        """
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(x.shape[0])
        beyond = t <= 1 / (1 + self.sigma_max)
        inside, top = torch.where(beyond, 1, t), self.sigma_max if self.sigma_max < math.inf else 0.0
        # D(x/t; sigma) above sigma_max is D(x sigma_max/(1-t); sigma_max), also at t = 0
        factor = torch.where(beyond, top / torch.where(beyond, 1 - t, 1), 1 / inside)
        estimate = self(per_row(factor, x) * x, torch.where(beyond, self.sigma_max, (1 - t) / inside))
        rest = per_row(1 - t, x)
        return torch.where(rest > 0, (estimate - x) / torch.where(rest > 0, rest, 1), x)

    def score(self, x: Tensor, mean_factor: Tensor | float, variance: Tensor | float) -> Tensor:
        """Score of x = m x0 + sqrt(variance) eps by Tweedie's formula: (m D(x/m; sqrt(variance)/m) - x)/variance."""
        factor = torch.as_tensor(mean_factor, dtype=x.dtype, device=x.device).expand(x.shape[0])
        spread = torch.as_tensor(variance, dtype=x.dtype, device=x.device).expand(x.shape[0])
        m, v = per_row(factor, x), per_row(spread, x)
        return (m * self(x / m, spread.sqrt() / factor) - x) / v
