"""How well states meet the discrete equation, in float64."""

import torch
from torch import Tensor

from jensenbench.core.constraints import FixedEntries
from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import PDE, sum_terms


def residual_metrics(pde: PDE, fields: Tensor, term_scale: float) -> dict[str, Tensor]:
    """Residual metrics (I,) of fields (I, K, C, *grid), over all draws of an instance.

    ``residual_rel`` is in units of ``term_scale``, the rms of the equation's largest term on the data;
    ``residual_own`` in units of the sample's own largest term, which amplitude cannot cheat.
    """
    states = fields.flatten(0, 1).double()
    terms = {name: term.flatten(1) for name, term in pde.terms(states).items()}
    residual = sum_terms(terms)
    largest = torch.stack([rms(term) for term in terms.values()]).amax(0)
    squares, shape = residual.square().mean(-1), fields.shape[:2]
    typical = over_draws(squares, shape)
    values = {
        "residual_rms": typical,
        "residual_mae": residual.abs().mean(-1).reshape(shape).mean(1),
        "residual_max": residual.abs().amax(-1).reshape(shape).amax(1),
        "residual_rel": typical / term_scale,
        "residual_own": over_draws(squares / largest.square(), shape),
    }
    for name, part in pde.conditions(states).items():
        values[f"residual/{name}"] = over_draws(part.flatten(1).square().mean(-1), shape)
    if any(field.levels for field in pde.fields):
        values["residual_thresholded"] = over_draws(_thresholded(pde, states), shape) / term_scale
    return values


def constraint_errors(
    pde: PDE, fields: Tensor, *, truth: Tensor | None = None, data: MaskObservation | None = None
) -> dict[str, Tensor]:
    """``constraint_error`` (I,) of fields (I, K, C, *grid): of hard constraints, and of noise-free observations.

    Integrals and values that a constraint keeps are those of the ``truth`` (I, C, *grid), else the sample's own.
    """
    states, draws = fields.flatten(0, 1).double(), fields.shape[1]
    held = list(pde.constraints(states if truth is None else truth.repeat_interleave(draws, 0)))
    if data is not None and data.noise_std == 0:
        held.append(FixedEntries("observations", *(v.repeat_interleave(draws, 0) for v in (data.mask, data.values))))
    squares = {constraint.name: constraint.violation(states).square().sum(1) for constraint in held}
    return {f"constraint_error/{name}": over_draws(value, fields.shape[:2]) for name, value in squares.items()}


def _thresholded(pde: PDE, states: Tensor) -> Tensor:
    residual = sum_terms(pde.terms(pde.two_valued(states)))
    return residual.flatten(1).square().mean(-1)


def rms(values: Tensor) -> Tensor:
    """Root mean square over the last axis."""
    return values.square().mean(-1).sqrt()


def over_draws(squares: Tensor, shape: torch.Size) -> Tensor:
    """Root of the mean over the draws of squares (I*K,)."""
    return squares.reshape(shape).mean(1).sqrt()
