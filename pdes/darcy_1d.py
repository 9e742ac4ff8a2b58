"""Toy: Darcy's equation in one dimension, with a log-normal or two-valued coefficient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

import torch
from torch import Tensor

from jensenbench.core.pde import Field, Symmetry
from jensenbench.errors import UnknownName, UserError
from pdes._grf import draw_normals
from pdes._interval import Interval, cosine_field
from pdes._stencils import FACES, face_means

LAWS = ("lognormal", "two_valued")


@dataclass(frozen=True)
class Darcy1DConfig:
    """Settings of :class:`Darcy1D`.

    Attributes:
        n: nodes in [0, 1], ends included, spacing 1/(n-1); 64 in the tier of all PDEs.
        law: distribution of the coefficient a: ``lognormal`` (the exponential of a Gaussian field) or ``two_valued``
            (``high`` where the field is >= 0, else ``low``).
        low, high: the two values of a, 0 < low < high; 3 and 12 as in two dimensions.
        source: constant right-hand side, not 0.
        faces: mean of a between neighbouring nodes, ``arithmetic`` or ``harmonic``.
        data: ``discrete`` (solves the scheme of the own residual) or ``continuous`` (solved on an eight times finer
            grid and sampled).
    """

    n: int = 64
    law: str = "lognormal"
    low: float = 3.0
    high: float = 12.0
    source: float = 1.0
    faces: str = "arithmetic"
    data: str = "discrete"

    def __post_init__(self) -> None:
        for name, value, known in (("law", self.law, LAWS), ("faces", self.faces, FACES)):
            if value not in known:
                raise UnknownName(f"darcy_1d {name}", value, known)
        if not (0 < self.low < self.high and isfinite(self.high)):
            raise UserError(f"darcy_1d: levels low = {self.low} and high = {self.high} must meet 0 < low < high")
        if not (isfinite(self.source) and self.source != 0):
            raise UserError(f"darcy_1d: source = {self.source} must be finite and not zero; default: 1")


class Darcy1D(Interval):
    """Darcy on an interval: -(a u')' = source on [0, 1], u(0) = u(1) = 0; conservative scheme, solved by summation.

    * State (b, 2, n), dimensionless, on nodes: a (the coefficient), u (the solution).
    * Distribution: a is made of the Gaussian field N(0, 27 (-d²/dx² + 9)^{-2}) with Neumann ends and no mean, the field
      of DiffusionPDE's Darcy problem (arXiv 2406.17763) in one dimension.
    * Own residual: differences of the fluxes a u' on the faces between nodes, minus the source, at the inner nodes;
      second order in h for smooth a, bilinear in the state. u at both ends is the part ``boundary``.
    * Solver: the flux -a u' grows by source·h from face to face, so that one constant remains, which u(1) = 0 fixes.
    """

    name: ClassVar[str] = "darcy_1d"
    Config: ClassVar[type] = Darcy1DConfig
    floor: ClassVar[float] = 1e-10
    references: ClassVar[tuple[str, ...]] = ("arXiv:2406.17763",)

    def __init__(self, config: Darcy1DConfig | None = None):
        super().__init__(config)
        levels = (self.config.low, self.config.high) if self.config.law == "two_valued" else ()
        self.fields = (Field("a", "coefficient", levels=levels), Field("u", "solution"))

    def label_parts(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """The setting ``law``, then the settings that differ from the default."""
        others = {key: value for key, value in settings.items() if key != "law"}
        return [self.config.law, *super().label_parts(others)]

    def truncation_floor(self) -> float:
        """The field is rough and a jump is never resolved: the residual stays of the order of the source."""
        return 1.0

    def coefficient(self, indices: Sequence[int], points: int, *, seed: int) -> Tensor:
        c = self.config
        field = cosine_field(draw_normals(indices, (c.n - 1,), seed=seed), points)
        if c.law == "lognormal":
            return field.exp()
        return torch.where(field >= 0, field.new_tensor(c.high), field.new_tensor(c.low))

    def solution(self, coefficient: Tensor) -> Tensor:
        a = coefficient
        if not (a > 0).all():
            row = int((a <= 0).any(1).nonzero()[0])
            raise UserError(
                f"darcy_1d: a of sample {row} is not positive (smallest value {float(a[row].min()):.3g}): the equation "
                "has no unique solution; clip or drop the sample"
            )
        faces, h = face_means(a, -1, self.config.faces), 1 / (a.shape[-1] - 1)
        supplied = self.config.source * h * torch.arange(faces.shape[-1], dtype=a.dtype, device=a.device)
        start = (supplied / faces).sum(1, keepdim=True) / (1 / faces).sum(1, keepdim=True)
        inner = (h * (start - supplied) / faces).cumsum(1)[:, :-1]
        return torch.nn.functional.pad(inner, (1, 1))

    @property
    def linear_settings(self) -> Mapping[str, int]:
        return {"source": 1}

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        a, u, h = state[:, 0], state[:, 1], self.grid.spacings[0]
        flux = -face_means(a, -1, self.config.faces) * u.diff(dim=-1) / h
        diffusion = flux.diff(dim=-1) / h
        return {"diffusion": diffusion, "source": torch.full_like(diffusion, -self.config.source)}

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, row = self.grid.axes[0].coordinates, torch.arange(batch, dtype=torch.float64)[:, None]
        k = 2 + row
        a, a_x = 2 + torch.sin(3 * x) + 0 * row, 3 * torch.cos(3 * x)
        u, u_x, u_xx = torch.cos(k * x), -k * torch.sin(k * x), -(k**2) * torch.cos(k * x)
        residual = -(a * u_xx + a_x * u_x) - self.config.source
        return torch.stack([a, u], 1), {"interior": residual[:, 1:-1], "boundary": u[:, [0, -1]]}

    def symmetries(self) -> tuple[Symmetry, ...]:
        """The reflection of x."""
        return (lambda state: state, lambda state: state.flip(-1))
