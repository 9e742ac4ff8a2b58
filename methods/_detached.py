"""The baseline that the ECI and PCFM repositories call DiffusionPDE: another method, hence its own name."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.core.settings import require_nonnegative
from jensenbench.diffusion.samplers import extrapolate
from jensenbench.diffusion.schedules import FlowGrid
from jensenbench.numerics.autograd import gradient_of
from jensenbench.numerics.tensors import per_row
from methods._losses import misfit_groups, observed


@dataclass(frozen=True, kw_only=True)
class Detached(FlowGrid):
    """Euler steps along the flow, with a pull on the observed entries that does not pass through the network.

    x <- x + v dt - zeta_obs grad of the mean squared misfit of x + (1-t) v with respect to that estimate, where v is
    the mean of the velocities of x at both ends of the step. The weight is constant in time, there is no equation
    term, and it diverges where zeta_obs exceeds the number of observed entries (arXiv 2412.01786, public code).

    Attributes:
        zeta_obs: weight of the mean squared misfit in prior coordinates, where fields have the std ``sigma_data``.
        couple_batch: divide by the size of the batch too, as the code does: it prints results for 256 states.
    """

    zeta_obs: float = 200.0
    couple_batch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_nonnegative("zeta_obs", self.zeta_obs)

    def trajectory(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        """States from the start to the sample."""
        x = noise(prior.shape)
        yield x
        for t, t_next in pairwise(self.grid().tolist()):
            velocity = prior.velocity(x, t)
            if t_next < 1:
                velocity = (velocity + prior.velocity(x, t_next)) / 2
            pull = prior.sigma_data**2 * self.pull(problem, extrapolate(x, velocity, t))
            x = extrapolate(x, velocity, t, end=t_next) - self.zeta_obs * pull
            yield x

    def pull(self, problem: Problem, estimate: Tensor) -> Tensor | float:
        """Gradient of the mean squared misfit of the estimate of x1, in units of each field's std; 0 without data."""
        if problem.observation is None:
            return 0.0
        count = observed(problem).counts().to(estimate).sum(1).clamp(min=1)
        if self.couple_batch:
            count = count * len(estimate)

        def evaluate(x: Tensor) -> tuple[Tensor]:
            return (misfit_groups(problem, x, standard=True).square().flatten(1).sum(1),)

        return gradient_of(None, estimate, evaluate)[0] / per_row(count, estimate)
