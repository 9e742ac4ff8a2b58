"""Time stepping of semi-linear equations v_t = L v + N(v) with a diagonal L, batched and differentiable."""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

CONTOUR_POINTS = 32


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
        """v a step later."""
        slope = self.nonlinear(v)
        a = self._half * v + self._inner * slope
        slope_a = self.nonlinear(a)
        b = self._half * v + self._inner * slope_a
        slope_b = self.nonlinear(b)
        c = self._half * a + self._inner * (2 * slope_b - slope)
        return (
            self._full * v + self._first * slope + self._middle * (slope_a + slope_b) + self._last * self.nonlinear(c)
        )


def _weight(dt: float, values: Tensor) -> Tensor:
    """``dt`` times the mean over the circle; real, for real L."""
    return dt * values.mean(-1).real


def advance(step: Callable[[Tensor], Tensor], v: Tensor, *, frames: int, substeps: int) -> Tensor:
    """States (b, frames, ...): ``v`` (b, ...) itself and then every ``substeps``-th step."""
    kept = [v]
    for _ in range(frames - 1):
        for _ in range(substeps):
            v = step(v)
        kept.append(v)
    return torch.stack(kept, 1)
