"""Losses that several methods share: data misfit by group of data, squared misfit beyond the noise, mean residual."""

import torch
from torch import Tensor

from jensenbench.core.observations import MaskObservation, Observation
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError


def observed(problem: Problem) -> Observation:
    """The problem's data; raises UserError where there are none."""
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


def excess(problem: Problem, x: Tensor) -> Tensor:
    """(b, g): squared misfit of each group in units of the field's std, beyond what the noise of the data explains."""
    data = observed(problem)
    squares = misfit_groups(problem, x, standard=True).square().sum(2)
    return (squares - data.counts().to(squares) * data.noise_std**2).clamp(min=0)


def mean_excess(problem: Problem, x: Tensor) -> Tensor:
    """(b,): :func:`excess` divided by the number of data of each group, summed over the groups."""
    return (excess(problem, x) / observed(problem).counts().to(x).clamp(min=1)).sum(1)


def residual_loss(problem: Problem, x: Tensor, *, relative: bool = False) -> Tensor:
    """(b,): sum over the residual's parts of their mean squares, in the units of ``scaled_residual``.

    ``relative``: divided by the mean square of the state's own largest term, so that a state cannot lower its
    residual by vanishing.
    """
    parts = problem.scaled_residual(x).values()
    loss = torch.stack([part.square().mean(1) for part in parts]).sum(0)
    if not relative:
        return loss
    terms = [term.flatten(1).square().mean(1) for term in problem.terms(x).values()]
    return loss * problem.term_scale**2 / torch.stack(terms).amax(0)


def missing_scheme(problem: Problem, scheme: str) -> str | None:
    """Why a method cannot use the residual of this scheme, or None where the PDE has it."""
    return None if scheme in problem.pde.schemes else f"{problem.pde.name} has no residual of scheme {scheme!r}"
