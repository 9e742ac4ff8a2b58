"""Batched conjugate gradients for -∇·(a∇u) = f on a square, zero Dirichlet values or no flux, differentiable in a."""

from collections.abc import Callable, Sequence
from math import pi
from typing import Any, Protocol

import torch
from torch import Tensor

from jensenbench.core.pde import Axis
from jensenbench.errors import UserError
from pdes._neumann import CosineSolver, mean_of_nodes, net_outflow
from pdes._sine_solver import SineSolver, with_zero_edge
from pdes._stencils import divergence_of_flux, face_means, face_values

POINTS = 2**16  # of all samples solved together on a CPU, so that the vectors stay in its cache
TOLERANCE = 1e-14  # of the residual in the norm, over that of the right-hand side
MAX_STEPS = 2000
STEP = 0.45  # largest change of log a between neighbours, over its range, of a coefficient that counts as smooth

Linear = Callable[[Tensor], Tensor]


class Operator(Protocol):
    """A symmetric operator A(a), positive definite on its range, with a preconditioner for a = 1."""

    def at(self, a: Tensor) -> Linear:
        """x -> A(a) x for nodal coefficients (b, n, n)."""
        ...

    def unknowns(self, a: Tensor) -> Tensor:
        """The coefficients at the points of the unknowns."""
        ...

    def precondition(self, r: Tensor) -> Tensor:
        """A(1)⁻¹ r, by a fast transform."""
        ...


class Dirichlet:
    """-∇·(a∇·) at the inner nodes of fields that vanish on the edge."""

    def __init__(self, axis: Axis, faces: str):
        self._spacings, self._faces, self._solver = [axis.spacing] * 2, faces, SineSolver(axis)

    def at(self, a: Tensor) -> Linear:
        apply = _outflow(face_values(a, self._faces), self._spacings)
        return lambda x: apply(with_zero_edge(x))

    def unknowns(self, a: Tensor) -> Tensor:
        return a[:, 1:-1, 1:-1]

    def precondition(self, r: Tensor) -> Tensor:
        return -self._solver(r)


class DirichletCells:
    """-∇·(a∇·) at all cell centres of fields that vanish on the edge, half a spacing outside; ghost cells hold -u."""

    def __init__(self, axis: Axis, faces: str):
        self._spacings, self._faces = [axis.spacing] * 2, faces
        k, points = torch.arange(1, axis.n + 1, dtype=torch.float64), torch.arange(axis.n, dtype=torch.float64) + 0.5
        self._waves = torch.nn.functional.normalize(torch.sin(pi * points[:, None] * k / axis.n), dim=0)
        low = (2 - 2 * torch.cos(pi * k / axis.n)) / axis.spacing**2
        self._symbol = low[:, None] + low

    def at(self, a: Tensor) -> Linear:
        apply = _outflow(_cell_faces(a, self._faces), self._spacings)
        return lambda x: apply(_with_odd_ghosts(x))

    def unknowns(self, a: Tensor) -> Tensor:
        return a

    def precondition(self, r: Tensor) -> Tensor:
        waves, symbol = self._waves.to(r), self._symbol.to(r)
        return waves @ ((waves.mT @ r @ waves) / symbol) @ waves.mT


class NoFlux:
    """Net outflow from the control volume of each node, no flux through the edges; u is determined up to a constant."""

    def __init__(self, axis: Axis, faces: str):
        self._faces, self._solver = faces, CosineSolver(axis)

    def at(self, a: Tensor) -> Linear:
        face = face_means(a, -2, self._faces), face_means(a, -1, self._faces)
        return lambda x: net_outflow(face, x)

    def unknowns(self, a: Tensor) -> Tensor:
        return a

    def precondition(self, r: Tensor) -> Tensor:
        return self._solver(r)


def cell_outflow(a: Tensor, u: Tensor, spacings: Sequence[float], faces: str) -> Tensor:
    """-∇·(a∇u) at all cells (b, n, n), u = 0 on the edge, where a is the outer cell's own."""
    return -divergence_of_flux(_cell_faces(a, faces), _with_odd_ghosts(u), spacings)


def _cell_faces(a: Tensor, faces: str) -> tuple[Tensor, Tensor]:
    return face_values(torch.nn.functional.pad(a[:, None], (1, 1, 1, 1), mode="replicate")[:, 0], faces)


def _outflow(face: tuple[Tensor, Tensor], spacings: Sequence[float]) -> Linear:
    """Minus :func:`divergence_of_flux`, for repeated use: sign and spacings are multiplied into the face values."""
    rows, columns = (-values / h**2 for values, h in zip(face, spacings, strict=True))

    def apply(u: Tensor) -> Tensor:
        along = (rows * u[:, :, 1:-1].diff(dim=-2)).diff(dim=-2)
        return along.add_((columns * u[:, 1:-1].diff(dim=-1)).diff(dim=-1))

    return apply


