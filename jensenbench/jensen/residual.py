"""Interior residual as a function of prior coordinates, with its polynomial degree and derivatives."""

import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.pde import PDE, sum_terms
from jensenbench.errors import UserError

STEP = 0.1  # of the finite differences that find the degree, as a share of the distance between two states
NEGLIGIBLE = 1e-8  # size of a vanishing difference, relative to the largest term and the largest residual


class InteriorResidual:
    """R: prior coordinates (b, C, *grid) to the own interior residual (b, m), in units of the equation's largest term.

    ``degree`` is 1 where R is affine, 2 where it is quadratic, None otherwise: found from second and third
    differences between states, which vanish for affine and for quadratic functions.

    Args:
        unit: rms of the equation's largest term on the data.
        states: (n, C, *grid) in prior coordinates, n >= 3, from which the degree is found.
    """

    def __init__(self, pde: PDE, codec: Codec, unit: float, states: Tensor):
        self.pde, self.codec, self.unit = pde, codec, unit
        self.degree = self._degree(states.double())

    def __call__(self, x: Tensor) -> Tensor:
        return sum_terms(self.pde.terms(self.codec.decode(x))).flatten(1) / self.unit

    def bilinear(self, a: Tensor, b: Tensor) -> Tensor:
        """The symmetric form B (b, m) whose diagonal is R's quadratic part Q(d, d); exact for degree 2 or less."""
        self.require_quadratic()
        origin = self(torch.zeros_like(a[:1]))
        return (self(a + b) - self(a) - self(b) + origin) / 2

    def quadratic(self, d: Tensor) -> Tensor:
        """Q(d, d) = (R(d) + R(-d))/2 - R(0), (b, m)."""
        self.require_quadratic()
        return (self(d) + self(-d)) / 2 - self(torch.zeros_like(d[:1]))

    def linear(self, at: Tensor, d: Tensor) -> Tensor:
        """Derivative of R at ``at`` along d, (R(at + d) - R(at - d))/2; exact for degree 2 or less."""
        self.require_quadratic()
        return (self(at + d) - self(at - d)) / 2

    def require_quadratic(self) -> None:
        """Raise UserError for residuals whose Hessian is not constant."""
        if self.degree is None:
            raise UserError(
                f"{self.pde.label}: its residual is no quadratic function of the state, so it has no constant Hessian; "
                "use the empirical or the Monte Carlo estimator"
            )

    def _degree(self, states: Tensor) -> int | None:
        if len(states) < 3:
            raise UserError(f"the degree of a residual needs three states or more, got {len(states)}")
        start, step = states[:-1], STEP * states.diff(dim=0)
        values = torch.stack([self(start + k * step) for k in range(4)])
        allowed = NEGLIGIBLE * (1 + float(values.abs().max()))
        changes = [float(values.diff(n=order, dim=0).abs().max()) for order in (2, 3)]
        return next((degree for degree, change in zip((1, 2), changes, strict=True) if change <= allowed), None)
