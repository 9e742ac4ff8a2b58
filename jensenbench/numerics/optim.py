"""Batched gradient descent, Adam and L-BFGS: each batch element is an optimisation problem of its own.

An objective is called as ``objective(x, index)`` with the states (a, ...) of the elements that still move and their
indices (a,) in the starting batch; it returns their losses (a,), each a function of its own state. Elements that have
stopped are not evaluated any more, so that they cost nothing.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from jensenbench.errors import Diverged, UserError
from jensenbench.numerics.autograd import gradient_of
from jensenbench.numerics.line_search import Trial, strong_wolfe
from jensenbench.numerics.tensors import dot, per_row

Objective = Callable[[Tensor, Tensor], Tensor]
Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

CURVATURE = 1e-10  # least y·s of a curvature pair that is kept, as in torch.optim.LBFGS


class Iterate(NamedTuple):
    """States (b, ...) and the losses (b,) there; NaN where no evaluation was spent on them."""

    x: Tensor
    loss: Tensor


@dataclass(frozen=True, kw_only=True)
class Optimiser(ABC):
    """Settings and interface of all optimisers.

    Attributes:
        iterations: steps at most.
        lr: step length, or factor of it.
        target: a batch element whose loss is not above this stops.
    """

    iterations: int = 20
    lr: float = 1.0
    target: float = -math.inf

    def __post_init__(self) -> None:
        if self.iterations != int(self.iterations) or self.iterations < 1:
            raise UserError(f"iterations = {self.iterations}: an optimiser needs at least one whole step")
        if not 0 < self.lr < math.inf:
            raise UserError(f"lr = {self.lr}: the step length must be positive and finite")

    @abstractmethod
    def iterates(self, objective: Objective, start: Tensor, *, module: nn.Module | None = None) -> Iterator[Iterate]:
        """Yield the start (b, ...) and the states after every step; the last ones are the result.

        ``module`` is a network inside the objective, whose parameters are not differentiated. Raises Diverged where
        a loss is NaN or infinite.
        """

    def minimise(self, objective: Objective, start: Tensor, *, module: nn.Module | None = None) -> Iterate:
        """The last of :meth:`iterates`."""
        return deque(self.iterates(objective, start, module=module), maxlen=1).pop()


@dataclass(frozen=True, kw_only=True)
class GradientDescent(Optimiser):
    """x <- x - lr g."""

    def iterates(self, objective: Objective, start: Tensor, *, module: nn.Module | None = None) -> Iterator[Iterate]:
        x, losses = start.detach().clone(), start.new_full((len(start),), math.nan)
        index, evaluate = torch.arange(len(x), device=x.device), _differentiated(objective, module)
        moments = self.moments(x)
        for k in range(1, self.iterations + 1):
            losses[index], gradient = _finite(evaluate(x[index], index), k - 1)
            yield Iterate(x.clone(), losses.clone())
            moving = losses[index] > self.target
            index, gradient = index[moving], gradient[moving]
            if not len(index):
                return
            step, moments[:, index] = self.step(gradient, moments[:, index], k)
            x[index] -= step
            losses[index] = math.nan
        yield Iterate(x, losses)

    def moments(self, x: Tensor) -> Tensor:
        """Running averages (k, b, ...) that the rule keeps; none here."""
        return x.new_zeros(0, *x.shape)

    def step(self, gradient: Tensor, moments: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """What the k-th step (from 1) subtracts from states with this gradient, and their new averages."""
        return self.lr * gradient, moments


@dataclass(frozen=True, kw_only=True)
class Adam(GradientDescent):
    """Adam with bias correction (Kingma & Ba, arXiv 1412.6980, algorithm 1)."""

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.eps > 0):
            raise UserError(
                f"beta1 = {self.beta1}, beta2 = {self.beta2}, eps = {self.eps}: need betas in [0, 1) and eps > 0"
            )

    def moments(self, x: Tensor) -> Tensor:
        return x.new_zeros(2, *x.shape)

    def step(self, gradient: Tensor, moments: Tensor, k: int) -> tuple[Tensor, Tensor]:
        mean = self.beta1 * moments[0] + (1 - self.beta1) * gradient
        square = self.beta2 * moments[1] + (1 - self.beta2) * gradient.square()
        size = (square / (1 - self.beta2**k)).sqrt() + self.eps
        return self.lr * mean / (1 - self.beta1**k) / size, torch.stack([mean, square])


@dataclass(frozen=True, kw_only=True)
class LBFGS(Optimiser):
    """Limited-memory BFGS with the rules of torch.optim.LBFGS, per element (Nocedal & Wright 2006, algorithm 7.5).

    With gradient g and inverse Hessian H, the first step is -min(1, 1/|g|₁) lr g, later ones are -lr Hg; with
    ``line_search`` these are the first steps tried.

    Attributes:
        history: curvature pairs kept.
        line_search: look for a step that meets the strong Wolfe conditions.
        evaluations: of the objective, after which an element takes no further step and a search ends (with the better
            of its first and last points if it has found none); None: 1.25 times ``iterations``.
        tolerance_grad: stop at gradients whose entries are all below this.
        tolerance_change: stop when all entries of a step, or the change of the loss, are below this.
        couple_batch: one problem for the whole batch, the sum of its losses; losses are then (1,).
    """

    history: int = 100
    line_search: bool = False
    evaluations: int | None = None
    tolerance_grad: float = 1e-7
    tolerance_change: float = 1e-9
    couple_batch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.history < 1:
            raise UserError(f"history = {self.history}: L-BFGS keeps at least one pair")

    def iterates(self, objective: Objective, start: Tensor, *, module: nn.Module | None = None) -> Iterator[Iterate]:
        if not self.couple_batch:
            yield from self._minimise(objective, start, module)
            return
        index = torch.arange(len(start), device=start.device)
        joint: Objective = lambda x, _: objective(x[0], index).sum()[None]  # noqa: E731
        for x, loss in self._minimise(joint, start[None], module):
            yield Iterate(x[0], loss)

    def _minimise(self, objective: Objective, start: Tensor, module: nn.Module | None) -> Iterator[Iterate]:
        shape, index = start.shape[1:], torch.arange(len(start), device=start.device)
        flat = _flattened(_differentiated(objective, module), shape)
        x = start.detach().flatten(1).clone()
        losses, gradient = _finite(flat(x, index), 0)
        front, losses = _Front.at(index, x, losses, gradient), losses.clone()
        yield Iterate(x.reshape(-1, *shape).clone(), losses.clone())
        front = front.subset(self._unsettled(front))
        for k in range(1, self.iterations + 1):
            direction = front.direction()
            falls = dot(front.gradient, direction) <= -self.tolerance_change
            front, direction = front.subset(falls), direction[falls]
            if not len(front.elements):
                return
            front, going = self._advance(flat, front, direction, k)
            x[front.elements], losses[front.elements] = front.x, front.loss
            yield Iterate(x.reshape(-1, *shape).clone(), losses.clone())
            front = front.subset(going)

    def _advance(self, evaluate: Evaluate, front: "_Front", direction: Tensor, k: int) -> tuple["_Front", Tensor]:
        """The active elements after step k, and which of them go on."""
        length = torch.full_like(front.loss, self.lr)
        if k == 1:
            length = length * (1 / front.gradient.abs().sum(1)).clamp(max=1)
        if self.line_search:
            length, loss, gradient, calls = _search(evaluate, front, direction, length, self._limit)
            step = per_row(length, direction) * direction
        else:
            step, calls = per_row(length, direction) * direction, torch.ones_like(front.calls)
            if k == self.iterations:  # the loss after the last step is not needed
                unknown = torch.full_like(front.loss, math.nan)
                return front._replace(x=front.x + step, loss=unknown), unknown > 0
            loss, gradient = _finite(evaluate(front.x + step, front.elements), k)
        after = front.after(step, loss, gradient, calls, self.history)
        moved = (step.abs().amax(1) > self.tolerance_change) & ((loss - front.loss).abs() >= self.tolerance_change)
        return after, moved & (after.calls < self._limit) & self._unsettled(after)

    @property
    def _limit(self) -> int:
        return self.iterations * 5 // 4 if self.evaluations is None else self.evaluations

    def _unsettled(self, front: "_Front") -> Tensor:
        return (front.gradient.abs().amax(1) > self.tolerance_grad) & (front.loss > self.target)


class _Front(NamedTuple):
    """State of L-BFGS for the a elements that still move, with h curvature pairs of d entries.

    Pairs are steps s and changes y of the gradient, oldest first; rho = 1/(y·s), 0 for an empty slot.
    """

    elements: Tensor  # (a,) their indices in the batch
    x: Tensor  # (a, d)
    loss: Tensor  # (a,)
    gradient: Tensor  # (a, d)
    calls: Tensor  # (a,) evaluations spent
    steps: Tensor  # (a, h, d)
    changes: Tensor  # (a, h, d)
    rho: Tensor  # (a, h)
    scale: Tensor  # (a,) of the initial inverse Hessian

    @classmethod
    def at(cls, elements: Tensor, x: Tensor, loss: Tensor, gradient: Tensor) -> "_Front":
        none = x.new_zeros(len(x), 0, x.shape[1])
        return cls(
            elements, x, loss, gradient, torch.ones_like(elements), none, none, none[..., 0], torch.ones_like(loss)
        )

    def subset(self, chosen: Tensor) -> "_Front":
        return _Front(*(values[chosen] for values in self))

    def direction(self) -> Tensor:
        """-Hg by the two-loop recursion (Nocedal & Wright 2006, algorithm 7.4)."""
        result, weights = -self.gradient, []
        slots = range(self.rho.shape[1])
        for i in reversed(slots):
            weights.append(self.rho[:, i] * dot(self.steps[:, i], result))
            result = result - per_row(weights[-1], result) * self.changes[:, i]
        result = per_row(self.scale, result) * result
        for i, weight in zip(slots, reversed(weights), strict=True):
            rest = weight - self.rho[:, i] * dot(self.changes[:, i], result)
            result = result + per_row(rest, result) * self.steps[:, i]
        return result

    def after(self, step: Tensor, loss: Tensor, gradient: Tensor, calls: Tensor, history: int) -> "_Front":
        """The state after a step, whose curvature pair is kept where y·s is positive."""
        change = gradient - self.gradient
        curvature = dot(change, step)
        useful = curvature > CURVATURE
        safe = torch.where(useful, curvature, 1)

        def appended(stack: Tensor, new: Tensor) -> Tensor:
            new = torch.where(per_row(useful, new), new, 0)[:, None]
            grown = torch.where(per_row(useful, stack), torch.cat([stack, new], 1), torch.cat([new, stack], 1))
            return grown[:, -history:]

        return _Front(
            self.elements, self.x + step, loss, gradient, self.calls + calls,
            appended(self.steps, step), appended(self.changes, change), appended(self.rho, 1 / safe),
            torch.where(useful, safe / torch.where(useful, dot(change, change), 1), self.scale),
        )  # fmt: skip


def _search(evaluate: Evaluate, front: _Front, direction: Tensor, first: Tensor, limit: int) -> tuple[Tensor, ...]:
    """Line searches of all elements side by side: step lengths, losses, gradients, evaluations spent."""
    slopes, reach = dot(front.gradient, direction).tolist(), direction.abs().amax(1).tolist()
    origins = zip(front.loss.tolist(), slopes, front.gradient, strict=True)
    searches = [
        strong_wolfe(Trial(0.0, *origin), t, longest, limit - spent)
        for origin, t, longest, spent in zip(origins, first.tolist(), reach, front.calls.tolist(), strict=True)
    ]
    wanted, found, calls = {i: next(search) for i, search in enumerate(searches)}, {}, torch.zeros_like(front.calls)
    while wanted:
        index = torch.tensor(list(wanted), device=first.device)
        length = first.new_tensor(list(wanted.values()))
        line = direction[index]
        loss, gradient = evaluate(front.x[index] + per_row(length, line) * line, front.elements[index])
        calls[index] += 1
        trials = zip(list(wanted.items()), loss.tolist(), dot(gradient, line).tolist(), gradient, strict=True)
        for (i, t), value, slope, vector in trials:
            try:
                wanted[i] = searches[i].send(Trial(t, value, slope, vector))
            except StopIteration as end:
                found[i] = end.value
                del wanted[i]
    ends = [found[i] for i in range(len(searches))]
    lengths, losses = (first.new_tensor([getattr(end, name) for end in ends]) for name in ("t", "loss"))
    return lengths, losses, torch.stack([end.gradient for end in ends]), calls


def _differentiated(objective: Objective, module: nn.Module | None) -> Evaluate:
    """The objective with its gradient."""

    def evaluate(x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        def losses(state: Tensor) -> tuple[Tensor, Tensor]:
            loss = objective(state, index)
            return loss, loss

        gradient, loss = gradient_of(module, x, losses)
        return loss, gradient

    return evaluate


def _flattened(evaluate: Evaluate, shape: torch.Size) -> Evaluate:
    """The same on states (a, d) instead of (a, *shape)."""

    def flat(x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = evaluate(x.reshape(-1, *shape), index)
        return loss, gradient.flatten(1)

    return flat


def _finite(evaluated: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    """The same losses and gradients; raises Diverged where a loss is NaN or infinite."""
    loss, _ = evaluated
    if not torch.isfinite(loss).all():
        first = int((~torch.isfinite(loss)).nonzero()[0, 0])
        raise Diverged(
            f"the loss of batch element {first} is {float(loss[first])} after {k} steps of the optimiser; lower lr"
        )
    return evaluated
