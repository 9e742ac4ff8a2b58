"""Resumable state of MCMC chains: positions, adaptation, recorded sums and traces, and its file."""

from ast import literal_eval
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from jensenbench.io import tensorfile
from jensenbench.io.files import canonical_json
from jensenbench.posteriors.kernel import Reference
from jensenbench.posteriors.target import Point

FORMAT = 1
STAGE = "reference-posterior"
_NUMBERS = ("done", "count", "accepted", "refused")
_TENSORS = ("beta", "states", "outer", "weights", "total", "squares", "traces", "kept", "swapped")


@dataclass
class ChainState:
    """What a resumed run needs: where the chains are, their adapted proposals, and what was recorded.

    Attributes:
        point, reference, beta: the chains' states, the Gaussian reference of their proposals, the step size at each
            level; the batch holds all levels of the first chain, then of the second and so on.
        states, outer: sums (L, k) of the noise and (L, k, k) of its outer products over ``count`` states since the last
            fit of the reference.
        weights: (chains,) log weights of the chains while they are annealed.
        total, squares: sums (C, *grid) of the recorded states and of their squares, in units of the fields' std.
        traces: (chains, steps, F) float32 functionals.
        kept: (snapshots, chains, k) float32 noise of the stored states.
        swapped: (L - 1,) sums over the recorded steps of the acceptance of exchanges between neighbouring levels.
        done: steps, the warm-up included.
        accepted: sum over the recorded steps of the mean acceptance at full data.
        refused: proposals that the solver refused.
    """

    point: Point
    reference: Reference
    states: Tensor
    outer: Tensor
    weights: Tensor
    total: Tensor
    squares: Tensor
    traces: Tensor
    kept: Tensor
    beta: Tensor
    swapped: Tensor
    done: int = 0
    count: int = 0
    accepted: float = 0.0
    refused: int = 0

    def reset(self) -> None:
        """Set the sums for the next fit of the reference to zero."""
        self.count = 0
        self.states, self.outer = torch.zeros_like(self.states), torch.zeros_like(self.outer)

    def accumulate(self, z: Tensor) -> None:
        """Add noise (chains, L, k) to these sums."""
        self.count += len(z)
        self.states += z.sum(0)
        self.outer += torch.einsum("cli,clj->lij", z, z)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (L, k) and covariance (L, k, k) of what was added."""
        mean = self.states / self.count
        return mean, self.outer / self.count - mean[:, :, None] * mean[:, None]

    def save(self, path: Path, meta: Mapping[str, Any]) -> None:
        """Write everything; equal states give equal bytes."""
        parts = {**self.point._asdict(), **vars(self.reference), **{name: getattr(self, name) for name in _TENSORS}}
        numbers = {name: repr(getattr(self, name)) for name in _NUMBERS}
        tensorfile.write_tensors(path, {"format": FORMAT, **meta, **numbers}, parts)

    @classmethod
    def load(cls, path: Path, meta: Mapping[str, Any]) -> Self | None:
        """The saved state of chains with the same metadata; None where there is none."""
        if not path.exists():
            return None
        found, parts, _ = tensorfile.read_tensors(path, STAGE, format=FORMAT)
        numbers: dict[str, Any] = {name: literal_eval(found.pop(name)) for name in _NUMBERS}
        if canonical_json(found) != canonical_json({"format": FORMAT, **meta}):
            return None
        point = Point(*(parts.pop(name) for name in Point._fields))
        reference = Reference(*(parts.pop(name) for name in ("mean", "directions", "std")))
        return cls(point, reference, **parts, **numbers)
