"""Fourier neural operator as a denoiser backbone (Li et al. 2021)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from jensenbench.core.annotations import Count
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
class FNOSettings(BackboneSettings):
    """Fourier neural operator.

    Attributes:
        width: channels of the layers.
        layers: Fourier layers.
        modes: frequencies that are kept per axis, of each sign; an axis of fewer than 2 ``modes`` points keeps what it
            resolves.
        embedding: size of the noise embedding.
    """

    name: ClassVar = "fno"
    axes: ClassVar = (1, 2, 3)

    width: Count = 32
    layers: Count = 4
    modes: Count = 12
    embedding: EmbeddingSize = 128

    def check_grid(self, shape: Sequence[int]) -> None:
        super().check_grid(shape)
        if min(shape) < 2:
            raise UserError(f"backbone 'fno' needs axes of 2 points or more, the grid is {tuple(shape)}")


class FNO(nn.Module):
    """Fourier neural operator (Li et al. 2021, arXiv 2010.08895), modulated by the noise level.

    Pointwise lifting of state and coordinates, layers v <- act(FiLM(W v + K v)) with K a complex matrix over the
    channels at each low frequency, pointwise projection. One set of weights is an operator on any grid that resolves
    its frequencies.

    Args:
        channels: C of the states.
        shape: grid of one to three axes, any number of points from 2 on.
    """

    coordinates: Tensor

    def __init__(self, channels: int, shape: Sequence[int], settings: FNOSettings):
        super().__init__()
        settings.check_grid(shape)
        width, size, pointwise = settings.width, settings.embedding, CONVOLUTIONS[len(shape) - 1]
        self.register_buffer("coordinates", coordinates(shape), persistent=False)
        self.embed = NoiseEmbedding(size)
        self.lift = pointwise(channels + len(shape), width, 1)
        self.layers = nn.ModuleList(Layer(shape, settings) for _ in range(settings.layers))
        self.project, self.project_film = pointwise(width, 4 * width, 1), FiLM(size, 4 * width)
        self.leave = pointwise(4 * width, channels, 1)
        zero_init(self.leave)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Network output (b, C, *grid) for (b, C, *grid) ``x`` and (b,) noise labels."""
        level = self.embed(label)
        h = self.lift(with_coordinates(x, self.coordinates))
        for number, layer in enumerate(self.layers):
            h = layer(h, level)
            h = functional.gelu(h) if number + 1 < len(self.layers) else h
        return self.leave(functional.gelu(self.project_film(self.project(h), level)))


class Layer(nn.Module):
    """FiLM(W v + K v): a pointwise and a Fourier map, modulated by the noise level."""

    def __init__(self, shape: Sequence[int], settings: FNOSettings):
        super().__init__()
        self.fourier = FourierMap(settings.width, shape, settings.modes)
        self.pointwise = CONVOLUTIONS[len(shape) - 1](settings.width, settings.width, 1)
        self.film = FiLM(settings.embedding, settings.width)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        return self.film(self.pointwise(h) + self.fourier(h).to(h.dtype), level)


class FourierMap(nn.Module):
    """A complex matrix over the channels at each kept frequency: convolution with a smooth periodic kernel.

    Weights are stored as real pairs. Transforms run in float32 or better: there is no FFT in bfloat16.
    """

    def __init__(self, width: int, shape: Sequence[int], modes: int):
        super().__init__()
        self._kept = [_kept(n, modes) for n in shape[:-1]]
        self._kept.append(torch.arange(min(modes, shape[-1] // 2 + 1)))
        counts = [len(kept) for kept in self._kept]
        self.weight = nn.Parameter(torch.randn(width, width, *counts, 2) / math.sqrt(6 * width))

    def forward(self, h: Tensor) -> Tensor:
        """(b, width, *grid) of (b, width, *grid)."""
        grid, axes = h.shape[2:], tuple(range(2, h.ndim))
        modes = torch.fft.rfftn(h if h.dtype == torch.float64 else h.float(), dim=axes, norm="forward")
        where = torch.meshgrid(*(kept.to(h.device) for kept in self._kept), indexing="ij")
        weight = torch.view_as_complex(self.weight).to(modes.dtype)
        mixed = torch.einsum("bi...,io...->bo...", modes[(..., *where)], weight)
        result = torch.zeros_like(modes)
        result[(..., *where)] = mixed
        return torch.fft.irfftn(result, s=grid, dim=axes, norm="forward")


def _kept(n: int, modes: int) -> Tensor:
    """Indices of the frequencies -m … m-1 in a transform of n points, m = ``modes`` or what n resolves."""
    count = min(modes, n // 2)
    return torch.arange(-count, count) % n
