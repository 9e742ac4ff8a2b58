"""Spectral network: mixing of low Fourier or cosine modes beside 3-point convolutions, for smooth fields."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, MultipleOf
from torch import Tensor, nn
from torch.nn import functional

from jensenbench.core.annotations import Count, Natural
from jensenbench.errors import UserError
from jensenbench.priors.backbones.layers import (
    CONVOLUTIONS,
    BackboneSettings,
    EmbeddingSize,
    FiLM,
    NoiseEmbedding,
    coordinates,
    with_coordinates,
    zero_init,
)


@dataclass(frozen=True)
class SpectralSettings(BackboneSettings):
    """Low modes by dense matrices beside convolutions of 3 points.

    Attributes:
        width: channels of the layers.
        layers: residual layers.
        modes: basis functions per axis; an axis of fewer points keeps what it resolves.
        periodic: numbers of the periodic axes, counted from 0: Fourier modes and cyclic convolutions there, cosine
            modes and zero padding on the others.
        embedding: size of the noise embedding.
    """

    name: ClassVar = "spectral"
    axes: ClassVar = (1, 2, 3)

    width: Count = 32
    layers: Count = 4
    modes: Annotated[int, Ge(2), MultipleOf(2)] = 16
    periodic: tuple[Natural, ...] = ()
    embedding: EmbeddingSize = 128

    def check_grid(self, shape: Sequence[int]) -> None:
        super().check_grid(shape)
        if not set(self.periodic) <= set(range(len(shape))):
            raise UserError(
                f"backbone 'spectral': periodic = {list(self.periodic)} needs periodic axes among "
                f"{list(range(len(shape)))}"
            )


class SpectralNetwork(nn.Module):
    """Residual layers that mix the low modes of a field and, beside that, its neighbouring points.

    Few modes are transformed faster by dense matrices than by an FFT. The first and last layers act on single points.
    Without coordinate channels (all axes periodic) the network commutes with translations.

    Args:
        channels: C of the states.
        shape: grid of one to three axes, any number of points.
    """

    coordinates: Tensor

    def __init__(self, channels: int, shape: Sequence[int], settings: SpectralSettings):
        super().__init__()
        settings.check_grid(shape)
        width, size, pointwise = settings.width, settings.embedding, CONVOLUTIONS[len(shape) - 1]
        where = coordinates(shape)[:, [axis for axis in range(len(shape)) if axis not in settings.periodic]]
        self.register_buffer("coordinates", where, persistent=False)
        self.embed = NoiseEmbedding(size)
        self.enter, self.enter_film = pointwise(channels + where.shape[1], width, 1), FiLM(size, width)
        self.layers = nn.ModuleList(Layer(shape, settings) for _ in range(settings.layers))
        self.mix, self.mix_film = pointwise(2 * width, 2 * width, 1), FiLM(size, 2 * width)
        self.leave = pointwise(2 * width, channels, 1)
        zero_init(self.leave)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Network output (b, C, *grid) for (b, C, *grid) ``x`` and (b,) noise labels."""
        level = self.embed(label)
        points = h = self.enter_film(self.enter(with_coordinates(x, self.coordinates)), level)
        for layer in self.layers:
            h = layer(h, level)
        h = self.mix(functional.silu(torch.cat([h, points], 1)))
        return self.leave(functional.silu(self.mix_film(h, level)))


class Layer(nn.Module):
    """Low modes and neighbours of the activated features, modulated by the noise level, added to the features."""

    def __init__(self, shape: Sequence[int], settings: SpectralSettings):
        super().__init__()
        width, axes = settings.width, range(len(shape))
        self._wrapped = [axis + 2 for axis in axes if axis in settings.periodic]
        padding = tuple(0 if axis in settings.periodic else 1 for axis in axes)
        self.modes = ModeMixing(width, shape, settings.modes, settings.periodic)
        self.local = CONVOLUTIONS[len(shape) - 1](width, width, 3, padding=padding)
        self.film = FiLM(settings.embedding, width)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        active = functional.silu(h)
        extended = active
        for dim in self._wrapped:
            last = extended.shape[dim] - 1
            extended = torch.cat([extended.narrow(dim, last, 1), extended, extended.narrow(dim, 0, 1)], dim)
        return h + self.film(self.modes(active) + self.local(extended), level)