def solve_diffusion(a: Tensor, source: float, axis: Axis, faces: str) -> Tensor:
    """u (b, n, n) with u = 0 on the edge for a (b, n, n) > 0, on nodes or cells; float64 inside, a's dtype outside.

    Raises:
        UserError: a is not positive somewhere, or the iteration does not converge; names the sample.
    """
    if axis.kind == "cell":
        rhs = torch.full((axis.n, axis.n), source, dtype=torch.float64, device=a.device)
        return _solve(a, rhs, DirichletCells(axis, faces))
    inner = torch.full((axis.n - 2, axis.n - 2), source, dtype=torch.float64, device=a.device)
    return with_zero_edge(_solve(a, inner, Dirichlet(axis, faces)))


def solve_closed(a: Tensor, inflow: Tensor, axis: Axis, faces: str) -> Tensor:
    """Nodal u (b, n, n) of mean zero without flux through the edge; ``inflow`` (n, n) into the control volumes.

    ``inflow`` must add up to zero. Errors as :func:`solve_diffusion`.
    """
    u = _solve(a, inflow.to(a.device, torch.float64), NoFlux(axis, faces))
    return u - mean_of_nodes(u)[:, None, None]


def _solve(a: Tensor, rhs: Tensor, operator: Operator) -> Tensor:
    bad = (~(a > 0)).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"diffusion coefficient of sample {bad[0]} is not positive (smallest value "
            f"{float(a[bad[0]].min()):.4g}): the equation has no solution; clip or drop the sample"
        )
    size = max(1, POINTS // a[0].numel()) if len(a) and a.device.type == "cpu" else max(1, len(a))
    parts = [_Solve.apply(a[i : i + size].double(), rhs, operator, i) for i in range(0, len(a), size)]
    return torch.cat(parts).to(a) if parts else a.new_zeros(0, *rhs.shape)


class _Solve(torch.autograd.Function):
    """u(a); the gradient takes one more solve with the same (symmetric) operator."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, rhs: Tensor, operator: Operator, first: int) -> Tensor:
        u = conjugate_gradients(a, rhs.expand(len(a), *rhs.shape), operator, first)
        ctx.save_for_backward(a, u)
        ctx.settings = operator, first
        return u

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a, u = ctx.saved_tensors
        operator, first = ctx.settings
        adjoint = conjugate_gradients(a, gradients[0], operator, first)
        with torch.enable_grad():
            variable = a.detach().requires_grad_()
            (slope,) = torch.autograd.grad(operator.at(variable)(u), variable, -adjoint)
        return slope, None, None, None


def conjugate_gradients(a: Tensor, rhs: Tensor, operator: Operator, first: int = 0) -> Tensor:
    """x with A(a) x = rhs, both (b, n, m), preconditioned.

    Batch elements that have converged do not change any more, so that no result depends on the other elements. Without
    flux, residuals stay orthogonal to the constants, where a scaled preconditioner is positive definite as well.
    ``first`` is the sample number of batch element 0 in error messages.
    """
    apply, precondition = operator.at(a), preconditioner(a, operator)
    x, r = torch.zeros_like(rhs), rhs.clone()
    z = precondition(r)
    p, energy, goal = z.clone(), _dot(r, z), TOLERANCE**2 * _dot(rhs, rhs)
    active = torch.ones_like(goal, dtype=torch.bool)
    for _ in range(MAX_STEPS):
        active = active & ~(_dot(r, r) <= goal)
        if not active.any():
            return x
        ap = apply(p)
        step = torch.where(active, energy / _dot(p, ap), 0.0)
        x.addcmul_(step, p)
        r.addcmul_(step, ap, value=-1)
        z = precondition(r)
        before, energy = energy, _dot(r, z)
        p.mul_(torch.where(active, energy / before, 0.0)).add_(z)
    row = int(active.flatten().nonzero()[0])
    raise UserError(
        f"diffusion solver: sample {first + row} did not converge in {MAX_STEPS} steps "
        f"(coefficient {float(a[row].min()):.3g} to {float(a[row].max()):.3g}); reduce its contrast or drop the sample"
    )


def preconditioner(a: Tensor, operator: Operator) -> Linear:
    """r -> D⁻¹ A(1)⁻¹ D⁻¹ r, D² = a for batch elements with a smooth coefficient, a constant for those with jumps.

    D A(1) D differs from A(a) by a potential, Δ√a/√a, whatever the contrast (Concus and Golub, SIAM J. Numer. Anal.
    10, 1103, 1973); at a jump that potential grows with the grid, while the contrast does not.
    """
    logs = a.log()
    contrast = logs.amax((1, 2), keepdim=True) - logs.amin((1, 2), keepdim=True)
    smooth = torch.ones_like(contrast, dtype=torch.bool)
    for dim in (-2, -1):
        smooth &= logs.diff(dim=dim).abs().amax((1, 2), keepdim=True) <= STEP * contrast
    scale = torch.where(smooth, operator.unknowns(a).rsqrt(), 1.0)
    return lambda r: operator.precondition(scale * r).mul_(scale)


def _with_odd_ghosts(x: Tensor) -> Tensor:
    """(b, n, n) extended to (b, n + 2, n + 2) by ghost cells that hold minus the outer values."""
    rows = torch.cat([-x[:, :1], x, -x[:, -1:]], 1)
    return torch.cat([-rows[..., :1], rows, -rows[..., -1:]], -1)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum((1, 2), keepdim=True)
