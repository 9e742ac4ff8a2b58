"""Batched solution of -∇·(a∇u) = source on a square of nodes, u = 0 on the edge, differentiable in a."""

from typing import Any

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.pde import Axis
from pdes._sine import SineSolver, with_zero_edge
from pdes._stencils import divergence_of_flux, face_values

POINTS = 2**16  # of all samples in a sweep on a CPU: the vectors stay in its cache
TOLERANCE = 1e-14  # of the residual in the norm, over that of the right-hand side
MAX_STEPS = 2000


def solve_diffusion(a: Tensor, source: float, axis: Axis, faces: str) -> Tensor:
    """Nodal u (b, n, n) for nodal a (b, n, n) > 0; float64 inside, a's dtype outside.

    Raises:
        UserError: a is not positive somewhere, or the iteration does not converge; names the sample.
    """
    bad = (~(a > 0)).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"diffusion coefficient of sample {bad[0]} is not positive (smallest value "
            f"{float(a[bad[0]].min()):.4g}): the equation has no solution; clip or drop the sample"
        )
    solver, size = SineSolver(axis), max(1, POINTS // axis.n**2) if a.device.type == "cpu" else max(1, len(a))
    first = range(0, len(a), size)
    parts = [_Solve.apply(a[i : i + size].double(), source, axis, faces, solver, i) for i in first]
    return torch.cat(parts).to(a) if parts else torch.zeros_like(a)


class _Solve(torch.autograd.Function):
    """u(a); the gradient takes one more solve with the same (symmetric) operator."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, source: float, axis: Axis, faces: str, solver: SineSolver, first: int) -> Tensor:
        rhs = torch.full_like(a[:, 1:-1, 1:-1], source)
        u = with_zero_edge(conjugate_gradients(a, rhs, axis, faces, solver, first))
        ctx.save_for_backward(a, u)
        ctx.settings = axis, faces, solver, first
        return u

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a, u = ctx.saved_tensors
        axis, faces, solver, first = ctx.settings
        adjoint = conjugate_gradients(a, gradients[0][:, 1:-1, 1:-1], axis, faces, solver, first)
        with torch.enable_grad():
            variable = a.detach().requires_grad_()
            applied = divergence_of_flux(face_values(variable, faces), u, [axis.spacing] * 2)
            (slope,) = torch.autograd.grad(applied, variable, adjoint)
        return slope, None, None, None, None, None


def conjugate_gradients(a: Tensor, rhs: Tensor, axis: Axis, faces: str, solver: SineSolver, first: int = 0) -> Tensor:
    """Inner values x (b, n-2, n-2) with -∇·(a∇x) = rhs, preconditioned by the sine solver.

    Rows that have converged stand still, so that a row's result does not depend on its neighbours.
    ``first`` is the number of row 0 in error messages.
    """
    face, spacings = face_values(a, faces), [axis.spacing] * 2
    x, r = torch.zeros_like(rhs), rhs.clone()
    z = -solver(r)
    p, energy, goal = z.clone(), _dot(r, z), TOLERANCE**2 * _dot(rhs, rhs)
    active = torch.ones_like(goal, dtype=torch.bool)
    for _ in range(MAX_STEPS):
        active = active & ~(_dot(r, r) <= goal)
        if not active.any():
            return x
        ap = -divergence_of_flux(face, with_zero_edge(p), spacings)
        step = torch.where(active, energy / _dot(p, ap), 0.0)
        x += step * p
        r -= step * ap
        z = -solver(r)
        before, energy = energy, torch.where(active, _dot(r, z), energy)
        p = torch.where(active, z + energy / before * p, p)
    row = int(active.flatten().nonzero()[0])
    raise UserError(
        f"diffusion solver: sample {first + row} did not converge in {MAX_STEPS} steps "
        f"(coefficient {float(a[row].min()):.3g} to {float(a[row].max()):.3g}); reduce its contrast or drop it"
    )


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum((1, 2), keepdim=True)
