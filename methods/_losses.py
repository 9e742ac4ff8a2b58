"""Data misfits and weights that guided methods share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.problem import MaskObservation, Observation, Problem


def observed(problem: Problem) -> Observation:
    """The problem's data; raises where there are none."""
    if problem.observation is None:
        raise UserError(f"task {problem.task!r} observes nothing: there is no misfit")
    return problem.observation


def misfit_groups(problem: Problem, x: Tensor, *, standard: bool) -> Tensor:
    """Misfit (b, g, m) of the decoded state by group of data, in physical units or in field standard deviations.

    Data of a dense operator, which mixes fields, keep their own unit.
    """
    data, misfit = observed(problem), problem.misfit(x)
    if standard and isinstance(data, MaskObservation):
        misfit = misfit / problem.scale.to(misfit).reshape(-1, *[1] * (misfit.ndim - 2))
    return data.groups(misfit)


def group_weights(value: float | Sequence[float], groups: Tensor) -> Tensor:
    """(g,) weights of the groups of data; one number serves all."""
    weights = torch.as_tensor(value, dtype=groups.dtype, device=groups.device)
    if weights.ndim and len(weights) != groups.shape[1]:
        given, groups_count = tuple(weights.tolist()), groups.shape[1]
        raise UserError(f"weights {given} for {groups_count} groups of data: give one number, or {groups_count}")
    return weights.expand(groups.shape[1])


def any_positive(value: float | Sequence[float]) -> bool:
    """Whether a weight, or one of several, acts."""
    return max(value) > 0 if isinstance(value, Sequence) else value > 0
