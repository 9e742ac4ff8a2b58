"""Batched minimum-norm projection onto {h = 0} by Gauss–Newton with CGLS."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.numerics.tensors import per_row

TOLERANCE = 1e-12  # of conjugate gradients, relative to the violation that they remove
POLISH = 1e-3  # of the second solve, which removes the rounding errors of the first
ROUNDING = 10.0  # units in the last place by which a gradient is wrong, relative to |J| and the misfit

Map = Callable[[Tensor], Tensor]  # states (b, ...) to violations (b, m), each element on its own


class Linearised:
    """A map h linearised at states x (b, ...): its value (b, m), and products with J = dh/dx and its transpose.

    Both products are reverse-mode passes over one graph, which is several times cheaper than forward mode.
    """

    def __init__(self, h: Map, x: Tensor):
        with torch.enable_grad():
            self._x = x.detach().requires_grad_()
            self._h = h(self._x)
            self._dual = torch.zeros_like(self._h, requires_grad=True)
            (self._transposed,) = torch.autograd.grad(self._h, self._x, self._dual, create_graph=True)
        self.value = self._h.detach()

    def vjp(self, cotangent: Tensor) -> Tensor:
        """Jᵀ cotangent, (b, m) to (b, ...)."""
        return torch.autograd.grad(self._h, self._x, cotangent, retain_graph=True)[0]

    def jvp(self, step: Tensor) -> Tensor:
        """J step, (b, ...) to (b, m), as the derivative of Jᵀ u with respect to u."""
        return torch.autograd.grad(self._transposed, self._dual, step, retain_graph=True)[0]


class LeastNormResult(NamedTuple):
    """Steps (b, ...), and which batch elements (b,) met the tolerance."""

    step: Tensor
    converged: Tensor


def least_norm(
    at: Linearised, target: Tensor, *, tolerance: float, iterations: int, damping: float = 0.0
) -> LeastNormResult:
    """J⁺ target: the vector v of least norm among those that minimise ‖Jv − target‖, target (b, m).

    With damping > 0, Jᵀ(JJᵀ + damping I)⁻¹ target. Conjugate gradients on the normal equations (Hestenes & Stiefel
    1952, CGLS); J need not have full rank, and where its rows contradict each other the result is the least-squares
    solution. An element of the batch stops at ‖Jv − target‖ <= tolerance ‖target‖, or where the gradient
    Jᵀ(Jv − target) + damping v is at rounding level; it is then frozen, so that it does not depend on the others.
    """
    rest, slope = target, at.vjp(target)
    step, direction, steepness = torch.zeros_like(slope), slope, _squares(slope)
    goal, rounding = tolerance**2 * _squares(target), (ROUNDING * torch.finfo(target.dtype).eps) ** 2
    largest = steepness / _squares(target)  # lower bound of |J|², from the directions so far
    active = (_squares(rest) > goal) & (steepness > 0)
    for _ in range(iterations):
        if not active.any():
            break
        image = at.jvp(direction)
        gained, travelled = _squares(image), _squares(direction)
        largest = torch.where(active, torch.maximum(largest, gained / travelled), largest)
        length = torch.where(active, steepness / (gained + damping * travelled), 0.0)
        step = step + per_row(length, step) * direction
        rest = rest - per_row(length, rest) * image
        slope = at.vjp(rest) - damping * step
        before, steepness = steepness, torch.where(active, _squares(slope), steepness)
        conjugate = slope + per_row(steepness / before, slope) * direction
        direction = torch.where(per_row(active, slope), conjugate, direction)
        active = active & (_squares(rest) > goal) & (steepness > rounding * largest * _squares(rest))
    return LeastNormResult(step, _squares(rest) <= goal)


@dataclass(frozen=True, kw_only=True)
class GaussNewton:
    """x <- x − J⁺h(x), the minimum-norm Gauss–Newton step.

    Attributes:
        tolerance: of each linear solve, relative to ‖h‖; the next step works on what it leaves.
        iterations: of each linear solve at most.
        floor: batch elements whose rms of h is not above this are left as they are.
        dtype: of the linear solves; h itself is evaluated in the dtype of x.

    Raises:
        UserError: a setting is out of range.
    """

    tolerance: float = 1e-3
    iterations: int = 60
    floor: float = 0.0
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1 or self.iterations < 1 or self.floor < 0:
            raise UserError(
                f"tolerance = {self.tolerance}, iterations = {self.iterations}, floor = {self.floor}: "
                "need 0 < tolerance < 1, iterations >= 1, floor >= 0"
            )

    def iterates(self, h: Map, x: Tensor) -> Iterator[LeastNormResult]:
        """Yield the states (b, ...) after each step, without end; ``converged`` is that of the step's linear solve."""
        while True:
            with torch.no_grad():
                violation = h(x)
            moving = violation.square().mean(1) > self.floor**2
            target = torch.where(moving[:, None], -violation, 0.0).to(self.dtype)
            solved = least_norm(
                Linearised(h, x.to(self.dtype)), target, tolerance=self.tolerance, iterations=self.iterations
            )
            x = x + solved.step.to(x)
            yield LeastNormResult(x, solved.converged)


