"""Shortest corrections of states onto {h = 0}: Gauss–Newton steps by conjugate gradients, each row on its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.numerics.tensors import per_row

TOLERANCE = 1e-12  # of conjugate gradients, relative to the violation that they remove
POLISH = 1e-3  # of the second solve, which removes the rounding of the first

Map = Callable[[Tensor], Tensor]  # states (b, ...) to violations (b, m), row by row

ROUNDING = 10.0  # units of the last place by which a gradient is wrong, relative to |J| and the misfit


class Linearised:
    """A map h at states x (b, ...): its value (b, m), and products with J = dh/dx and its transpose.

    Both products are backward sweeps of one graph, which is several times cheaper than forward mode.
    """

    def __init__(self, h: Map, x: Tensor):
        with torch.enable_grad():
            self._x = x.detach().requires_grad_()
            self._h = h(self._x)
            self._dual = torch.zeros_like(self._h, requires_grad=True)
            (self._pulled,) = torch.autograd.grad(self._h, self._x, self._dual, create_graph=True)
        self.value = self._h.detach()

    def vjp(self, rows: Tensor) -> Tensor:
        """Jᵀ rows, (b, m) to (b, ...)."""
        return torch.autograd.grad(self._h, self._x, rows, retain_graph=True)[0]

    def jvp(self, step: Tensor) -> Tensor:
        """J step, (b, ...) to (b, m)."""
        return torch.autograd.grad(self._pulled, self._dual, step, retain_graph=True)[0]


class LeastNormResult(NamedTuple):
    """Steps (b, ...), and which rows (b,) met the tolerance."""

    step: Tensor
    converged: Tensor


def least_norm(
    at: Linearised, target: Tensor, *, tolerance: float, iterations: int, damping: float = 0.0
) -> LeastNormResult:
    """J⁺ target: the shortest v among those that minimise ‖Jv − target‖, target (b, m).

    With damping > 0, Jᵀ(JJᵀ + damping I)⁻¹ target. Conjugate gradients on the normal equations (Hestenes & Stiefel
    1952, CGLS); it needs no full rank, and where the rows of J contradict each other it ends in the least squares.
    A row stops at ‖Jv − target‖ <= tolerance ‖target‖, or where the gradient Jᵀ(Jv − target) + damping v is
    rounding; then it stands still, so that it does not depend on its neighbours.
    """
    rest, slope = target, at.vjp(target)
    step, direction, steepness = torch.zeros_like(slope), slope, _squares(slope)
    goal, rounding = tolerance**2 * _squares(target), (ROUNDING * torch.finfo(target.dtype).eps) ** 2
    largest = steepness / _squares(target)  # of the squares of J's gains on the way, at most |J|²
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
        follow = slope + per_row(steepness / before, slope) * direction
        direction = torch.where(per_row(active, slope), follow, direction)
        active = active & (_squares(rest) > goal) & (steepness > rounding * largest * _squares(rest))
    return LeastNormResult(step, _squares(rest) <= goal)


@dataclass(frozen=True, kw_only=True)
class GaussNewton:
    """x <- x − J⁺h(x), the minimum-norm Gauss–Newton step.

    Attributes:
        tolerance: of each linear solve, relative to ‖h‖; the next step works on what it leaves.
        iterations: of each linear solve at most.
        floor: rows whose rms of h is not above this stand still.
        dtype: of the linear solves; h itself is evaluated in the dtype of x.
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
        """Yield the states after each step, without end; ``converged`` tells whether its linear solve was."""
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


class Rows(NamedTuple):
    """Violations (b, m) in one unit, and how many (b,) of them depend on the state; the rest are empty."""

    values: Tensor
    size: Tensor


def balanced(groups: Callable[[Tensor], list[Rows]], x: Tensor) -> Map:
    """One map h out of groups of rows, each scaled so that its rows of J have length about 1 at x (b, ...).

    LeastNormResult steps do not depend on the scales of rows, but their computation converges faster.
    """
    scales = []
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        for values, size in groups(leaf):
            (pulled,) = torch.autograd.grad(values, leaf, _signs(values), retain_graph=True)
            lengths = _squares(pulled) / size.clamp(min=1)
            scales.append(torch.where(lengths > 0, lengths, 1.0).rsqrt()[:, None])

    def h(state: Tensor) -> Tensor:
        return torch.cat([scale.to(state) * rows.values for scale, rows in zip(scales, groups(state), strict=True)], 1)

    return h


def _signs(like: Tensor) -> Tensor:
    """Random signs, the same for all states: the squared length of Jᵀz is on average the sum of those of J's rows."""
    stream = torch.Generator().manual_seed(like.shape[1])
    signs = 2.0 * torch.randint(0, 2, like.shape[1:], generator=stream) - 1
    return signs.to(like).expand_as(like)


def _squares(values: Tensor) -> Tensor:
    return values.flatten(1).square().sum(1)


@torch.no_grad()
def sequential(h: Map, x: Tensor, steps: int, *, tolerance: float = TOLERANCE, iterations: int = 1000) -> Tensor:
    """Towards the nearest zero of h by sequential quadratic programming: y <- x - J⁺(h(y) + J(x - y)), J at y.

    ``steps`` times, from y = x (b, ...), each row on its own. The projection of PCFM (arXiv 2506.04171).
    """
    y = x
    for _ in range(steps):
        at = Linearised(h, y)
        target = -(at.value + at.jvp(x - y))
        y = x + least_norm(at, target, tolerance=tolerance, iterations=iterations).step
    return y


def nearest(violation: Map, x: Tensor) -> Tensor:
    """Nearest point to every row of x with violation 0, for an affine violation (b, ...) -> (b, m).

    Where there is none, the nearest one with the smallest violation.
    """
    return least_change(violation, least_change(violation, x), tolerance=POLISH)


def least_change(
    violation: Map, x: Tensor, *, damping: float = 0.0, tolerance: float = TOLERANCE, iterations: int = 1000
) -> Tensor:
    """x - Jᵀ(JJᵀ + damping I)⁻¹ h: the nearest zero of h = violation, linearised at x; see :func:`least_norm`."""
    at = Linearised(violation, x)
    return x + least_norm(at, -at.value, damping=damping, tolerance=tolerance, iterations=iterations).step
