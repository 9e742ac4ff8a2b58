"""Residual multilayer perceptron for low-dimensional toy problems."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from jensenbench.core.annotations import Count
from jensenbench.priors.backbones.layers import BackboneSettings, EmbeddingSize, FiLM, NoiseEmbedding, zero_init


@dataclass(frozen=True)
class MLPSettings(BackboneSettings):
    """Residual perceptron on flattened states.

    Attributes:
        width: of the layers.
        blocks: residual blocks.
        embedding: size of the noise embedding.
    """

    name: ClassVar = "mlp"

    width: Count = 256
    blocks: Count = 3
    embedding: EmbeddingSize = 64


class MLP(nn.Module):
    """Residual perceptron on flattened states of any shape, modulated by the noise level in every block.

    Args:
        channels, shape: of the states (C, *shape), any number of axes.
    """

    def __init__(self, channels: int, shape: Sequence[int], settings: MLPSettings):
        super().__init__()
        entries, width, size = channels * math.prod(shape), settings.width, settings.embedding
        self.embed = NoiseEmbedding(size)
        self.enter = nn.Linear(entries, width)
        self.blocks = nn.ModuleList(Block(width, size) for _ in range(settings.blocks))
        self.leave = nn.Linear(width, entries)
        zero_init(self.leave)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Network output (b, C, *grid) for (b, C, *grid) ``x`` and (b,) noise labels."""
        level, h = self.embed(label), self.enter(x.flatten(1))
        for block in self.blocks:
            h = block(h, level)
        return self.leave(functional.silu(h)).reshape(x.shape)


class Block(nn.Module):
    """Two linear layers, modulated by the noise level, around a skip."""

    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.first, self.film, self.second = nn.Linear(width, width), FiLM(embedding, width), nn.Linear(width, width)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        active = self.film(self.first(functional.silu(h)), level)
        return h + self.second(functional.silu(active))
