"""Post-processing of samples, the same for every method: paste, solve, and minimum-norm Gauss–Newton steps.

``paste`` puts noise-free observations in, ``solve`` solves for the solution again from the sample's own
coefficient, ``newton`` takes steps onto the equation and onto noise-free observations.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import PDE
from jensenbench.core.problem import Problem
from jensenbench.evaluation.residuals import over_draws
from jensenbench.numerics.least_norm import Equations, GaussNewton, LeastNormResult, equilibrated

CHUNK = 64  # states that the solver gets at once, or that take steps together: they stay in the cache of a CPU
STEPS = (1, 3)  # numbers of Newton steps
RULE = GaussNewton(tolerance=1e-3, iterations=60, floor=1e-7)


@dataclass(frozen=True)
class Solved:
    """States with their solution solved for; NaN where the solver refused, its first complaint, and CPU seconds."""

    fields: Tensor
    refused: int
    reason: str
    seconds: float


def paste(fields: Tensor, observation: MaskObservation) -> Tensor:
    """Fields (I, K, C, *grid) with the observed entries replaced by their (noise-free) values."""
    return torch.where(observation.mask.bool()[:, None], observation.values[:, None].to(fields), fields)


def solve(pde: PDE, fields: Tensor) -> Solved:
    """Keep the coefficient of fields (I, K, C, *grid), two-valued where its distribution is, and solve for the rest.

    A state that the solver refuses (a coefficient that is not positive, say) becomes NaN.
    """
    states = fields.flatten(0, 1).double()
    solved = torch.full_like(states, torch.nan)
    sound = torch.isfinite(states).flatten(1).all(1)
    reasons, started = [] if sound.all() else ["the sample is not finite"], time.process_time()
    for chosen in sound.nonzero().flatten().split(CHUNK):
        solved[chosen], complaint = _solve_chunk(pde, pde.two_valued(states[chosen]))
        reasons += complaint
    refused = int((~torch.isfinite(solved)).flatten(1).any(1).sum())
    reason = f"solve refused {refused} of {len(states)} states: {reasons[0]}" if reasons and refused else ""
    return Solved(solved.reshape(fields.shape), refused, reason, time.process_time() - started)


def _solve_chunk(pde: PDE, states: Tensor) -> tuple[Tensor, list[str]]:
    """Solve together, and one by one if that fails."""
    try:
        solved = pde.solve(states)
    except (ValueError, ArithmeticError, RuntimeError) as error:
        if len(states) == 1:
            return torch.full_like(states, torch.nan), [str(error)]
        parts = [_solve_chunk(pde, states[i : i + 1]) for i in range(len(states))]
        return torch.cat([part for part, _ in parts]), [reason for _, reasons in parts for reason in reasons]
    sound = torch.isfinite(solved).flatten(1).all(1)
    solved[~sound] = torch.nan
    return solved, [] if sound.all() else ["the solution is not finite"]


@dataclass(frozen=True)
class Projected:
    """States (I, K, C, *grid) after some steps, how many had a linear solve that stopped at its cap, CPU seconds."""

    fields: Tensor
    unconverged: int
    seconds: float


def newton(problem: Problem, fields: Tensor) -> dict[int, Projected]:
    """Fields (I, K, C, *grid) after each number of steps in ``STEPS``, float64.

    ``problem`` has one batch element per instance. Steps are shortest in the coordinates of the problem's codec, in
    which the error of a prior is about white.
    """
    states, draws = fields.double().flatten(0, 1), fields.shape[1]
    chunks = [_project(problem, states[index], index // draws) for index in torch.arange(len(states)).split(CHUNK)]
    projected = {}
    for steps, parts in zip(STEPS, zip(*chunks, strict=True), strict=True):
        after = torch.cat([part.step for part, _ in parts]).reshape(fields.shape)
        stopped = sum(int((~part.converged).sum()) for part, _ in parts)
        projected[steps] = Projected(after, stopped, sum(seconds for _, seconds in parts))
    return projected


def _project(problem: Problem, fields: Tensor, instances: Tensor) -> list[tuple[LeastNormResult, float]]:
    """After each number of steps in ``STEPS``: the states, and the CPU seconds so far."""
    started = time.process_time()
    part = problem if problem.observation is None else problem.subset(instances.tolist())
    x = part.encode(fields)
    iterates = RULE.iterates(equilibrated(lambda state: demands(part, state), x), x)
    found, converged = [], torch.ones(len(x), dtype=torch.bool)
    for step in range(1, max(STEPS) + 1):
        x, met = next(iterates)
        converged = converged & met
        if step in STEPS:
            found.append((LeastNormResult(part.decode(x), converged), time.process_time() - started))
    return found


def demands(problem: Problem, x: Tensor) -> list[Equations]:
    """What a state should bring to zero: parts of the residual, then the noise-free observations of each field."""
    parts = problem.scaled_residual(x).values()
    equation = [Equations(part, x.new_full((len(x),), part.shape[1])) for part in parts]
    data = problem.observation
    if not isinstance(data, MaskObservation) or data.noise_std > 0:
        return equation
    misfit = problem.misfit(x).flatten(2) / problem.scale.to(x)[:, None]
    return equation + [Equations(*pair) for pair in zip(misfit.unbind(1), data.counts().to(x).unbind(1), strict=True)]


def moved(pde: PDE, before: Tensor, after: Tensor, field_std: Tensor) -> dict[str, Tensor]:
    """rms distance (I,) between fields (I, K, C, *grid) over points and draws, in units of each field's std."""
    squares = ((after - before).flatten(3) / field_std.double()[:, None]).square().mean(-1)
    shape = before.shape[:2]
    return {
        f"moved/{field.name}": over_draws(squares[..., channel].flatten(), shape)
        for channel, field in enumerate(pde.fields)
    }
