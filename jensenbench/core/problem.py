"""Tasks, observations, and the problem: the only door between prior coordinates and physics."""

from collections.abc import Sequence
from copy import copy
from typing import Self

import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.constraints import (
    Constraint,
    FixedEntries,
    Measured,
    chained,
    joint,
    joint_violation,
    require_compatible,
)
from jensenbench.core.observations import MaskObservation, Observation
from jensenbench.core.pde import PDE
from jensenbench.errors import UserError
from jensenbench.numerics.least_norm import least_change

NEAREST = 10  # conjugate gradients of a joint correction: more changed no sample of ECI in its third digit


class Problem:
    """A batch of (instance, draw) pairs of one task.

    Args:
        pde: the equation.
        task: label of the task.
        codec: map between fields and prior coordinates.
        observation: data of every row of the batch; None when nothing is observed.
        constraints: hard constraints besides the data; exact data that contradict them are refused.
        scale: (C,) standard deviation of each field.
        term_scale: rms of the equation's largest term on the data, the residual's unit.
    """

    def __init__(
        self,
        pde: PDE,
        task: str,
        codec: Codec,
        *,
        observation: Observation | None = None,
        constraints: tuple[Constraint, ...] = (),
        scale: Tensor | None = None,
        term_scale: float = 1.0,
    ):
        self.pde, self.task, self.codec = pde, task, codec
        self.observation, self.constraints = observation, constraints
        self.scale = torch.ones(len(pde.fields), dtype=torch.float64) if scale is None else scale
        self.term_scale = term_scale
        if len(self.hard_constraints()) > len(constraints):
            require_compatible(self.hard_constraints(), pde.shape)

    def encode(self, fields: Tensor) -> Tensor:
        return self.codec.encode(fields)

    def decode(self, x: Tensor) -> Tensor:
        return self.codec.decode(x)

    def misfit(self, x: Tensor) -> Tensor:
        """forward(decode(x)) - values in physical units, zero off a mask; raises without an observation."""
        if self.observation is None:
            raise UserError(f"task {self.task!r} observes nothing: there is no misfit")
        return self.observation.forward(self.decode(x)) - self.observation.values.to(x)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Signed terms of the equation at the decoded state."""
        return self.pde.terms(self.decode(x))

    def residual(self, x: Tensor, scheme: str = "own") -> dict[str, Tensor]:
        """Residual parts of the decoded state, physical units."""
        return self.pde.residual(self.decode(x), scheme)

    def scaled_residual(self, x: Tensor, scheme: str = "own") -> dict[str, Tensor]:
        """Residual parts (b, m): the interior in units of ``term_scale``, conditions in those of the solution's std."""
        unit = float(self.scale[-1])
        parts = self.residual(x, scheme).items()
        return {name: part.flatten(1) / (self.term_scale if name == "interior" else unit) for name, part in parts}

    def violation(self, x: Tensor) -> Tensor:
        """Violations of all constraints side by side, (b, m)."""
        return joint_violation(self.hard_constraints(), self.decode(x))

    def correct(self, x: Tensor, *, jointly: bool = False) -> Tensor:
        """Project the decoded state onto each constraint in order, as published, and encode it again.

        ``jointly``: go to the nearest point in prior coordinates that meets all constraints, by a few
        conjugate gradients, and remove what is left of their violation by the joint projection of the fields.
        Entries pasted into smooth fields are jumps, which a codec that whitens magnifies; this moves their
        surroundings with them.
        """
        constraints, project = self.hard_constraints(), joint if jointly else chained
        if not constraints:
            return x
        if jointly:
            x = least_change(self.violation, x, iterations=NEAREST)
        return self.encode(project(constraints, self.decode(x)))

    def hard_constraints(self) -> tuple[Constraint, ...]:
        """The declared constraints and, where the data are exact, the observations."""
        data = self.observation
        if data is None or data.noise_std > 0:
            return self.constraints
        if isinstance(data, MaskObservation):
            return (*self.constraints, FixedEntries("observations", data.mask, data.values))
        return (*self.constraints, Measured("observations", data.forward, data.values))

    def subset(self, index: Sequence[int] | slice) -> Self:
        """The same problem for a part of the batch."""
        part = copy(self)
        part.observation = self.observation.subset(index) if self.observation is not None else None
        part.constraints = tuple(constraint.subset(index) for constraint in self.constraints)
        return part
