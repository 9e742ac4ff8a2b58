"""Hard constraints h(fields) = 0 and their projections (ECI, arXiv 2412.01786)."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Constraint(Protocol):
    """A set of fields, given by its violation and by the projection onto it."""

    @property
    def name(self) -> str: ...

    def violation(self, fields: Tensor) -> Tensor:
        """(b, C, *grid) to (b, m), signed; its norm is the metric ``constraint_error``."""
        ...

    def project(self, fields: Tensor) -> Tensor:
        """Nearest field that meets the constraint."""
        ...


@dataclass(frozen=True)
class FixedEntries:
    """Entries with known values (Dirichlet data, initial rows, noise-free observations).

    ``mask`` and ``values`` broadcast against (b, C, *grid).
    """

    name: str
    mask: Tensor
    values: Tensor

    def violation(self, fields: Tensor) -> Tensor:
        return ((fields - self.values) * self.mask).flatten(1)

    def project(self, fields: Tensor) -> Tensor:
        return torch.where(self.mask.bool(), self.values.to(fields), fields)
