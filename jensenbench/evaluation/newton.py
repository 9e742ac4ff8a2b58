"""The service *+ newton*: minimum-norm Gauss–Newton steps onto the equation, and onto noise-free observations."""

from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.numerics.least_norm import Equations, GaussNewton, LeastNormResult, equilibrated

STEPS = (1, 3)
CHUNK = 64  # states that go together: their vectors stay in the cache of a CPU
RULE = GaussNewton(tolerance=1e-3, iterations=60, floor=1e-7)


@dataclass(frozen=True)
class Projected:
    """States (I, K, C, *grid) after some steps, and how many of them had a linear solve that stopped at its cap."""

    fields: Tensor
    unconverged: int


def newton(problem: Problem, fields: Tensor) -> dict[int, Projected]:
    """Fields (I, K, C, *grid) after each number of steps in ``STEPS``, float64; ``problem`` has a row an instance.

    Steps are shortest in the coordinates of the problem's codec, in which the error of a prior is about white.
    """
    rows, draws = fields.double().flatten(0, 1), fields.shape[1]
    chunks = [_chunk(problem, rows[index], index // draws) for index in torch.arange(len(rows)).split(CHUNK)]
    projected = {}
    for steps, parts in zip(STEPS, zip(*chunks, strict=True), strict=True):
        states = torch.cat([part.step for part in parts]).reshape(fields.shape)
        projected[steps] = Projected(states, sum(int((~part.converged).sum()) for part in parts))
    return projected


def _chunk(problem: Problem, fields: Tensor, instances: Tensor) -> list[LeastNormResult]:
    part = problem if problem.observation is None else problem.subset(instances.tolist())
    x = part.encode(fields)
    iterates = RULE.iterates(equilibrated(lambda state: demands(part, state), x), x)
    found, converged = [], torch.ones(len(x), dtype=torch.bool)
    for step in range(1, max(STEPS) + 1):
        x, met = next(iterates)
        converged = converged & met
        if step in STEPS:
            found.append(LeastNormResult(part.decode(x), converged))
    return found


def demands(problem: Problem, x: Tensor) -> list[Equations]:
    """What a state should bring to zero: parts of the residual, then the exact data of each field."""
    parts = problem.scaled_residual(x).values()
    equation = [Equations(part, x.new_full((len(x),), part.shape[1])) for part in parts]
    data = problem.observation
    if not isinstance(data, MaskObservation) or data.noise_std > 0:
        return equation
    misfit = problem.misfit(x).flatten(2) / problem.scale.to(x)[:, None]
    return equation + [Equations(*pair) for pair in zip(misfit.unbind(1), data.counts().to(x).unbind(1), strict=True)]
