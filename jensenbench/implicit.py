"""Hard constraints that are given by a curved map h(fields) = 0, and the way to the nearest fields that meet them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from jensenbench.constraints import TOLERANCE, least_change
from jensenbench.projection import Linearised, Map, least_norm

STEPS = 3  # towards a curved constraint: each turns the way by the curvature times the distance


@dataclass(frozen=True)
class Implicit:
    """A differentiable map ``function`` from fields (b, C, *grid) to (b, m), the same for all states.

    An affine one with values of its own is :class:`jensenbench.constraints.Measured`.
    """

    affine: ClassVar[bool] = False

    name: str
    function: Map

    def violation(self, fields: Tensor) -> Tensor:
        return self.function(fields)

    def project(self, fields: Tensor) -> Tensor:
        """Fields that meet the constraint, nearly the nearest: sequential programming, then a Gauss–Newton step."""
        return least_change(self.function, sequential(self.function, fields, STEPS))

    def rows(self, index: Sequence[int] | slice) -> Self:
        return self


@torch.no_grad()
def sequential(h: Map, x: Tensor, steps: int, *, tolerance: float = TOLERANCE, iterations: int = 1000) -> Tensor:
    """Towards the nearest zero of h by sequential quadratic programming: y <- x - J⁺(h(y) + J(x - y)), J at y.

    ``steps`` times, from y = x (b, ...), each row on its own. The projection of PCFM (arXiv 2506.04171).
    """
    y = x
    for _ in range(steps):
        at = Linearised(h, y)
        target = -(at.value + at.push(x - y))
        y = x + least_norm(at, target, tolerance=tolerance, iterations=iterations).step
    return y
