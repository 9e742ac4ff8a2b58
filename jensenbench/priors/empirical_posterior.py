"""Exact posterior of an empirical prior given noisy entries: importance weights of its states."""

import torch
from torch import Tensor

from jensenbench.core.noise import Noise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError
from jensenbench.numerics.random import choose
from jensenbench.priors.empirical import FEWEST_STATES, EmpiricalPrior, effective_states


class EmpiricalPosterior:
    """Posterior of the physical fields given noisy entries y of each batch element: states s_i with weights

        w_i ∝ exp(-½ Σ ((y - s_i)/noise)²)    over the observed entries, the noise in units of each field's std.

    Attributes:
        weights: (b, N).
        effective: (b,) effective number of states, 1/Σ w²; 0 for noise-free data, which no state meets.
        mean, std: (b, C, *grid) in physical units, float64; NaN where there are fewer than five effective states.
        note: the elements of the batch where this is so.
    """

    def __init__(self, problem: Problem, prior: EmpiricalPrior):
        data = problem.observation
        if not isinstance(data, MaskObservation):
            raise UserError("the posterior of an empirical prior needs entries observed through a mask, and got none")
        self._states = problem.decode(prior.states.double())
        flat = self._states.flatten(1)
        self.weights = _weights(data, flat, problem.scale.double())
        self.effective = effective_states(self.weights) if data.noise_std else torch.zeros(len(data.mask)).double()
        self._usable = self.effective >= FEWEST_STATES
        mean = self.weights @ flat
        square = torch.stack([w @ (flat - m).square() for w, m in zip(self.weights, mean, strict=True)])
        self.mean, self.std = self._fields(mean), self._fields(square.sqrt())
        poor = (~self._usable).nonzero().flatten().tolist()
        few = ", ".join(f"instance {i} with {float(self.effective[i]):.1f} effective states" for i in poor)
        self.note = f"posterior unusable (fewer than {FEWEST_STATES:.0f}): {few}" if poor else ""

    def sample(self, noise: Noise) -> Tensor:
        """One of the states per batch element, drawn by the weights, (b, C, *grid)."""
        return self._fields(self._states[choose(self.weights, noise((1,))[:, 0])].flatten(1))

    def _fields(self, flat: Tensor) -> Tensor:
        """Flat fields (b, D) on the grid; NaN where the posterior is unusable."""
        return torch.where(self._usable[:, None], flat, torch.nan).reshape(-1, *self._states.shape[1:])


def _weights(data: MaskObservation, states: Tensor, scale: Tensor) -> Tensor:
    """Weights (b, N) of states (N, D); equal ones for noise-free data."""
    unit = scale.repeat_interleave(states.shape[1] // len(scale))
    weights = []
    for mask, values in zip(data.mask.bool().flatten(1), data.values.double().flatten(1), strict=True):
        misfit = (states[:, mask] - values[mask]) / unit[mask] / (data.noise_std or torch.inf)
        weights.append((-misfit.square().sum(1) / 2).softmax(0))
    return torch.stack(weights)
