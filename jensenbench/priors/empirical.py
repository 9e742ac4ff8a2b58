"""Empirical prior: exact denoiser of the uniform distribution on N states, by softmax weights."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Self

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.errors import UserError

FEWEST_STATES = 5.0  # effective number of states below which a posterior has collapsed onto single states
CHUNK = 2**22  # numbers of the states that are in float64 at a time


class EmpiricalPrior(Denoiser):
    """x0 ~ uniform on N states, in prior coordinates.

    States are stored in float32; distances, weights and averages are float64, a chunk of states at a time, so that
    10 000 states of 64 x 64 points fit in memory.

    Args:
        states: (N, C, *grid), at least two.
    """

    sigma_min, sigma_max = 0.0, float("inf")

    def __init__(self, states: Tensor):
        if len(states) < 2:
            raise UserError(
                f"empirical prior of N = {len(states)} state(s): its posterior has no spread; give two or more"
            )
        self.states, self.shape = states.float().contiguous(), tuple(states.shape[1:])
        self.sigma_data = float(self.states.double().var(0, correction=0).mean().sqrt())

    def first(self, count: int) -> "EmpiricalPrior":
        """The empirical prior of the first ``count`` states; raises UserError if there are fewer."""
        if count > len(self.states):
            raise UserError(f"empirical prior: {count} states were asked for, there are {len(self.states)}")
        return EmpiricalPrior(self.states[:count])

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.average(self.weights(x, sigma), lambda states: states).to(x.dtype)

    def weights(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """(b, N) float64 probability of each state given x = x0 + sigma eps; the nearest one at sigma = 0."""
        return torch.softmax(self.logits(x, sigma), 1)

    def logits(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """(b, N) float64 logarithms of :meth:`weights` up to a constant per batch element, without underflow."""
        double = x.double()
        fits = [self._fit(double, states) for states in self._chunks(x.device)]
        fit = torch.cat(fits, 1)
        variance = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).expand(len(x))[:, None].square()
        return (fit - fit.detach().amax(1, keepdim=True)) / variance.clamp(min=1e-300)

    def average(self, weights: Tensor, values: Callable[[Tensor], Tensor]) -> Tensor:
        """(b, ...) weighted means of ``values`` of the states, a function (n, C, *grid) -> (n, ...), float64."""
        parts, start = [], 0
        for states in self._chunks(weights.device):
            found = values(states)
            parts.append((weights[:, start : start + len(states)] @ found.flatten(1)).unflatten(1, found.shape[1:]))
            start += len(states)
        return torch.stack(parts).sum(0)

    def tensors(self) -> dict[str, Tensor]:
        """What :meth:`from_tensors` needs, by name."""
        return {"states": self.states}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The prior that :meth:`tensors` describes; raises KeyError if one is missing."""
        return cls(tensors["states"])

    def _chunks(self, device: torch.device) -> Iterator[Tensor]:
        for states in self.states.split(max(1, CHUNK // math.prod(self.shape))):
            yield states.to(device, torch.float64)

    @staticmethod
    def _fit(x: Tensor, states: Tensor) -> Tensor:
        """-|x - s|²/2 (b, n) without its part -|x|²/2, which all states share and which would lose digits."""
        flat = states.flatten(1)
        return x.flatten(1) @ flat.T - flat.square().sum(1) / 2


def effective_states(weights: Tensor) -> Tensor:
    """Effective sample size (b,) of weights (b, N) that add up to one: 1/sum of their squares."""
    return 1 / weights.square().sum(1)
