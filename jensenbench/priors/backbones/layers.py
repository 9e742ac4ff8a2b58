"""Parts that the backbones share: noise embedding, modulation, positions, base of the settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from jensenbench.core.settings import check_settings
from jensenbench.errors import UserError

Convolution = Callable[..., nn.Module]
EmbeddingSize = Annotated[int, Ge(8)]
CONVOLUTIONS: tuple[Convolution, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)  # by number of grid axes, less one


@dataclass(frozen=True)
class BackboneSettings:
    """Settings of a backbone; ``axes``: numbers of grid axes that it takes, empty for any."""

    name: ClassVar[str]
    axes: ClassVar[tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        check_settings(self, f"backbone {self.name!r}:")

    def check_grid(self, shape: Sequence[int]) -> None:
        """Refuse grids that the network is not for."""
        if self.axes and len(shape) not in self.axes:
            needed = "two grid axes" if self.axes == (2,) else "one to three grid axes"
            raise UserError(f"backbone {self.name!r} needs {needed}, the state has {len(shape)}")


class NoiseEmbedding(nn.Module):
    """Fourier features of the noise label (b,) through a two-layer perceptron: (b, size)."""

    frequencies: Tensor

    def __init__(self, size: int):
        super().__init__()
        half = size // 4
        self.register_buffer("frequencies", torch.exp(torch.linspace(log(0.5), log(6.0), half)), persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * half, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU())

    def forward(self, label: Tensor) -> Tensor:
        phase = label[:, None] * self.frequencies
        return self.layers(torch.cat([phase.cos(), phase.sin()], 1))


class FiLM(nn.Module):
    """Feature-wise scale and shift by the noise level (Perez et al. 2018), for features (b, channels, *grid)."""

    def __init__(self, embedding: int, channels: int):
        super().__init__()
        self.linear = nn.Linear(embedding, 2 * channels)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        modulation = self.linear(level)
        scale, shift = modulation.reshape(*modulation.shape, *[1] * (h.ndim - 2)).chunk(2, 1)
        return h * (1 + scale) + shift


def zero_init(layer: nn.Module) -> None:
    """Set a layer's parameters to zero: as the last one, it makes the network start as the best linear denoiser."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def coordinates(shape: Sequence[int]) -> Tensor:
    """(1, axes, *shape) coordinates from -1 to 1."""
    axes = [torch.linspace(-1, 1, n) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def with_coordinates(x: Tensor, where: Tensor) -> Tensor:
    """States (b, C, *grid) and their coordinates side by side."""
    return torch.cat([x, where.to(x).expand(len(x), *where.shape[1:])], 1)