class ModeMixing(nn.Module):
    """Linear map of a field's low modes: at each frequency a matrix over the channels.

    Along a periodic axis it commutes with translations: sine and cosine of a frequency share a complex weight, here as
    real multiples of the identity and the quarter turn. Modes are means over the grid, so that one set of weights is
    the same operator on any grid that resolves them.

    Args:
        width: channels.
        shape, modes, periodic: see :class:`SpectralSettings`.
    """

    turns: Tensor

    def __init__(self, width: int, shape: Sequence[int], modes: int, periodic: Sequence[int]):
        super().__init__()
        self._frequencies: list[int] = []
        self._phases = [2 if axis in periodic else 1 for axis in range(len(shape))]
        for axis, n in enumerate(shape):
            analysis, synthesis = _fourier(n, modes) if axis in periodic else _cosine(n, modes)
            self.register_buffer(f"analysis_{axis}", analysis, persistent=False)
            self.register_buffer(f"synthesis_{axis}", synthesis, persistent=False)
            self._frequencies.append(len(synthesis) // self._phases[axis])
        self.register_buffer("turns", _turns(len(set(periodic))), persistent=False)
        kinds = len(self.turns)
        weight = torch.randn(math.prod(self._frequencies), kinds, width, width) / math.sqrt(3 * width * kinds)
        self.weight = nn.Parameter(weight)

    def forward(self, h: Tensor) -> Tensor:
        """(b, width, *grid) of (b, width, *grid)."""
        axes, batch, width = range(len(self._phases)), *h.shape[:2]
        for axis in reversed(axes):
            h = (h @ self.get_buffer(f"analysis_{axis}").to(h.dtype)).movedim(-1, 2)
        split = [size for pair in zip(self._frequencies, self._phases, strict=True) for size in pair]
        frequency, phase = [2 + 2 * axis for axis in axes], [3 + 2 * axis for axis in axes]
        order = [*frequency, 0, *phase, 1]
        h = h.reshape(batch, width, *split).permute(order)
        sizes = h.shape
        h = torch.bmm(h.reshape(len(self.weight), batch, -1), self._matrices().to(h.dtype)).reshape(sizes)
        h = h.permute([order.index(dim) for dim in range(len(order))]).reshape(batch, width, *self._sizes())
        for axis in axes:  # in this order the result is contiguous
            h = h.movedim(2, -1) @ self.get_buffer(f"synthesis_{axis}").to(h.dtype)
        return h

    def _sizes(self) -> list[int]:
        return [count * phases for count, phases in zip(self._frequencies, self._phases, strict=True)]

    def _matrices(self) -> Tensor:
        """(frequencies, phases * width, phases * width), acting on row vectors."""
        whole = torch.einsum("fsio,spq->fpiqo", self.weight, self.turns)
        side = whole.shape[1] * whole.shape[2]
        return whole.reshape(len(whole), side, side)


def _fourier(n: int, modes: int) -> tuple[Tensor, Tensor]:
    """Analysis (n, m) and synthesis (m, n): cosine and sine of each frequency below the grid's highest."""
    frequency = torch.arange(min(modes // 2, (n + 1) // 2))
    phase = 2 * math.pi / n * frequency[:, None] * torch.arange(n)
    return _analysed(torch.stack([phase.cos(), phase.sin()], 1))


def _cosine(n: int, modes: int) -> tuple[Tensor, Tensor]:
    """Analysis (n, m) and synthesis (m, n) of cosines (DCT-II)."""
    frequency = torch.arange(min(modes, n))
    return _analysed((math.pi / n * frequency[:, None] * (torch.arange(n) + 0.5)).cos()[:, None])


def _analysed(waves: Tensor) -> tuple[Tensor, Tensor]:
    """Analysis and synthesis for waves (frequencies, phases, n), orthogonal over the points, the first one constant."""
    share = torch.full((len(waves), 1, 1), 2.0 / waves.shape[-1])
    share[0] /= 2
    return (share * waves).flatten(0, 1).T.contiguous(), waves.flatten(0, 1)


def _turns(periodic: int) -> Tensor:
    """(p, p, p), p = 2^periodic: all products of identity and quarter turn, one factor per periodic axis."""
    pair = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, -1.0], [1.0, 0.0]]])
    result = torch.ones(1, 1, 1)
    for _ in range(periodic):
        side = 2 * len(result)
        result = torch.einsum("sab,tcd->stacbd", result, pair).reshape(side, side, side)
    return result
