"""One step of a chain: Crank-Nicolson proposals that are reversible for a Gaussian reference, with or without drift."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Self

import torch
from torch import Tensor

from jensenbench.references.target import Point


@dataclass(frozen=True)
class Reference:
    """N(mean, C) with C = I along all directions but Q, where its standard deviations are ``std``.

    Attributes:
        mean: (k,).
        directions: (k, r) orthonormal Q.
        std: (r,) positive.
    """

    mean: Tensor
    directions: Tensor
    std: Tensor

    @classmethod
    def prior(cls, size: int) -> Self:
        """N(0, I)."""
        nothing = torch.zeros(size, 0, dtype=torch.float64)
        return cls(torch.zeros(size, dtype=torch.float64), nothing, nothing[0])

    def scale(self, w: Tensor, power: int = 1) -> Tensor:
        """C^{power/2} w of rows (b, k)."""
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
    beta: float,
    noise: Tensor,
    uniform: Tensor,
    *,
    drift: bool,
    temperature: float = 1.0,
) -> tuple[Point, Tensor]:
    """The next state of every chain, and the acceptance probabilities (b,).

    With w = C^{-1/2}(z - m), V(w) = Φ(z) + |z|²/2 - |w|²/2 and ρ = √(1 - β²) the proposal is

        w' = ρ w - (1 - ρ) ∇V(w) + β ξ        (the drift is left out without ``drift``)

    For N(m, C) = N(0, I) it is preconditioned Crank-Nicolson, with drift its Langevin version (`cotter2013mcmc`); for
    an approximation of the posterior it is the generalised one (`rudolf2018generalization`), with drift a
    preconditioned, semi-implicit MALA (`roberts1996exponential`).

    Args:
        here: current states of the chains.
        evaluate: the :class:`Point` at a noise; with its gradient for ``drift``.
        noise, uniform: ξ (b, k) standard normal, and (b,) uniform on [0, 1].
        temperature: factor of Φ, 1 for the posterior.
    """
    rho = sqrt(1 - beta**2)

    def drifted(w: Tensor, point: Point) -> Tensor:
        if not drift:
            return rho * w
        slope = reference.scale(temperature * point.gradient + point.z) - w
        return rho * w - (1 - rho) * slope

    w = reference.whiten(here.z)
    centre = drifted(w, here)
    proposed = centre + beta * noise
    there = evaluate(reference.colour(proposed))
    back = drifted(proposed, there)
    forward_cost, backward_cost = _squares(proposed - centre), _squares(w - back)
    gain = _energy(here, temperature) - _energy(there, temperature)
    ratio = torch.exp(torch.clamp(gain + (forward_cost - backward_cost) / beta**2, max=0.0)).nan_to_num(nan=0.0)
    accept = uniform < ratio
    return Point(*(_choose(accept, new, old) for new, old in zip(there, here, strict=True))), ratio


def _energy(point: Point, temperature: float) -> Tensor:
    """-log of the (tempered) density, up to a constant."""
    return temperature * point.potential + _squares(point.z)


def _squares(rows: Tensor) -> Tensor:
    return rows.square().sum(1) / 2


def _choose(accept: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(accept.reshape(-1, *[1] * (old.ndim - 1)), new, old)
