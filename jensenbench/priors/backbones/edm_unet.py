"""DDPM++ U-Net of the score-SDE and EDM papers, in the size of published PDE priors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Lt, MinLen, MultipleOf
from torch import Tensor, nn
from torch.nn import functional

from jensenbench.core.annotations import Count, Natural
from jensenbench.priors.backbones.layers import BackboneSettings

NEAR_ZERO = 1e-5  # initial gain of layers that end a branch: small, but no gradient is zero at the start


@dataclass(frozen=True)
class EDMUNetSettings(BackboneSettings):
    """The network called DDPM++ in Song et al. (2021), with the hyperparameters of Karras et al. (2022), table 7.

    Attributes:
        width: channels of the stem.
        multipliers: channels of each level over ``width``; each level halves the grid.
        blocks: residual blocks per level on the way down, one more on the way up.
        attention: grid sizes whose levels attend; the middle always does.
        dropout: inside blocks, drawn from torch's global generator while training.
        labels: entries of an optional second label (non-leaking augmentation; 0: none).
    """

    name: ClassVar = "edm_unet"
    axes: ClassVar = (2,)

    width: Annotated[int, Ge(4), MultipleOf(4)] = 128
    multipliers: Annotated[tuple[Count, ...], MinLen(1)] = (2, 2, 2)
    blocks: Count = 4
    attention: tuple[Count, ...] = (16,)
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.13
    labels: Natural = 9


class EDMUNet(nn.Module):
    """Full-resolution residual U-Net with skip connections, GroupNorm and self-attention.

    All branches are scaled by sqrt(1/2) where they join (Song et al. 2021). With two channels and the default settings
    it has 54 412 034 parameters, the size used for PDE fields of 128 x 128 points (Huang et al. 2024).

    Args:
        channels: C of the states.
        shape: grid (n0, n1); padded to a multiple of 2^(levels - 1) by repeating the edge.
    """

    def __init__(self, channels: int, shape: Sequence[int], settings: EDMUNetSettings):
        super().__init__()
        settings.check_grid(shape)
        levels, width = len(settings.multipliers), settings.width
        self._padding = tuple(-n % 2 ** (levels - 1) for n in shape)
        size = max(n + more for n, more in zip(shape, self._padding, strict=True))
        self.embed = PositionalEmbedding(width, settings.labels)
        block = partial(Block, embedding=4 * width, dropout=settings.dropout)
        self.enter = _convolution(channels, width)
        self.down, skips = _descent(settings, size, block)
        bottom = skips[-1]
        self.middle = nn.ModuleList([block(bottom, bottom, attend=True), block(bottom, bottom)])
        self.up = _ascent(settings, size, skips, block)
        outputs = width * settings.multipliers[0]
        self.normalise, self.leave = _normalisation(outputs), _convolution(outputs, channels, gain=NEAR_ZERO)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor, label: Tensor, augmentation: Tensor | None = None) -> Tensor:
        """Network output (b, C, n0, n1) for (b, C, n0, n1) ``x``, (b,) noise labels and (b, labels) augmentations."""
        rows, columns = x.shape[-2:]
        level = self.embed(label, augmentation)
        if any(self._padding):
            x = functional.pad(x, (0, self._padding[1], 0, self._padding[0]), mode="replicate")
        skips = [self.enter(x.contiguous(memory_format=torch.channels_last))]
        for block in self.down:
            skips.append(block(skips[-1], level))
        h = skips[-1]
        for block in self.middle:
            h = block(h, level)
        for block in self.up:
            h = block(h if block.resample == "up" else torch.cat([h, skips.pop()], 1), level)
        return self.leave(functional.silu(self.normalise(h)))[..., :rows, :columns]


class PositionalEmbedding(nn.Module):
    """Sines and cosines of the noise label, plus a map of the augmentation, through two layers: (b, 4 width)."""

    frequencies: Tensor

    def __init__(self, width: int, labels: int):
        super().__init__()
        exponents = torch.linspace(0, 1, width // 2)
        self.register_buffer("frequencies", 10_000.0**-exponents, persistent=False)
        self.augmentation = _linear(labels, width, bias=False) if labels else None
        self.first, self.second = _linear(width, 4 * width), _linear(4 * width, 4 * width)

    def forward(self, label: Tensor, augmentation: Tensor | None) -> Tensor:
        phase = label[:, None] * self.frequencies
        h = torch.cat([phase.sin(), phase.cos()], 1)
        if augmentation is not None and self.augmentation is not None:
            h = h + self.augmentation(augmentation)
        return functional.silu(self.second(functional.silu(self.first(h))))


class Block(nn.Module):
    """Two 3 x 3 convolutions around a skip, shifted by the noise level; optionally resampled, then attended.

    Args:
        inputs, outputs: channels.
        embedding: size of the noise embedding.
        resample: ``up`` or ``down`` by 2 in front of the first convolution and of the skip.
    """

    def __init__(
        self, inputs: int, outputs: int, embedding: int, dropout: float, resample: str = "", attend: bool = False
    ):
        super().__init__()
        self.resample, self.dropout = resample, dropout
        self.first_norm, self.first = _normalisation(inputs), _convolution(inputs, outputs)
        self.shift = _linear(embedding, outputs)
        self.second_norm, self.second = _normalisation(outputs), _convolution(outputs, outputs, gain=NEAR_ZERO)
        plain = inputs == outputs and not resample
        self.skip = nn.Identity() if plain else _convolution(inputs, outputs, size=1)
        self.attention = Attention(outputs) if attend else None

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = self.first(_resampled(functional.silu(self.first_norm(x)), self.resample))
        h = functional.silu(self.second_norm(h + self.shift(level)[:, :, None, None]))
        h = self.second(functional.dropout(h, self.dropout, self.training))
        h = (self.skip(_resampled(x, self.resample)) + h) * math.sqrt(0.5)
        return h if self.attention is None else self.attention(h)


class Attention(nn.Module):
    """Self-attention of one head over the points, around a skip."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm, self.project = _normalisation(channels), _convolution(channels, channels, size=1, gain=NEAR_ZERO)
        self.triple = _convolution(channels, 3 * channels, size=1, gain=math.sqrt(0.2))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.triple(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)
        found = functional.scaled_dot_product_attention(query, key, value)
        return (x + self.project(found.transpose(1, 2).reshape(x.shape))) * math.sqrt(0.5)


