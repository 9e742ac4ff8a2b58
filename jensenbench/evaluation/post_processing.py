"""Services that every method's samples get alike: observations pasted in, solution solved for again."""

from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import PDE
from jensenbench.evaluation.residuals import over_draws

CHUNK = 64  # states the solver gets at once


@dataclass(frozen=True)
class Solved:
    """States with their solution solved for; NaN where the solver refused, and its first complaint."""

    fields: Tensor
    refused: int
    reason: str


def paste(fields: Tensor, observation: MaskObservation) -> Tensor:
    """Fields (I, K, C, *grid) with the observed entries replaced by their (noise-free) values."""
    return torch.where(observation.mask.bool()[:, None], observation.values[:, None].to(fields), fields)


def solve(pde: PDE, fields: Tensor) -> Solved:
    """Keep the coefficient of fields (I, K, C, *grid), two-valued where its law is, and solve for the rest.

    A state that the solver refuses (a coefficient that is not positive, say) becomes NaN.
    """
    states = fields.flatten(0, 1).double()
    solved = torch.full_like(states, torch.nan)
    sound = torch.isfinite(states).flatten(1).all(1)
    reasons = [] if sound.all() else ["the sample is not finite"]
    for rows in sound.nonzero().flatten().split(CHUNK):
        solved[rows], complaint = _solve_chunk(pde, pde.two_valued(states[rows]))
        reasons += complaint
    refused = int((~torch.isfinite(solved)).flatten(1).any(1).sum())
    reason = f"solve refused {refused} of {len(states)} states: {reasons[0]}" if reasons and refused else ""
    return Solved(solved.reshape(fields.shape), refused, reason)


def _solve_chunk(pde: PDE, states: Tensor) -> tuple[Tensor, list[str]]:
    """Solve together, and one by one if that fails."""
    try:
        solved = pde.solve(states)
    except (ValueError, ArithmeticError, RuntimeError) as error:
        if len(states) == 1:
            return torch.full_like(states, torch.nan), [str(error)]
        parts = [_solve_chunk(pde, states[row : row + 1]) for row in range(len(states))]
        return torch.cat([part for part, _ in parts]), [reason for _, reasons in parts for reason in reasons]
    sound = torch.isfinite(solved).flatten(1).all(1)
    solved[~sound] = torch.nan
    return solved, [] if sound.all() else ["the solution is not finite"]


def moved(pde: PDE, before: Tensor, after: Tensor, field_std: Tensor) -> dict[str, Tensor]:
    """rms distance (I,) between fields (I, K, C, *grid) over points and draws, in units of each field's std."""
    squares = ((after - before).flatten(3) / field_std.double()[:, None]).square().mean(-1)
    shape = before.shape[:2]
    return {
        f"moved/{field.name}": over_draws(squares[..., channel].flatten(), shape)
        for channel, field in enumerate(pde.fields)
    }
