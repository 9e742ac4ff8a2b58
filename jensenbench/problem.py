"""Tasks, observations, and the problem: the only door between prior coordinates and physics."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from jensenbench.codec import Codec
from jensenbench.constraints import (
    Constraint,
    FixedEntries,
    Measured,
    chained,
    joint,
    joint_violation,
    least_change,
    require_compatible,
)
from jensenbench.errors import UnknownName, UserError
from jensenbench.noise import seed_of
from jensenbench.pde import PDE, Role
from jensenbench.places import PLACES, conserved, refusal

NEAREST = 10  # conjugate gradients of a joint correction: more changed no sample of ECI in its third digit


class Observation(ABC):
    """Linear data of a batch of states: ``values`` = forward(fields) + noise.

    ``noise_std`` is in units of each field's standard deviation; zero means exact data.
    """

    values: Tensor
    noise_std: float

    @abstractmethod
    def forward(self, fields: Tensor) -> Tensor:
        """Apply the operator to physical fields (b, C, *grid)."""

    @abstractmethod
    def groups(self, misfit: Tensor) -> Tensor:
        """Misfit as (b, g, m): the groups of entries that a method may weigh differently."""

    @abstractmethod
    def counts(self) -> Tensor:
        """(b, g) number of observed entries of each group."""

    @abstractmethod
    def rows(self, index: Sequence[int] | slice) -> Self:
        """The same data for a part of the batch."""


@dataclass(frozen=True)
class MaskObservation(Observation):
    """Entries of the fields seen through a mask; ``mask`` and ``values`` are (b, C, *grid). Groups are fields."""

    mask: Tensor
    values: Tensor
    noise_std: float = 0.0

    def __post_init__(self) -> None:
        if self.mask.shape != self.values.shape:
            raise UserError(
                f"observation mask {tuple(self.mask.shape)} and values {tuple(self.values.shape)} differ in shape"
            )
        if self.noise_std < 0:
            raise UserError(f"noise_std = {self.noise_std} is negative; use 0 for exact data")

    def forward(self, fields: Tensor) -> Tensor:
        return fields * self.mask.to(fields)

    def groups(self, misfit: Tensor) -> Tensor:
        return misfit.flatten(2)

    def counts(self) -> Tensor:
        return self.mask.flatten(2).sum(-1)

    def rows(self, index: Sequence[int] | slice) -> "MaskObservation":
        return replace(self, mask=self.mask[index], values=self.values[index])


@dataclass(frozen=True)
class LinearObservation(Observation):
    """A dense operator ``matrix`` (m, C*prod(grid)) on the flattened fields; ``values`` are (b, m). One group."""

    matrix: Tensor
    values: Tensor
    noise_std: float = 0.0

    def forward(self, fields: Tensor) -> Tensor:
        return fields.flatten(1) @ self.matrix.to(fields).T

    def groups(self, misfit: Tensor) -> Tensor:
        return misfit[:, None]

    def counts(self) -> Tensor:
        return torch.full((len(self.values), 1), self.matrix.shape[0])

    def rows(self, index: Sequence[int] | slice) -> "LinearObservation":
        return replace(self, values=self.values[index])


@dataclass(frozen=True)
class Task:
    """Which share of the coefficient and of the solution is observed, at random points, with which noise.

    A share of 0 observes nothing, 1 everything. ``noise_std`` is in units of each field's std. ``place`` is one of
    :data:`jensenbench.places.PLACES`, observed wholly. ``laws``: the integrals that states keep are hard constraints.
    """

    name: str
    coefficient: float = 0.0
    solution: float = 0.0
    noise_std: float = 0.0
    place: str = ""
    laws: bool = False

    def __post_init__(self) -> None:
        if self.place and self.place not in PLACES:
            raise UnknownName(f"place of task {self.name!r}", self.place, PLACES)
        if self.laws and (self.place != "initial" or self.noise_std):
            raise UserError(f"task {self.name!r}: kept integrals follow from exact initial data; use noise_std = 0")
        if not (0 <= self.coefficient <= 1 and 0 <= self.solution <= 1):
            raise UserError(
                f"task {self.name!r}: observed shares {self.coefficient}, {self.solution} must lie in [0, 1]"
            )
        if self.noise_std < 0:
            raise UserError(f"task {self.name!r}: noise_std = {self.noise_std} is negative")

    @property
    def label(self) -> str:
        return f"{self.name}_noise{self.noise_std:g}" if self.noise_std else self.name

    @property
    def observes(self) -> bool:
        return self.coefficient > 0 or self.solution > 0 or bool(self.place)

    def knows(self, role: Role) -> bool:
        """Whether all entries of a role are observed."""
        return getattr(self, role) == 1 or (role == "coefficient" and self.place == "initial")

    def refusal(self, pde: PDE) -> str | None:
        """Why this PDE has no such task, None if it has."""
        return refusal(pde, self.place, laws=self.laws) if self.place else None

    def constraints(self, pde: PDE, state: Tensor) -> tuple[Constraint, ...]:
        """Hard constraints besides the data, of states with the coefficient part of ``state`` (b, C, *grid)."""
        return conserved(pde, state) if self.laws else ()

    def mask(self, pde: PDE, *, seed: int, index: int) -> Tensor:
        """(C, *grid) bool mask of one instance, a function of (seed, task, index) alone."""
        stream = _stream(seed, self.label, index, "mask")
        shares: dict[Role, float] = {"coefficient": self.coefficient, "solution": self.solution}
        mask = torch.zeros(pde.shape, dtype=torch.bool)
        for role, share in shares.items():
            entries = pde.role_mask(role).flatten().nonzero().flatten()
            count = min(len(entries), max(1, round(share * len(entries)))) if share else 0
            chosen = stream.choice(len(entries), count, replace=False)
            mask.view(-1)[entries[torch.as_tensor(np.sort(chosen))]] = True
        return mask | PLACES[self.place](pde, stream) if self.place else mask

    def observe(self, state: Tensor, pde: PDE, field_std: Tensor, *, seed: int, index: int) -> MaskObservation:
        """Data of one state (C, *grid), as an observation of batch size one."""
        mask = self.mask(pde, seed=seed, index=index)
        noise = torch.as_tensor(_stream(seed, self.label, index, "noise").standard_normal(pde.shape))
        spread = self.noise_std * field_std.reshape(-1, *[1] * len(pde.grid.shape))
        values = torch.where(mask, state + spread * noise, torch.zeros_like(state))
        return MaskObservation(mask[None], values[None], self.noise_std)


def _stream(seed: int, *key: object) -> np.random.Generator:
    return np.random.default_rng(seed_of((seed, *key)))


def published_mask(count: int, shape: Sequence[int], seed: int) -> Tensor:
    """Bool mask with ``count`` random points as DiffusionPDE's public code draws it (arXiv 2406.17763).

    It uses numpy's legacy generator; one mask for all instances, seed 1 for the coefficient and 0 for the solution.
    """
    mask = torch.zeros(*shape, dtype=torch.bool)
    if count > mask.numel():
        raise UserError(f"published mask: {count} points do not fit in {mask.numel()}")
    chosen = np.random.RandomState(seed).choice(mask.numel(), count, replace=False)
    mask.view(-1)[torch.from_numpy(chosen)] = True
    return mask


_SPARSE = 500 / 128**2  # DiffusionPDE's 500 of 128² points, kept as a share on other grids

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("unconditional"),
        Task("forward", coefficient=1),
        Task("inverse", solution=1),
        Task("forward_sparse", coefficient=_SPARSE),
        Task("inverse_sparse", solution=_SPARSE),
        Task("reconstruction_3", coefficient=_SPARSE, solution=_SPARSE),
        Task("reconstruction_30", coefficient=0.3, solution=0.3),
        Task("sensors", place="sensors"),
        Task("initial", place="initial"),
        Task("boundary", place="boundary"),
        Task("mass", place="initial", laws=True),
    )
}


def find_task(name: str, *, noise_std: float = 0.0) -> Task:
    """A task of the suite by name, with observation noise."""
    if name not in TASKS:
        raise UnknownName("task", name, TASKS)
    return replace(TASKS[name], noise_std=noise_std)


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

    def rows(self, index: Sequence[int] | slice) -> Self:
        """The same problem for a part of the batch."""
        part = copy(self)
        part.observation = self.observation.rows(index) if self.observation is not None else None
        part.constraints = tuple(constraint.rows(index) for constraint in self.constraints)
        return part
