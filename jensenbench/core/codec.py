"""Affine, invertible map between physical fields and prior coordinates: normalisation and spectral whitening."""

from collections.abc import Sequence
from math import pi, sqrt
from typing import Annotated, Any, Self

import torch
from annotated_types import Ge, Le
from torch import Tensor

from jensenbench.core.pde import PDE, Axis, Field
from jensenbench.errors import UserError

POWERS = (0, 1, 2)
Power = Annotated[int, Ge(POWERS[0]), Le(POWERS[-1])]


class Codec:
    """x = (B s - shift)/scale, with B = (-Laplacian)^{power/2} in each field's basis.

    Power 0 leaves pixels, as published methods do. Powers 1 and 2 whiten smooth solutions, so that a
    given error of the prior raises the residual less. Coefficients in ``pixels`` ignore the power.
    ``shift`` and ``scale`` are (C,), in units of B s; with :meth:`fit` every channel gets the
    standard deviation ``sigma_data``. ``decode(encode(s)) = s`` for any s.
    """

    def __init__(self, pde: PDE, *, shift: Sequence[float], scale: Sequence[float], power: int = 0):
        if power not in POWERS:
            raise UserError(f"codec power {power!r} is not one of {POWERS}")
        if len(shift) != len(pde.fields) or len(scale) != len(pde.fields):
            raise UserError(
                f"{pde.label} has {len(pde.fields)} fields; shift and scale have {len(shift)} and {len(scale)} entries"
            )
        if not all(s > 0 for s in scale):
            raise UserError(
                f"codec scale must be positive, got {list(scale)}: a field without variance cannot be encoded"
            )
        self.power, self.shift, self.scale = power, tuple(map(float, shift)), tuple(map(float, scale))
        self._bases = [_basis(field, pde.grid.axes, power) for field in pde.fields]

    @classmethod
    def fit(cls, pde: PDE, states: Tensor, *, power: int, sigma_data: float = 0.5) -> Self:
        """Shift and scale from training states (N, C, *grid) so that each channel has mean 0, std ``sigma_data``."""
        plain = cls(pde, shift=[0.0] * len(pde.fields), scale=[1.0] * len(pde.fields), power=power)
        channels = plain.encode(states).transpose(0, 1).flatten(1)
        std = channels.std(1) / sigma_data
        return cls(pde, shift=channels.mean(1).tolist(), scale=std.tolist(), power=power)

    def encode(self, fields: Tensor) -> Tensor:
        """Physical fields (b, C, *grid) to prior coordinates of the same shape."""
        raised = self._apply(fields, 1)
        return (raised - self._channels(self.shift, fields)) / self._channels(self.scale, fields)

    def decode(self, x: Tensor) -> Tensor:
        """Prior coordinates (b, C, *grid) to physical fields."""
        return self._apply(x * self._channels(self.scale, x) + self._channels(self.shift, x), -1)

    def state(self) -> dict[str, Any]:
        """Arguments of :class:`Codec` besides the PDE, as plain numbers."""
        return {"shift": list(self.shift), "scale": list(self.scale), "power": self.power}

    def _apply(self, fields: Tensor, sign: int) -> Tensor:
        channels = [basis(fields[:, c], sign) if basis else fields[:, c] for c, basis in enumerate(self._bases)]
        return torch.stack(channels, 1)

    @staticmethod
    def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).reshape(-1, *[1] * (like.ndim - 2))


class _Basis:
    """Multiplies a (b, n0, n1) field by symbol^{sign power/2} in an orthonormal basis along each axis."""

    def __init__(self, first: Tensor, second: Tensor, symbol: Tensor, power: int):
        self._first, self._second, self._factor = first, second, symbol ** (power / 2)
        self._cache: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(self, field: Tensor, sign: int) -> Tensor:
        first, second, factor = self._on(field)
        spectrum = first @ field @ second.T
        return first.T @ (spectrum * factor if sign > 0 else spectrum / factor) @ second

    def _on(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key = (like.dtype, like.device)
        if key not in self._cache:
            first, second, factor = (m.to(like) for m in (self._first, self._second, self._factor))
            self._cache[key] = first, second, factor
        return self._cache[key]


def _basis(field: Field, axes: tuple[Axis, ...], power: int) -> _Basis | None:
    if field.basis == "pixels" or power == 0:
        return None
    if len(axes) != 2:
        raise UserError(f"field {field.name!r}: basis {field.basis!r} needs two axes, the grid has {len(axes)}")
    first, second = axes
    if field.basis == "sine":
        rows, low = sine_matrix(first)
        columns, high = sine_matrix(second)
        # Edge nodes have no eigenvalue. The largest one makes a prior's error there cost no more residual
        # than one inside; 1 would let edges dominate, since the equation divides them by the spacing squared.
        symbol = torch.full((first.n, second.n), float(low.max() + high.max()), dtype=torch.float64)
        symbol[1:-1, 1:-1] = low[1:-1, None] + high[None, 1:-1]
    else:
        rows, low = fourier_matrix(first.n) if field.basis == "fourier" else cosine_matrix(first.n)
        columns, high = fourier_matrix(second.n)
        symbol = 1 + low[:, None] ** 2 + high[None, :] ** 2
    return _Basis(rows, columns, symbol, power)


def sine_matrix(axis: Axis) -> tuple[Tensor, Tensor]:
    """Orthonormal discrete sine transform of the inner nodes, the end nodes passing through.

    Returns the (n, n) matrix and the (n,) eigenvalues of -d²/dx² by central differences (0 at the ends).
    """
    inner = axis.n - 2
    k = torch.arange(1, inner + 1, dtype=torch.float64)
    matrix = torch.eye(axis.n, dtype=torch.float64)
    matrix[1:-1, 1:-1] = sqrt(2 / (inner + 1)) * torch.sin(pi * k[:, None] * k[None, :] / (inner + 1))
    eigenvalues = torch.zeros(axis.n, dtype=torch.float64)
    eigenvalues[1:-1] = 2 / axis.spacing**2 * (1 - torch.cos(pi * k / (inner + 1)))
    return matrix, eigenvalues


def cosine_matrix(n: int) -> tuple[Tensor, Tensor]:
    """Orthonormal DCT-II matrix and its wave numbers k/2 in periods per length."""
    k = torch.arange(n, dtype=torch.float64)
    matrix = sqrt(2 / n) * torch.cos(pi * k[:, None] * (k[None, :] + 0.5) / n)
    matrix[0] /= sqrt(2)
    return matrix, k / 2


def fourier_matrix(n: int) -> tuple[Tensor, Tensor]:
    """Orthonormal real Fourier matrix (cosine and sine rows) and its wave numbers."""
    j = torch.arange(n, dtype=torch.float64)
    k = (j + 1).div(2, rounding_mode="floor")
    phase = 2 * pi * k[:, None] * j[None, :] / n
    matrix = sqrt(2 / n) * torch.where((j[:, None] % 2) == 1, torch.cos(phase), torch.sin(phase))
    matrix[0] = 1 / sqrt(n)
    if n % 2 == 0:
        matrix[-1] /= sqrt(2)
    return matrix, k