class Equations(NamedTuple):
    """Violations (b, m) in one unit, and how many (b,) of them depend on the state; the others are always zero."""

    values: Tensor
    size: Tensor


def equilibrated(groups: Callable[[Tensor], list[Equations]], x: Tensor) -> Map:
    """Row equilibration: one map h of groups of equations, each scaled so that its rows of J have norm about 1 at x.

    Minimum-norm steps of consistent equations do not depend on the scales, but conjugate gradients converge faster.
    """
    scales = []
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        for values, size in groups(leaf):
            (product,) = torch.autograd.grad(values, leaf, _signs(values), retain_graph=True)
            lengths = _squares(product) / size.clamp(min=1)
            scales.append(torch.where(lengths > 0, lengths, 1.0).rsqrt()[:, None])

    def h(state: Tensor) -> Tensor:
        scaled = zip(scales, groups(state), strict=True)
        return torch.cat([scale.to(state) * group.values for scale, group in scaled], 1)

    return h


@torch.no_grad()
def sequential(h: Map, x: Tensor, steps: int, *, tolerance: float = TOLERANCE, iterations: int = 1000) -> Tensor:
    """Towards the nearest zero of h by sequential quadratic programming: y <- x - J⁺(h(y) + J(x - y)), J at y.

    ``steps`` times, from y = x (b, ...), each batch element on its own. The projection of PCFM (arXiv 2506.04171).
    """
    y = x
    for _ in range(steps):
        at = Linearised(h, y)
        target = -(at.value + at.jvp(x - y))
        y = x + least_norm(at, target, tolerance=tolerance, iterations=iterations).step
    return y


def nearest(violation: Map, x: Tensor) -> Tensor:
    """Nearest point to each state of x (b, ...) with violation 0, for an affine violation (b, ...) -> (b, m).

    Where there is none, the nearest point of least violation.
    """
    return least_change(violation, least_change(violation, x), tolerance=POLISH)


def least_change(
    violation: Map, x: Tensor, *, damping: float = 0.0, tolerance: float = TOLERANCE, iterations: int = 1000
) -> Tensor:
    """x - Jᵀ(JJᵀ + damping I)⁻¹ h: the nearest zero of h = ``violation`` linearised at x; see :func:`least_norm`."""
    at = Linearised(violation, x)
    return x + least_norm(at, -at.value, damping=damping, tolerance=tolerance, iterations=iterations).step


def _signs(like: Tensor) -> Tensor:
    """Random signs z, the same for all states: E|Jᵀz|² is the sum of the squared norms of J's rows (Hutchinson)."""
    stream = torch.Generator().manual_seed(like.shape[1])
    signs = 2.0 * torch.randint(0, 2, like.shape[1:], generator=stream) - 1
    return signs.to(like).expand_as(like)


def _squares(values: Tensor) -> Tensor:
    return values.flatten(1).square().sum(1)
