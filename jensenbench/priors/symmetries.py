"""Symmetries of a PDE as augmentation of teacher pairs: the same random one on the noise and on the state."""

import torch
from torch import Tensor

from jensenbench.core.problem import Problem
from jensenbench.numerics.random import generator_of
from jensenbench.priors.training import apply_symmetries

ISOMETRIC = 1e-9  # relative change of a norm that rounding explains


class PairSymmetry:
    """A random symmetry of the equation on noise and state at once.

    In prior coordinates a symmetry is affine, x -> G x + c. It acts on states as it is, on white noise by G alone: that
    keeps the distribution of the noise, and the pairs of an equivariant teacher, where G is an isometry, which is
    checked. ``exact`` says whether all symmetries pass.
    """

    def __init__(self, problem: Problem, device: torch.device):
        self._pde, self._codec, shape = problem.pde, problem.codec, problem.pde.shape
        count = len(self._pde.symmetries())
        chances = (torch.arange(count) + 0.5) / count
        still = torch.zeros(count, *shape, dtype=torch.float64)
        probe = torch.randn(1, *shape, dtype=torch.float64, generator=generator_of(("isometry",)))
        offset = self._move(still, chances)
        change = (self._move(probe.expand(count, *shape), chances) - offset).flatten(1).norm(dim=1) / probe.norm() - 1
        self.exact, self._offset = bool(change.abs().max() < ISOMETRIC), offset.float().to(device)

    def __call__(self, noise: Tensor, states: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
        """Moved noise and states (b, C, *grid); unmoved unless ``exact``. ``chance`` (b,) in [0, 1) selects."""
        if not self.exact:
            return noise, states
        choice = (chance * len(self._offset)).long().to(noise.device)
        return self._move(noise, chance) - self._offset[choice], self._move(states, chance)

    def _move(self, x: Tensor, chance: Tensor) -> Tensor:
        return self._codec.encode(apply_symmetries(self._pde, self._codec.decode(x), chance))
