"""Time steppers for semi-linear equations v_t = L v + N(v), L diagonal: ETDRK4, Crank-Nicolson-Euler, midpoint."""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.numerics.tensors import per_row

CONTOUR_POINTS = 32
FIXED_POINT_STEPS = 200
FIXED_POINT_TOLERANCE = 1e-14  # of the last correction, over the largest entry


class ETDRK4:
    """Exponential time differencing with a fourth-order Runge-Kutta scheme: one call is one step of length ``dt``.

    Cox & Matthews (2002), eqs. 26-29. The weights, which cancel badly for small L dt, are means over a circle
    around each L dt (Kassam & Trefethen, 2005).

    Args:
        linear: real diagonal of L; broadcasts against v.
        nonlinear: N, a function of v alone.
    """

    def __init__(self, linear: Tensor, nonlinear: Callable[[Tensor], Tensor], dt: float):
        angle = (torch.arange(CONTOUR_POINTS, dtype=torch.float64) + 0.5) * (2 * pi / CONTOUR_POINTS)
        linear = linear.double()
        z = (linear * dt)[..., None] + torch.polar(torch.ones_like(angle), angle)
        whole, square, cube = z.exp(), z.square(), z**3
        self.nonlinear = nonlinear
        self._full, self._half = (linear * dt).exp(), (linear * dt / 2).exp()
        self._inner = _weight(dt, ((z / 2).exp() - 1) / z)
        self._first = _weight(dt, (-4 - z + whole * (4 - 3 * z + square)) / cube)
        self._middle = _weight(dt, 2 * (2 + z + whole * (z - 2)) / cube)
        self._last = _weight(dt, (-4 - 3 * z - square + whole * (4 - z)) / cube)

    def __call__(self, v: Tensor) -> Tensor:
        """v one step later."""
        slope = self.nonlinear(v)
        a = self._half * v + self._inner * slope
        slope_a = self.nonlinear(a)
        b = self._half * v + self._inner * slope_a
        slope_b = self.nonlinear(b)
        c = self._half * a + self._inner * (2 * slope_b - slope)
        return (
            self._full * v + self._first * slope + self._middle * (slope_a + slope_b) + self._last * self.nonlinear(c)
        )


class CrankNicolsonEuler:
    """One step of the trapezoidal rule for L and of explicit Euler for N: first order.

    The stepper of the public Navier-Stokes codes of FNO (arXiv 2010.08895) and of DiffusionPDE (arXiv 2406.17763,
    repository jhhuangchloe/DiffusionPDE at 1e2bc8b, ``dataset_generation/non-bounded-ns/ns_2d.py``).
    """

    def __init__(self, linear: Tensor, nonlinear: Callable[[Tensor], Tensor], dt: float):
        self.nonlinear, self._dt, self._half = nonlinear, dt, linear * dt / 2

    def __call__(self, v: Tensor) -> Tensor:
        """v one step later."""
        return (v + self._half * v + self._dt * self.nonlinear(v)) / (1 - self._half)


class ImplicitMidpoint:
    """One step of (v₁ - v₀)/dt = L m + N(m), m = (v₀ + v₁)/2: second order, conserves quadratic invariants.

    m = (v₀ + dt N(m)/2)/(1 - dt L/2) is iterated; batch elements that have converged do not change any more.
    """

    def __init__(self, linear: Tensor, nonlinear: Callable[[Tensor], Tensor], dt: float):
        self.nonlinear, self._dt, self._half = nonlinear, dt, linear * dt / 2

    def __call__(self, v: Tensor) -> Tensor:
        """v one step later; raises UserError with the number of a sample that does not converge."""
        middle, active = v, torch.ones(len(v), dtype=torch.bool, device=v.device)
        for _ in range(FIXED_POINT_STEPS):
            found = (v + self._dt / 2 * self.nonlinear(middle)) / (1 - self._half)
            change = (found - middle).detach().abs().flatten(1).amax(1)
            middle = torch.where(per_row(active, v), found, middle)
            active = active & ~(change <= FIXED_POINT_TOLERANCE * found.detach().abs().flatten(1).amax(1))
            if not active.any():
                return 2 * middle - v
        row = int(active.nonzero()[0])
        raise UserError(
            f"implicit midpoint: sample {row} did not converge with time step {self._dt:g}; "
            "shorten it (more times, a shorter horizon), weaken the forcing, or drop the sample"
        )


def _weight(dt: float, values: Tensor) -> Tensor:
    """``dt`` times the mean over the circle; real, for real L."""
    return dt * values.mean(-1).real


def advance(step: Callable[[Tensor], Tensor], v: Tensor, *, frames: int, substeps: int) -> Tensor:
    """States (b, frames, ...): ``v`` (b, ...) itself and then every ``substeps``-th step."""
    snapshots = [v]
    for _ in range(frames - 1):
        for _ in range(substeps):
            v = step(v)
        snapshots.append(v)
    return torch.stack(snapshots, 1)
