"""The law of a PDE's states as the image of white noise."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from jensenbench.core.pde import PDE


@dataclass(frozen=True)
class Latent:
    """States x = solve(unsolved(z F)) of white noise z ~ N(0, I_k), the very law that the PDE generates.

    Attributes:
        factor: (k, P) F, one row a direction of the noise, of the Gaussian field behind the coefficient.
        unsolved: fields (b, P) to states (b, C, *grid) with the coefficient in place.
        solve: the PDE's own solver.
        surrogate: where ``unsolved`` has no useful gradient (a level set), a smooth stand-in for it. It serves to
            find directions that data inform about, never to judge a state.
    """

    factor: Tensor
    unsolved: Callable[[Tensor], Tensor]
    solve: Callable[[Tensor], Tensor]
    surrogate: Callable[[Tensor], Tensor] | None = None

    @property
    def size(self) -> int:
        """Number k of directions."""
        return len(self.factor)

    def __call__(self, z: Tensor) -> Tensor:
        """States (b, C, *grid) of noise (b, k), float64; raises UserError where the solver refuses a row."""
        return self.solve(self.unsolved(z @ self.factor))

    def smooth(self, z: Tensor) -> Tensor:
        """The same, or the stand-in's states: differentiable in z."""
        return self.solve((self.surrogate or self.unsolved)(z @ self.factor))


def load_latent(pde: PDE) -> Latent:
    """The noise behind a PDE's law; raises UserError for laws that are no function of Gaussian white noise."""
    return importlib.import_module("pdes._latents").latent_of(pde)
