"""Inverse problem of a batch: misfit, PDE residual and hard constraints as functions of prior coordinates."""

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
    joint_violation,
    project_in_turn,
    project_jointly,
    require_compatible,
)
from jensenbench.core.observations import MaskObservation, Observation
from jensenbench.core.pde import PDE
from jensenbench.errors import UserError
from jensenbench.numerics.least_norm import least_change

JOINT_ITERATIONS = 10  # of conjugate gradients in a joint correction: with more, three digits of ECI stay the same


class Problem:
    """A batch of (instance, draw) pairs of one task, seen from prior coordinates x (b, C, *grid).

    Methods reach the physics through this class alone.

    Args:
        pde: the equation.
        task: label of the task.
        codec: map between physical fields and prior coordinates.
        observation: data of every element of the batch; None when nothing is observed.
        constraints: hard constraints besides the data.
        scale: (C,) standard deviation of each field over the training states.
        term_scale: rms of the equation's largest term on the data, the residual's unit.

    Raises:
        UserError: noise-free observations contradict the constraints.
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
        """Physical fields (b, C, *grid) to prior coordinates of the same shape."""
        return self.codec.encode(fields)

    def decode(self, x: Tensor) -> Tensor:
        """Prior coordinates (b, C, *grid) to physical fields of the same shape."""
        return self.codec.decode(x)

    def misfit(self, x: Tensor) -> Tensor:
        """forward(decode(x)) - values, in physical units and in the shape of the values; zero off a mask.

        Raises UserError without an observation.
        """
        if self.observation is None:
            raise UserError(f"task {self.task!r} observes nothing: there is no misfit")
        return self.observation.forward(self.decode(x)) - self.observation.values.to(x)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        """Signed terms (b, *interior) of the equation at the decoded state, by name, in physical units."""
        return self.pde.terms(self.decode(x))

    def residual(self, x: Tensor, scheme: str = "own") -> dict[str, Tensor]:
        """Residual parts of the decoded state by name, in physical units; ``scheme`` names the discretisation."""
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
        """Project the decoded state onto each constraint in turn (ECI, arXiv 2412.01786), and encode it again.

        ``jointly``: go to the nearest point in prior coordinates that meets all constraints, by a few
        conjugate gradients, and remove what is left of their violation by the joint projection of the fields.
        Entries pasted into smooth fields are jumps, which a codec that whitens magnifies; this moves their
        surroundings with them.
        """
        constraints, project = self.hard_constraints(), project_jointly if jointly else project_in_turn
        if not constraints:
            return x
        if jointly:
            x = least_change(self.violation, x, iterations=JOINT_ITERATIONS)
        return self.encode(project(constraints, self.decode(x)))

    def hard_constraints(self) -> tuple[Constraint, ...]:
        """The declared constraints and, where the data are free of noise, the observations."""
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
