"""Corrections of a state by its own PDE residual, as CoCoGen and PIDM apply them in and after their last steps.

Sources: Jacobsen et al., arXiv 2312.10527 (CoCoGen), and the code of Bastek et al., arXiv 2403.14404 (PIDM).
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from jensenbench.core.problem import Problem
from jensenbench.numerics.autograd import gradient_of
from jensenbench.numerics.jacobian import directions, jacobian_diagonal, jacobian_maximum, on_grid
from jensenbench.numerics.tensors import per_row

STEEPEST = 1e12  # largest entry of a Jacobian that corrections assume


def mixed(problem: Problem, mask: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """State with the fields' entries of one state inside a mask and of another one outside, in prior coordinates."""
    return problem.encode(torch.where(mask, problem.decode(inside), problem.decode(outside)))


class Corrector:
    """Moves the entries of the solution that are not ``fixed`` towards a smaller residual of the state itself.

    Args:
        fixed: mask (b or 1, C, *grid) of entries that stay.
        rule: "published" (:meth:`down_diagonal`) or "full" (:meth:`down_gradient`).
        scheme: the residual, of its part at inner points.
        unit: standard deviation of the solution in whose units steps are given.
    """

    rules = ("published", "full")

    def __init__(self, problem: Problem, fixed: Tensor, *, rule: str, scheme: str, unit: float):
        self._problem, self._scheme = problem, scheme
        solution = problem.pde.role_mask("solution").to(fixed.device)
        self._free = solution & ~fixed
        self._unit = float(problem.scale[solution.flatten(1).any(1).cpu()].mean()) / unit
        self._rule = self.down_diagonal if rule == "published" else self.down_gradient
        if rule == "published":
            pde = problem.pde
            self._sets = directions(lambda state: pde.residual(state, scheme)["interior"], solution)
            self._tangents = self._direction(self._sets.double())

    def __call__(self, x: Tensor, step: float) -> Tensor:
        """x after one correction, in which no entry's change is meant to exceed ``step``."""
        return self._rule(x, step * self._unit)

    def down_diagonal(self, x: Tensor, step: float) -> Tensor:
        """u <- u - step/max(rho) rho with rho of :meth:`pseudo_gradient`; the maximum is signed, as published."""
        rho = self.pseudo_gradient(x)
        return x - self._direction(per_row(_ratio(step, rho.flatten(1).amax(1)), x) * rho)

    def pseudo_gradient(self, x: Tensor) -> Tensor:
        """rho = 2 R diag(∂R/∂u) (b, C, *grid) in units of the fields, zero where they may not move."""
        diagonal = jacobian_diagonal(self.residual, x, self._sets, self._tangents)
        return 2 * on_grid(self.residual(x), x.shape[2:])[:, None] * diagonal * self._free

    def down_gradient(self, x: Tensor, step: float) -> Tensor:
        """Gradient step in prior coordinates, to the smallest residual along it or to a largest change of ``step``.

        The residual is linearised along the gradient g of |R|²: the minimum lies at the step |g|²/(2 |J g|²).
        """

        def moved(change: Tensor) -> Tensor:
            return mixed(self._problem, self._free, x + change, x)

        def loss(change: Tensor) -> tuple[Tensor]:
            return (self.residual(moved(change)).square().flatten(1).sum(1),)

        none = torch.zeros_like(x)
        (gradient,) = gradient_of(None, none, loss)
        slope = torch.func.jvp(lambda change: self.residual(moved(change)), (none,), (gradient,))[1]
        lowest = _ratio(gradient.square().flatten(1).sum(1) / 2, slope.square().flatten(1).sum(1))
        reach = (self._problem.decode(moved(gradient)) - self._problem.decode(x)).abs().flatten(1).amax(1)
        return moved(-per_row(torch.minimum(lowest, _ratio(step, reach)), x) * gradient)

    def residual(self, x: Tensor) -> Tensor:
        return self._problem.residual(x, self._scheme)["interior"]

    def _direction(self, change: Tensor) -> Tensor:
        """A change of the fields in prior coordinates."""
        return self._problem.encode(change) - self._problem.encode(torch.zeros_like(change))


def _ratio(value: Tensor | float, by: Tensor) -> Tensor:
    """value / by, and 0 where nothing may move."""
    return torch.where(by != 0, value / torch.where(by != 0, by, 1), 0)


class ScaledCorrection:
    """A step of the solution down the gradient of the summed squared residual, as PIDM's code corrects states.

    Its length is ``length`` over the largest entry of the residual's Jacobian.

    Args:
        parts: states (b, C, *grid) in prior coordinates to the parts of their residual, each of one shape.
    """

    def __init__(self, problem: Problem, parts: Callable[[Tensor], Sequence[Tensor]], length: float):
        self._problem, self._parts, self._length = problem, parts, length
        self._solution = problem.pde.role_mask("solution")

    @cached_property
    def _sets(self) -> Tensor:
        """Unknowns that may move together."""
        return directions(self.residual, self._solution)

    def residual(self, fields: Tensor) -> Tensor:
        """(b, parts, *points)."""
        return torch.stack(tuple(self._parts(self._problem.encode(fields))), 1)

    def __call__(self, x: Tensor) -> Tensor:
        """The corrected states (b, C, *grid), prior coordinates."""
        fields = self._problem.decode(x)
        (gradient,) = gradient_of(None, fields, lambda state: (self.residual(state).square().flatten(1).sum(1),))
        # u <- u - length / max J times the gradient of sum R²
        steepest = jacobian_maximum(self.residual, fields, self._sets).clamp(max=STEEPEST)
        length = torch.where(steepest > 0, self._length / steepest, 0.0)
        return self._problem.encode(fields - per_row(length, x) * gradient * self._solution.to(x))
