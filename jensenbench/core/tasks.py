"""Inverse-problem tasks: which entries of a state are observed, with which noise and which conservation laws."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from jensenbench.core.constraints import Constraint
from jensenbench.core.masks import REGIONS, spatial_axes
from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import PDE, Role
from jensenbench.errors import UnknownName, UserError
from jensenbench.numerics.random import seed_of

CONSERVED = ("mass", "mean")  # names of the constraints of conserved quantities
_SPARSE = 500 / 128**2  # DiffusionPDE's 500 of 128² points, kept as a share on other grids


@dataclass(frozen=True)
class Task:
    """Which share of the coefficient and of the solution is observed, at random points, with which noise.

    A share of 0 observes nothing, 1 everything.

    Attributes:
        name: without the noise; see :attr:`label`.
        coefficient, solution: observed shares.
        noise_std: standard deviation of the noise, in units of each field's.
        region: one of :data:`~jensenbench.core.masks.REGIONS`, observed wholly; empty for none.
        conserves: whether the conserved quantities of states are hard constraints.
    """

    name: str
    coefficient: float = 0.0
    solution: float = 0.0
    noise_std: float = 0.0
    region: str = ""
    conserves: bool = False

    def __post_init__(self) -> None:
        if self.region and self.region not in REGIONS:
            raise UnknownName(f"region of task {self.name!r}", self.region, REGIONS)
        if self.conserves and (self.region != "initial" or self.noise_std):
            raise UserError(
                f"task {self.name!r}: conserved quantities follow from a noise-free initial state; use noise_std = 0"
            )
        if not (0 <= self.coefficient <= 1 and 0 <= self.solution <= 1):
            raise UserError(
                f"task {self.name!r}: observed shares {self.coefficient}, {self.solution} must lie in [0, 1]"
            )
        if self.noise_std < 0:
            raise UserError(f"task {self.name!r}: noise_std = {self.noise_std} is negative")

    @property
    def label(self) -> str:
        """Name with the noise, as in tables and paths."""
        return f"{self.name}_noise{self.noise_std:g}" if self.noise_std else self.name

    @property
    def observes(self) -> bool:
        """Whether anything is observed."""
        return self.coefficient > 0 or self.solution > 0 or bool(self.region)

    def knows(self, role: Role) -> bool:
        """Whether all entries of a role are observed."""
        return getattr(self, role) == 1 or (role == "coefficient" and self.region == "initial")

    def unsupported(self, pde: PDE) -> str | None:
        """Why a PDE does not support this task, None if it does."""
        if not self.region:
            return None
        if not pde.evolves:
            return "its states are no evolution in time"
        if self.region == "boundary" and all(axis.kind == "periodic" for axis in spatial_axes(pde)):
            return "it is periodic in space and has no boundary"
        if self.conserves and not self.constraints(pde, torch.zeros(1, *pde.shape, dtype=torch.float64)):
            return "its data have no conserved quantity"
        return None

    def constraints(self, pde: PDE, state: Tensor) -> tuple[Constraint, ...]:
        """Hard constraints besides the data, of states with the coefficient part of ``state`` (b, C, *grid)."""
        if not self.conserves:
            return ()
        return tuple(constraint for constraint in pde.constraints(state) if constraint.name in CONSERVED)

    def mask(self, pde: PDE, *, seed: int, index: int) -> Tensor:
        """Observed entries (C, *grid) of one instance, bool: a function of (seed, task, index) alone."""
        stream = _stream(seed, self.label, index, "mask")
        shares: dict[Role, float] = {"coefficient": self.coefficient, "solution": self.solution}
        mask = torch.zeros(pde.shape, dtype=torch.bool)
        for role, share in shares.items():
            entries = pde.role_mask(role).flatten().nonzero().flatten()
            count = min(len(entries), max(1, round(share * len(entries)))) if share else 0
            chosen = stream.choice(len(entries), count, replace=False)
            mask.view(-1)[entries[torch.as_tensor(np.sort(chosen))]] = True
        return mask | REGIONS[self.region](pde, stream) if self.region else mask

    def observe(self, state: Tensor, pde: PDE, field_std: Tensor, *, seed: int, index: int) -> MaskObservation:
        """Observation (batch size one) of one physical state (C, *grid), whose fields have std ``field_std`` (C,)."""
        mask = self.mask(pde, seed=seed, index=index)
        noise = torch.as_tensor(_stream(seed, self.label, index, "noise").standard_normal(pde.shape))
        spread = self.noise_std * field_std.reshape(-1, *[1] * len(pde.grid.shape))
        values = torch.where(mask, state + spread * noise, torch.zeros_like(state))
        return MaskObservation(mask[None], values[None], self.noise_std)


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
        Task("sensors", region="sensors"),
        Task("initial", region="initial"),
        Task("boundary", region="boundary"),
        Task("mass", region="initial", conserves=True),
    )
}


def find_task(name: str, *, noise_std: float = 0.0) -> Task:
    """A task of :data:`TASKS` with observation noise; raises UnknownName."""
    if name not in TASKS:
        raise UnknownName("task", name, TASKS)
    return replace(TASKS[name], noise_std=noise_std)


def _stream(seed: int, *key: object) -> np.random.Generator:
    return np.random.default_rng(seed_of((seed, *key)))
