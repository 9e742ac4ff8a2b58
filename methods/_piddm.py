"""How a PIDDM student learns: the loss of a step, or the solution of an affine student's least squares."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import TeacherPairs
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError
from jensenbench.numerics.random import generator_of
from jensenbench.priors.training import apply_symmetries
from methods._losses import residual_loss
from methods._piddm_settings import Fit
from methods._piddm_student import AffineStudent

ISOMETRIC = 1e-9  # relative change of a norm that rounding explains


class Distillation:
    """The loss of a training step; batches are functions of (seed, step) alone."""

    def __init__(
        self, fit: Fit, prior: Denoiser, problem: Problem, pairs: TeacherPairs, *, seed: int, device: torch.device
    ):
        self._fit, self._problem, self._seed, self._unit = fit, problem, seed, prior.sigma_data
        self._symmetry = Symmetry(problem, device) if fit.augment else None
        self._round = cache(lambda number: [part.to(device) for part in pairs.round(number)])

    def __call__(self, student: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor | float]]:
        noise, states = self.batch(step)
        made = student(noise)
        match = ((made - states) / self._unit).square().mean()
        if not self._fit.residual_weight:
            return match, {"match": match.detach()}
        physics, weight = residual_loss(self._problem, made).mean(), self._fit.weight(step)
        if self._fit.balance == "gradients":
            weight = weight * gradient_ratio(match, physics, [w for w in student.parameters() if w.requires_grad])
        return match + weight * physics, {"match": match.detach(), "physics": physics.detach(), "weight": weight}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Noise and teacher states (b, C, *grid) of one step, float32."""
        fit, source = self._fit, generator_of((self._seed, "piddm", step))
        index = torch.randint(fit.pairs.count, (fit.batch,), generator=source)
        chance = torch.rand(fit.batch, generator=source)
        noise, states = (part[index.to(part.device)] for part in self._round(step * fit.pairs.rounds // fit.steps))
        return (noise, states) if self._symmetry is None else self._symmetry(noise, states, chance)


class Symmetry:
    """A random symmetry of the equation on noise and state at once.

    In prior coordinates a symmetry is affine, x -> G x + c. States go by it, white noise by G alone: that keeps
    the law of the noise, and the pairs of an equivariant teacher, where G is an isometry, which is checked.
    """

    def __init__(self, problem: Problem, device: torch.device):
        self._pde, self._codec, shape = problem.pde, problem.codec, problem.pde.shape
        count = len(self._pde.symmetries())
        chances = (torch.arange(count) + 0.5) / count
        still = torch.zeros(count, *shape, dtype=torch.float64)
        probe = torch.randn(1, *shape, dtype=torch.float64, generator=generator_of(("isometry",)))
        offset = self._move(still, chances)
        change = (self._move(probe.expand(count, *shape), chances) - offset).flatten(1).norm(dim=1) / probe.norm() - 1
        self.exact, self._offset = bool(change.abs().max() < ISOMETRIC), offset.float().to(device)

    def __call__(self, noise: Tensor, states: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
        """Moved noise and states; unmoved where some symmetry is no isometry. ``chance`` (b,) in [0, 1) selects."""
        if not self.exact:
            return noise, states
        choice = (chance * len(self._offset)).long().to(noise.device)
        return self._move(noise, chance) - self._offset[choice], self._move(states, chance)

    def _move(self, x: Tensor, chance: Tensor) -> Tensor:
        return self._codec.encode(apply_symmetries(self._pde, self._codec.decode(x), chance))


def gradient_ratio(first: Tensor, second: Tensor, weights: Sequence[Tensor]) -> float:
    """|grad first| / |grad second| over the weights of a network; 0 where the second has no gradient."""
    sizes = [
        torch.stack([part.square().sum() for part in torch.autograd.grad(loss, weights, retain_graph=True)]).sum()
        for loss in (first, second)
    ]
    return float((sizes[0] / sizes[1]).sqrt()) if sizes[1] > 0 else 0.0


@torch.no_grad()
def solve_affine(fit: Fit, prior: Denoiser, problem: Problem, pairs: TeacherPairs) -> AffineStudent:
    """The affine student that minimises the loss over all pairs of all rounds, in closed form.

    Regression gives x0 = W eps + b. As the residual is affine too, R = J x + r, the minimum with it is
    M d = m (W eps + b) - lambda Jᵀ r with M = m I + lambda JᵀJ and m = 1/(n sigma_data²), n unknowns.
    """
    noise, states = (torch.cat(part).flatten(1).double() for part in zip(*_rounds(pairs), strict=True))
    size = noise.shape[1]
    if len(noise) <= size:
        raise UserError(
            f"{len(noise)} pairs do not determine an affine student of {size} unknowns; set pairs: count above {size}"
        )
    inputs = torch.cat([noise, noise.new_ones(len(noise), 1)], 1)
    solution = torch.linalg.lstsq(inputs, states, driver="gels").solution.T  # the default one does not repeat itself
    if fit.residual_weight:
        solution = _with_residual(solution, problem, fit.residual_weight, 1 / (size * prior.sigma_data**2))
    student = AffineStudent(tuple(prior.shape))
    student.weight.copy_(solution[:, :-1])
    student.bias.copy_(solution[:, -1])
    return student


def _rounds(pairs: TeacherPairs) -> list[tuple[Tensor, Tensor]]:
    return [pairs.round(number) for number in range(pairs.settings.rounds)]


def _with_residual(solution: Tensor, problem: Problem, weight: float, unit: float) -> Tensor:
    identity = torch.eye(len(solution), dtype=solution.dtype).reshape(-1, *problem.pde.shape)
    rest, along = (_residual_rows(problem, x) for x in (torch.zeros_like(identity[:1]), identity))
    jacobian = (along - rest).T
    right = unit * solution
    right[:, -1] -= weight * jacobian.T @ rest[0]
    matrix = weight * jacobian.T @ jacobian
    matrix.diagonal().add_(unit)
    return torch.linalg.solve(matrix, right)


def _residual_rows(problem: Problem, x: Tensor) -> Tensor:
    """(b, m) entries whose squares sum up to :func:`residual_loss`."""
    return torch.cat([part / part.shape[1] ** 0.5 for part in problem.scaled_residual(x).values()], 1)
