"""Gaussian-mixture prior with components of equal width: exact denoiser, velocity and score."""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.pde import PDE
from jensenbench.errors import UserError
from jensenbench.numerics.tensors import per_row


class MixturePrior(Denoiser):
    """x0 ~ sum_k w_k N(mu_k, tau² I), in prior coordinates.

    Args:
        means: (K, C, *grid) component means.
        weights: (K,) positive; normalised here.
        tau: standard deviation of every component, positive.
    """

    sigma_min, sigma_max = 0.0, float("inf")

    def __init__(self, means: Tensor, weights: Tensor, tau: float):
        if len(means) != len(weights) or not len(means):
            raise UserError(f"mixture prior: {len(means)} means and {len(weights)} weights; give one weight per mean")
        if not (weights > 0).all() or tau <= 0:
            raise UserError(f"mixture prior: weights {weights.tolist()} and tau = {tau} must be positive")
        self.means, self.tau = means.double(), float(tau)
        self.log_weights = (weights.double() / weights.double().sum()).log()
        self.shape = tuple(means.shape[1:])
        self._flat = self.means.flatten(1)
        centred = self._flat - self.log_weights.exp() @ self._flat
        between = (self.log_weights.exp() @ centred.square()).mean()
        self.sigma_data = float((between + self.tau**2).sqrt())

    @classmethod
    def of_pde(cls, pde: PDE, codec: Codec) -> Self:
        """Distribution of the states of a PDE that a Gaussian mixture generates; the codec must keep it isotropic."""
        means, weights, width = pde.mixture()
        if codec.power or len(set(codec.scale)) > 1:
            raise UserError(
                f"{pde.label}: a mixture prior needs a codec of power 0 with one scale, got {codec.state()}"
            )
        return cls(codec.encode(means), weights, width / codec.scale[0])

    def tensors(self) -> dict[str, Tensor]:
        """What :meth:`from_tensors` needs, by name."""
        tau = torch.tensor(self.tau, dtype=torch.float64)
        return {"means": self.means, "weights": self.log_weights.exp(), "tau": tau}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The prior that :meth:`tensors` describes; raises KeyError if one is missing."""
        return cls(tensors["means"], tensors["weights"], float(tensors["tau"]))

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        variance = sigma.square()
        average = self._average(x, torch.ones_like(sigma), variance)
        keep = per_row(self.tau**2 / (self.tau**2 + variance), x)
        return keep * x + (1 - keep) * average

    def velocity(self, x: Tensor, t: Tensor | float) -> Tensor:
        """E[x1 - eps | x_t = x] of the flow x_t = (1-t) eps + t x1, regular on t in [0, 1]."""
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))
        average = self._average(x, t, (1 - t).square())
        slope = (t * self.tau**2 - (1 - t)) / ((1 - t).square() + t.square() * self.tau**2)
        return average + per_row(slope, x) * (x - per_row(t, x) * average)

    def score(self, x: Tensor, mean_factor: Tensor | float, variance: Tensor | float) -> Tensor:
        """Score of x = m x0 + sqrt(variance) eps, for m in [0, 1] and any variance >= 0."""
        m = torch.as_tensor(mean_factor, dtype=x.dtype, device=x.device).expand(len(x))
        v = torch.as_tensor(variance, dtype=x.dtype, device=x.device).expand(len(x))
        spread = m.square() * self.tau**2 + v
        return (per_row(m, x) * self._average(x, m, v) - x) / per_row(spread, x)

    def responsibilities(self, x: Tensor, m: Tensor, variance: Tensor) -> Tensor:
        """(b, K) probability of each component given x = m x0 + sqrt(variance) eps."""
        means = self._flat.to(x)
        spread = (m.square() * self.tau**2 + variance)[:, None]
        # |x - m mu|² without its part |x|², which is common to all components and would lose digits.
        fit = m[:, None] * (x.flatten(1) @ means.T) - m[:, None].square() * means.square().sum(1) / 2
        return torch.softmax(self.log_weights.to(x) + fit / spread, dim=1)

    def _average(self, x: Tensor, m: Tensor, variance: Tensor) -> Tensor:
        """Component means averaged by their responsibilities, (b, C, *grid)."""
        return (self.responsibilities(x, m, variance) @ self._flat.to(x)).reshape(x.shape)
