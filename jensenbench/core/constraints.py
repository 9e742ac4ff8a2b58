"""Hard constraints h(fields) = 0 with their projections (ECI, arXiv 2412.01786), in turn and joint."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.numerics.least_norm import Map, least_change, nearest, sequential

SEQUENTIAL_STEPS = 3  # towards a curved constraint; a step corrects the direction by curvature times distance
CONTRADICTION = 1e-6  # violation left by the joint projection, relative to that of zero fields


class Constraint(Protocol):
    """A set of fields, given by its violation h and by the projection onto it.

    Values that differ between states have a leading batch dimension, others have one of size 1.
    ``affine``: whether the violation is affine in the fields, so that joint projections are exact.
    """

    affine: ClassVar[bool]

    @property
    def name(self) -> str: ...

    def violation(self, fields: Tensor) -> Tensor:
        """h: fields (b, C, *grid) to (b, m), signed, in physical units; its norm is the metric ``constraint_error``."""
        ...

    def project(self, fields: Tensor) -> Tensor:
        """Nearest fields (b, C, *grid) that meet the constraint."""
        ...

    def subset(self, index: Sequence[int] | slice) -> Self:
        """The same constraint for a part of the batch."""
        ...


@dataclass(frozen=True)
class FixedEntries:
    """Entries with known values (Dirichlet data, an initial state, noise-free observations).

    ``mask`` and ``values`` are (b or 1, C, *grid), or a number.
    """

    affine: ClassVar[bool] = True

    name: str
    mask: Tensor
    values: Tensor

    @classmethod
    def at(cls, name: str, shape: Sequence[int], axis: int, index: int, values: Tensor) -> Self:
        """All entries at one index of a grid axis: an initial or final state, a boundary, a frame.

        Args:
            shape: (C, *grid) of the fields.
            axis: of the grid, from 0.
            index: along that axis; negative ones count from its end.
            values: (b or 1, C, *grid without that axis).
        """
        if not 0 <= axis < len(shape) - 1 or not -shape[1 + axis] <= index < shape[1 + axis]:
            raise UserError(f"constraint {name!r}: fields of shape {tuple(shape)} have no index {index} of axis {axis}")
        mask = torch.zeros(1, *shape, dtype=torch.bool, device=values.device)
        mask.select(2 + axis, index).fill_(True)
        return cls(name, mask, values.unsqueeze(2 + axis) * mask)

    def violation(self, fields: Tensor) -> Tensor:
        return ((fields - self.values.to(fields)) * self.mask.to(fields)).flatten(1)

    def project(self, fields: Tensor) -> Tensor:
        return torch.where(self.mask.to(fields.device).bool(), self.values.to(fields), fields)

    def subset(self, index: Sequence[int] | slice) -> Self:
        return replace(self, mask=_subset(self.mask, index), values=_subset(self.values, index))


@dataclass(frozen=True)
class Periodic:
    """Equal values at both ends of the grid axes ``axes``; the projection puts their mean there."""

    affine: ClassVar[bool] = True

    name: str
    axes: tuple[int, ...]

    def violation(self, fields: Tensor) -> Tensor:
        gaps = [fields.select(2 + axis, 0) - fields.select(2 + axis, -1) for axis in self.axes]
        return torch.cat([gap.flatten(1) for gap in gaps], 1)

    def project(self, fields: Tensor) -> Tensor:
        fields = fields.clone()
        for axis in self.axes:
            ends = fields.select(2 + axis, 0), fields.select(2 + axis, -1)
            mean = (ends[0] + ends[1]) / 2
            for end in ends:
                end.copy_(mean)
        return fields

    def subset(self, index: Sequence[int] | slice) -> Self:
        return self


@dataclass(frozen=True)
class Conserved:
    """A conservation law: sums of weights * field over the grid, or over all but the axis ``kept`` (time), are known.

    The projection adds a multiple of the weights, hence a constant per time where they are equal, as published.

    Attributes:
        weights: of the quadrature, (1, C, *grid) or less by broadcasting; equal ones are area/number of points.
        values: (b or 1, C, n) along the kept axis, or (b or 1, C).
        kept: axis of the grid that is not summed over.
    """

    affine: ClassVar[bool] = True

    name: str
    weights: Tensor
    values: Tensor
    kept: int | None = -1

    def violation(self, fields: Tensor) -> Tensor:
        return self._gap(fields).flatten(1)

    def project(self, fields: Tensor) -> Tensor:
        weights = self.weights.to(fields).expand(1, *fields.shape[1:])
        steepness = weights.square().sum(self._summed(fields), keepdim=True)
        gap = self._gap(fields).reshape(len(fields), *steepness.shape[1:])
        return fields - weights * gap / torch.where(steepness > 0, steepness, 1)

    def subset(self, index: Sequence[int] | slice) -> Self:
        return replace(self, values=_subset(self.values, index))

    def _gap(self, fields: Tensor) -> Tensor:
        if fields.dtype == torch.float64 and self.weights.dtype != torch.float64:
            raise UserError(
                f"conservation law {self.name!r}: its weights are {self.weights.dtype}, which rounds float64 fields; "
                "build them with dtype=torch.float64"
            )
        return (fields * self.weights.to(fields)).sum(self._summed(fields)) - self.values.to(fields)

    def _summed(self, fields: Tensor) -> list[int]:
        axes = list(range(2, fields.ndim))
        if self.kept is not None:
            axes.pop(self.kept)
        return axes


@dataclass(frozen=True)
class Measured:
    """Known values (b or 1, m) of an affine ``operator`` on the fields, which returns (b, m)."""

    affine: ClassVar[bool] = True

    name: str
    operator: Map
    values: Tensor

    def violation(self, fields: Tensor) -> Tensor:
        return self.operator(fields) - self.values.to(fields)

    def project(self, fields: Tensor) -> Tensor:
        return nearest(self.violation, fields)

    def subset(self, index: Sequence[int] | slice) -> Self:
        return replace(self, values=_subset(self.values, index))


@dataclass(frozen=True)
class Implicit:
    """A differentiable map ``function`` from fields (b, C, *grid) to (b, m), the same for all states.

    An affine one with values of its own is a :class:`Measured`.
    """

    affine: ClassVar[bool] = False

    name: str
    function: Map

    def violation(self, fields: Tensor) -> Tensor:
        return self.function(fields)

    def project(self, fields: Tensor) -> Tensor:
        """Fields that meet the constraint, nearly the nearest: sequential quadratic programming, then Gauss–Newton."""
        return least_change(self.function, sequential(self.function, fields, SEQUENTIAL_STEPS))

    def subset(self, index: Sequence[int] | slice) -> Self:
        return self


def project_in_turn(constraints: Sequence[Constraint], fields: Tensor) -> Tensor:
    """Project onto each constraint in turn (ECI, arXiv 2412.01786); a later one may undo an earlier one."""
    for constraint in constraints:
        fields = constraint.project(fields)
    return fields


def joint_violation(constraints: Sequence[Constraint], fields: Tensor) -> Tensor:
    """Violations of all constraints side by side, (b, m)."""
    parts = [constraint.violation(fields) for constraint in constraints]
    return torch.cat(parts, 1) if parts else fields.new_zeros(len(fields), 0)


def project_jointly(constraints: Sequence[Constraint], fields: Tensor) -> Tensor:
    """Nearest fields that meet all affine constraints at once; to first order where one is not affine."""
    if len(constraints) < 2:
        return project_in_turn(constraints, fields)
    return nearest(lambda state: joint_violation(constraints, state), fields)


def require_compatible(constraints: Sequence[Constraint], shape: Sequence[int]) -> None:
    """Raise UserError, naming one, if the affine ones among constraints on fields (C, *grid) contradict each other."""
    constraints = [constraint for constraint in constraints if constraint.affine]
    if len(constraints) < 2:
        return
    one = torch.zeros(1, *shape, dtype=torch.float64)
    batch = max(len(constraint.violation(one)) for constraint in constraints)
    fields = torch.zeros(batch, *shape, dtype=torch.float64)
    size, after = float(joint_violation(constraints, fields).abs().max()), project_jointly(constraints, fields)
    for constraint in constraints:
        left = constraint.violation(after).abs()
        if left.numel() and float(left.max()) > CONTRADICTION * size:
            names = ", ".join(repr(other.name) for other in constraints)
            worst = int(left.amax(1).argmax())
            raise UserError(
                f"constraints {names} contradict each other: the nearest fields to all of them still violate "
                f"{constraint.name!r} by {float(left.max()):.3g} in batch element {worst}; "
                "correct its values or drop one of them"
            )


def _subset(values: Tensor, index: Sequence[int] | slice) -> Tensor:
    """The values of a part of the batch; values that all elements share stay."""
    return values[index] if values.ndim and len(values) > 1 else values
