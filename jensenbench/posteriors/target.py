"""Posterior density of the white noise behind a state, given noisy observations of the state."""

from typing import NamedTuple

import torch
from torch import Tensor

from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import LatentMap
from jensenbench.errors import UserError


class Point(NamedTuple):
    """Noise (b, k) with what the density needs of it: states, data potential and, where asked for, its gradient."""

    z: Tensor
    fields: Tensor
    potential: Tensor
    gradient: Tensor


class Target:
    """p(z | data) ∝ exp(-|z|²/2 - Φ(z)), Φ = ½ Σ ((x(z) - values)/(noise_std scale))² over the observed entries.

    Args:
        latent: the states x of the noise.
        observation: data of one instance, a batch of one with noise; None leaves the prior.
        scale: (C,) standard deviation of each field, the unit of the noise.
    """

    def __init__(self, latent: LatentMap, observation: MaskObservation | None, scale: Tensor):
        self.latent = latent
        self._entries, self._values, self._unit = torch.zeros(0, dtype=torch.long), scale[:0], scale[:0]
        if observation is None:
            return
        if len(observation.mask) != 1:
            raise UserError(f"a reference posterior is one of one instance, got data of {len(observation.mask)}")
        if observation.noise_std == 0:
            raise UserError("a reference posterior needs noisy data (noise_std > 0): noise-free data have no density")
        shape = observation.mask.shape[1:]
        unit = (observation.noise_std * scale.double()).reshape(-1, *[1] * (len(shape) - 1)).expand(shape)
        self._entries = observation.mask[0].flatten().nonzero().flatten()
        self._values = observation.values[0].double().flatten()[self._entries]
        self._unit = unit.flatten()[self._entries]

    def fields(self, z: Tensor) -> Tensor:
        """States (b, C, *grid); NaN where the solver refuses the noise, to which the posterior gives no mass."""
        try:
            return self.latent(z)
        except UserError:
            if len(z) == 1:
                like = self.latent.unsolved(z @ self.latent.factor)
                return torch.full_like(like, torch.nan)
            return torch.cat([self.fields(one) for one in z.split(1)])

    def defects(self, fields: Tensor) -> Tensor:
        """Deviations (b, m) from the data, in units of the data's noise."""
        return (fields.flatten(1)[:, self._entries] - self._values) / self._unit

    def point(self, z: Tensor, *, differentiate: bool) -> Point:
        """Everything at noise (b, k); the gradient of Φ is zero where it is not asked for."""
        if not differentiate:
            fields = self.fields(z)
            return Point(z, fields, self._potential(fields), torch.zeros_like(z))
        with torch.enable_grad():
            variable = z.detach().requires_grad_()
            fields = self.fields(variable)
            potential = self._potential(fields)
            finite = torch.where(torch.isfinite(potential), potential, 0.0).sum()
            (gradient,) = torch.autograd.grad(finite, variable)
        return Point(z, fields.detach(), potential.detach(), torch.nan_to_num(gradient))

    def linearise(self, z: Tensor) -> Tensor:
        """Jacobian (m, k) of the defects at noise (k,); a level set is replaced by its smooth surrogate."""
        count = len(self._entries)
        with torch.enable_grad():
            variable = z.detach().expand(count, -1).clone().requires_grad_()
            defects = self.defects(self.latent.smooth(variable))
            (jacobian,) = torch.autograd.grad(defects.diagonal().sum(), variable)
        return jacobian

    def _potential(self, fields: Tensor) -> Tensor:
        refused = ~torch.isfinite(fields.detach()).flatten(1).all(1)
        return (self.defects(fields).square().sum(1) / 2).masked_fill(refused, torch.inf)
