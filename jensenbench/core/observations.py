"""Linear observations y = A s + noise of a batch of states: masks and dense operators."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from jensenbench.errors import UserError


class Observation(ABC):
    """Linear data of a batch of states: ``values`` = forward(fields) + noise.

    ``noise_std`` is in units of each field's standard deviation; zero means noise-free observations.
    """

    values: Tensor
    noise_std: float

    @abstractmethod
    def forward(self, fields: Tensor) -> Tensor:
        """Apply the operator to physical fields (b, C, *grid); the result has the shape of ``values``."""

    @abstractmethod
    def groups(self, misfit: Tensor) -> Tensor:
        """Misfit as (b, g, m): groups of entries that a method may weight differently."""

    @abstractmethod
    def counts(self) -> Tensor:
        """(b, g) number of observed entries of each group."""

    @abstractmethod
    def subset(self, index: Sequence[int] | slice) -> Self:
        """The same data for a part of the batch."""


@dataclass(frozen=True)
class MaskObservation(Observation):
    """Entries of the fields under a bool mask; ``mask`` and ``values`` are (b, C, *grid). One group per field."""

    mask: Tensor
    values: Tensor
    noise_std: float = 0.0

    def __post_init__(self) -> None:
        if self.mask.shape != self.values.shape:
            raise UserError(
                f"observation mask {tuple(self.mask.shape)} and values {tuple(self.values.shape)} differ in shape"
            )
        if self.noise_std < 0:
            raise UserError(f"noise_std = {self.noise_std} is negative; use 0 for noise-free observations")

    def forward(self, fields: Tensor) -> Tensor:
        return fields * self.mask.to(fields)

    def groups(self, misfit: Tensor) -> Tensor:
        return misfit.flatten(2)

    def counts(self) -> Tensor:
        return self.mask.flatten(2).sum(-1)

    def subset(self, index: Sequence[int] | slice) -> "MaskObservation":
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

    def subset(self, index: Sequence[int] | slice) -> "LinearObservation":
        return replace(self, values=self.values[index])
