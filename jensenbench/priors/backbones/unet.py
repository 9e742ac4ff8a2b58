"""Small two-level U-Net on pixel-unshuffled fields, the default backbone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, MultipleOf
from torch import Tensor, nn
from torch.nn import functional

from jensenbench.core.annotations import Count
from jensenbench.priors.backbones.layers import (
    BackboneSettings,
    EmbeddingSize,
    FiLM,
    NoiseEmbedding,
    coordinates,
    with_coordinates,
    zero_init,
)


@dataclass(frozen=True)
class UNetSettings(BackboneSettings):
    """Two-level U-Net on blocks of 2 x 2 points between pixelwise networks.

    Attributes:
        width: channels of the first level.
        blocks: residual blocks per level.
        embedding: size of the noise embedding.
    """

    name: ClassVar = "unet"
    axes: ClassVar = (2,)

    width: Annotated[int, Ge(8), MultipleOf(8)] = 64
    blocks: Count = 1
    embedding: EmbeddingSize = 128


class UNet(nn.Module):
    """Two-level residual U-Net on 2 x 2 pixel blocks between pixelwise networks, for fields of any size.

    Pixel unshuffling halves the grid at once, so that all 3 x 3 convolutions run on a quarter of the
    points. Feature-wise scale and shift from the noise level (FiLM, Perez et al. 2018), SiLU, GroupNorm
    inside blocks. The first and last layers act on single points at full resolution, without
    normalisation: removing little noise needs a gain of 1/sigma and sharp thresholds, which normalised
    3 x 3 features learn slowly. Two coordinate channels tell positions apart, since boundary
    conditions break translation invariance. Channels-last memory.

    Args:
        channels: C of the states.
        shape: grid (n0, n1); padded to a multiple of 4 by repeating the edge.
    """

    coordinates: Tensor

    def __init__(self, channels: int, shape: Sequence[int], settings: UNetSettings):
        super().__init__()
        settings.check_grid(shape)
        width, pixel, size = settings.width, settings.width // 4, settings.embedding
        self._padding = tuple(-n % 4 for n in shape)
        self.register_buffer("coordinates", coordinates(shape), persistent=False)
        self.embed = NoiseEmbedding(size)
        self.enter, self.enter_film = nn.Conv2d(channels + 2, 2 * pixel, 1), FiLM(size, 2 * pixel)
        self.gather = nn.Conv2d(2 * pixel, pixel, 1)
        self.down = _blocks(width, width, size, settings.blocks)
        self.coarsen = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.middle = _blocks(2 * width, 2 * width, size, settings.blocks)
        self.refine = nn.Conv2d(2 * width, width, 3, padding=1)
        self.up = _blocks(2 * width, width, size, settings.blocks)
        self.normalise = nn.GroupNorm(8, width)
        self.scatter = nn.Conv2d(width, width, 1)
        self.mix, self.mix_film = nn.Conv2d(3 * pixel, 2 * pixel, 1), FiLM(size, 2 * pixel)
        self.leave = nn.Conv2d(2 * pixel, channels, 1)
        zero_init(self.leave)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Network output (b, C, n0, n1) for (b, C, n0, n1) ``x`` and (b,) noise labels."""
        rows, columns = x.shape[-2:]
        level = self.embed(label)
        h = with_coordinates(x, self.coordinates)
        if any(self._padding):
            h = functional.pad(h, (0, self._padding[1], 0, self._padding[0]), mode="replicate")
        pixels = functional.silu(self.enter_film(self.enter(h), level))
        context = functional.pixel_shuffle(self._context(self.gather(pixels), level), 2)
        h = torch.cat([context, pixels], 1).contiguous(memory_format=torch.channels_last)
        h = self.leave(functional.silu(self.mix_film(self.mix(h), level)))
        return h[..., :rows, :columns]

    def _context(self, pixels: Tensor, level: Tensor) -> Tensor:
        """Features of each 2 x 2 block (b, width, n0/2, n1/2) from those of its points and its surroundings."""
        h = functional.pixel_unshuffle(pixels, 2).contiguous(memory_format=torch.channels_last)
        fine = _run(self.down, h, level)
        coarse = self.refine(_run(self.middle, self.coarsen(fine), level))
        coarse = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        h = _run(self.up, torch.cat([fine, coarse], 1), level)
        return self.scatter(functional.silu(self.normalise(h)))


class Block(nn.Module):
    """Two 3 x 3 convolutions with normalisation, modulated by the noise level, around a skip."""

    def __init__(self, inputs: int, outputs: int, embedding: int):
        super().__init__()
        self.first_norm, self.first = nn.GroupNorm(8, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = FiLM(embedding, outputs)
        self.second_norm, self.second = nn.GroupNorm(8, outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = self.first(functional.silu(self.first_norm(x)))
        h = self.film(self.second_norm(h), level)
        return self.skip(x) + self.second(functional.silu(h))


def _blocks(inputs: int, outputs: int, embedding: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(Block(inputs if i == 0 else outputs, outputs, embedding) for i in range(count))


def _run(blocks: nn.ModuleList, h: Tensor, level: Tensor) -> Tensor:
    for block in blocks:
        h = block(h, level)
    return h