def _descent(settings: EDMUNetSettings, size: int, block: partial[Block]) -> tuple[nn.ModuleList, list[int]]:
    """Blocks on the way down and the channels of all skip connections, the stem's first."""
    blocks, channels = nn.ModuleList(), [settings.width]
    for level, multiplier in enumerate(settings.multipliers):
        width, attend = settings.width * multiplier, size >> level in settings.attention
        if level:
            blocks.append(block(channels[-1], channels[-1], resample="down"))
            channels.append(channels[-1])
        for _ in range(settings.blocks):
            blocks.append(block(channels[-1], width, attend=attend))
            channels.append(width)
    return blocks, channels


def _ascent(settings: EDMUNetSettings, size: int, skips: list[int], block: partial[Block]) -> nn.ModuleList:
    """Blocks on the way up; each but the resampling ones takes one skip connection, the last per level may attend."""
    blocks, left, inputs = nn.ModuleList(), list(skips), skips[-1]
    for level in reversed(range(len(settings.multipliers))):
        width = settings.width * settings.multipliers[level]
        if level + 1 < len(settings.multipliers):
            blocks.append(block(inputs, inputs, resample="up"))
        for number in range(settings.blocks + 1):
            attend = number == settings.blocks and size >> level in settings.attention
            blocks.append(block(inputs + left.pop(), width, attend=attend))
            inputs = width
    return blocks


def _resampled(x: Tensor, way: str) -> Tensor:
    """Means of 2 x 2 points, or each point four times."""
    if way == "down":
        return functional.avg_pool2d(x, 2)
    return functional.interpolate(x, scale_factor=2.0, mode="nearest") if way == "up" else x


def _normalisation(channels: int) -> nn.GroupNorm:
    groups = min(32, channels // 4)
    return nn.GroupNorm(groups if channels % groups == 0 else 4, channels, eps=1e-6)


def _convolution(inputs: int, outputs: int, size: int = 3, gain: float = 1.0) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    _initialise(layer, gain)
    return layer


def _linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    _initialise(layer)
    return layer


def _initialise(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> None:
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
