"""Observed entries pasted into noisy states, and states moved down the gradient of their own squared residual."""

import torch
from torch import Tensor

from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.numerics.autograd import gradient_of
from jensenbench.numerics.jacobian import directions, jacobian_diagonal, on_grid
from jensenbench.numerics.tensors import per_row
from methods._cocogen_settings import Corrections


class Known:
    """The observed entries of a batch; ``values`` is a state in prior coordinates that has them."""

    def __init__(self, problem: Problem, like: Tensor):
        data = problem.observation
        self.exist, self.noise_std = isinstance(data, MaskObservation), data.noise_std if data is not None else 0.0
        self.mask = torch.zeros(1, *problem.pde.shape, dtype=torch.bool, device=like.device)
        self._problem, self.values = problem, like
        if isinstance(data, MaskObservation):
            self.mask, self.values = data.mask.to(like.device), problem.encode(data.values.to(like))

    def paste(self, x: Tensor, other: Tensor) -> Tensor:
        """x with the observed entries of its fields taken from ``other``."""
        return mixed(self._problem, self.mask, other, x)


def mixed(problem: Problem, mask: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """State with the fields' entries of one state inside a mask and of another one outside, in prior coordinates."""
    return problem.encode(torch.where(mask, problem.decode(inside), problem.decode(outside)))


class Corrector:
    """Moves the entries of the solution that are not ``fixed`` towards a smaller residual of the state itself."""

    def __init__(self, config: Corrections, problem: Problem, fixed: Tensor):
        self._problem, self._scheme = problem, config.scheme
        solution = problem.pde.role_mask("solution").to(fixed.device)
        self._free = solution & ~fixed
        self._unit = float(problem.scale[solution.flatten(1).any(1).cpu()].mean()) / config.unit
        self._rule = self.down_diagonal if config.rule == "published" else self.down_gradient
        if config.rule == "published":
            pde = problem.pde
            self._sets = directions(lambda state: pde.residual(state, config.scheme)["interior"], solution)
            self._tangents = self._direction(self._sets.double())

    def __call__(self, x: Tensor, step: float) -> Tensor:
        """x after one correction, in which no entry's change is meant to exceed ``step``."""
        return self._rule(x, step * self._unit)

    def down_diagonal(self, x: Tensor, step: float) -> Tensor:
        """u <- u - step/max(rho) rho with rho of :meth:`pseudo_gradient`; the maximum is signed, as published."""
        rho = self.pseudo_gradient(x)
        return x - self._direction(per_row(_ratio(step, rho.flatten(1).amax(1)), x) * rho)

    def pseudo_gradient(self, x: Tensor) -> Tensor:
        """2 R diag(∂R/∂u) in units of the fields, zero where they may not move."""
        diagonal = jacobian_diagonal(self.residual, x, self._sets, self._tangents)
        return 2 * on_grid(self.residual(x), x.shape[2:])[:, None] * diagonal * self._free

    def down_gradient(self, x: Tensor, step: float) -> Tensor:
        """Gradient step in prior coordinates to the smallest residual along it, or to the first change of ``step``."""

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
