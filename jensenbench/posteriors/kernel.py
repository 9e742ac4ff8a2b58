"""Metropolis-Hastings kernel with Crank-Nicolson proposals for a Gaussian reference: pCN, generalised pCN, MALA."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from jensenbench.posteriors.target import Point

ONE = torch.ones(1, dtype=torch.float64)


@dataclass(frozen=True)
class Reference:
    """N(mean, C) with C = I off the directions Q, along which the standard deviations are ``std``; one per level.

    Attributes:
        mean: (L, k).
        directions: (k, r) orthonormal Q, the same for all levels.
        std: (L, r) positive.
    """

    mean: Tensor
    directions: Tensor
    std: Tensor

    @classmethod
    def prior(cls, size: int) -> Self:
        """N(0, I)."""
        nothing = torch.zeros(size, 0, dtype=torch.float64)
        return cls(torch.zeros(1, size, dtype=torch.float64), nothing, nothing[:1])

    def repeated(self, chains: int) -> Self:
        """One reference per batch element, for a batch of all levels of each chain; a single level serves all."""
        if len(self.mean) == 1:
            return self
        return type(self)(self.mean.repeat(chains, 1), self.directions, self.std.repeat(chains, 1))

    def scale(self, w: Tensor, power: int = 1) -> Tensor:
        """C^{power/2} w of vectors (b, k)."""
        return w + ((w @ self.directions) * (self.std**power - 1)) @ self.directions.T

    def colour(self, w: Tensor) -> Tensor:
        """z = mean + C^{1/2} w."""
        return self.mean + self.scale(w)

    def whiten(self, z: Tensor) -> Tensor:
        """w = C^{-1/2} (z - mean)."""
        return self.scale(z - self.mean, -1)


def step(
    here: Point,
    evaluate: Callable[[Tensor], Point],
    reference: Reference,
    beta: Tensor,
    noise: Tensor,
    uniform: Tensor,
    *,
    drift: bool,
    inverse_temperature: Tensor = ONE,
) -> tuple[Point, Tensor]:
    """Next state of every chain, and its acceptance probability (b,).

    With w = C^{-1/2}(z - m), V(w) = Φ(z) + |z|²/2 - |w|²/2 and ρ = √(1 - β²) the proposal is

        w' = ρ w - (1 - ρ) ∇V(w) + β ξ        (the drift is left out without ``drift``)

    For N(m, C) = N(0, I) it is preconditioned Crank-Nicolson, with drift its Langevin version (`cotter2013mcmc`); for
    an approximation of the posterior it is the generalised one (`rudolf2018generalization`), with drift a
    preconditioned, semi-implicit MALA (`roberts1996exponential`).

    Args:
        here: the chains' current states.
        evaluate: returns the :class:`Point` at noise (b, k); with its gradient for ``drift``.
        reference: one per batch element, or one for all.
        beta: size of the step, (b,) or one for all.
        noise, uniform: ξ (b, k) standard normal, and (b,) uniform on [0, 1].
        inverse_temperature: factor of Φ, (b,) or one for all; 1 for the posterior.
    """
    size, tempering = beta.reshape(-1, 1), inverse_temperature.reshape(-1, 1)
    rho = (1 - size**2).sqrt()

    def drifted(w: Tensor, point: Point) -> Tensor:
        if not drift:
            return rho * w
        slope = reference.scale(tempering * point.gradient + point.z) - w
        return rho * w - (1 - rho) * slope

    # Propose w'.
    w = reference.whiten(here.z)
    centre = drifted(w, here)
    proposed = centre + size * noise
    there = evaluate(reference.colour(proposed))
    # Acceptance probability: ratio of the densities times that of the proposals back and forth.
    back = drifted(proposed, there)
    forward_cost, backward_cost = _half_squares(proposed - centre), _half_squares(w - back)
    gain = _energy(here, inverse_temperature) - _energy(there, inverse_temperature)
    ratio = torch.exp(torch.clamp(gain + (forward_cost - backward_cost) / beta**2, max=0.0)).nan_to_num(nan=0.0)
    # Accept or stay.
    accept = uniform < ratio
    return Point(*(_choose(accept, new, old) for new, old in zip(there, here, strict=True))), ratio


def _energy(point: Point, inverse_temperature: Tensor) -> Tensor:
    """-log of the (tempered) density, up to a constant."""
    return inverse_temperature * point.potential + _half_squares(point.z)


def _half_squares(vectors: Tensor) -> Tensor:
    return vectors.square().sum(1) / 2


def _choose(accept: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(accept.reshape(-1, *[1] * (old.ndim - 1)), new, old)
