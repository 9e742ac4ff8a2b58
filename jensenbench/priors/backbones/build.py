"""Registry of backbones: networks that map (x, noise label) to an output of x's shape.

One file per network; each is a module class, called with (channels, grid shape, settings), and a frozen dataclass of
settings. The last layer starts at (almost) zero, so that an untrained prior is the best linear denoiser.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from jensenbench.errors import UnknownName
from jensenbench.numerics.random import seed_of
from jensenbench.priors.backbones.edm_unet import EDMUNet, EDMUNetSettings
from jensenbench.priors.backbones.fno import FNO, FNOSettings
from jensenbench.priors.backbones.mlp import MLP, MLPSettings
from jensenbench.priors.backbones.spectral import SpectralNetwork, SpectralSettings
from jensenbench.priors.backbones.unet import UNet, UNetSettings


@dataclass(frozen=True)
class Backbone:
    """A network class, called with (channels, shape, settings), and its default settings."""

    build: Callable[[int, Sequence[int], Any], nn.Module]
    settings: Any


BACKBONES: dict[str, Backbone] = {
    "unet": Backbone(UNet, UNetSettings()),
    "spectral": Backbone(SpectralNetwork, SpectralSettings()),
    "fno": Backbone(FNO, FNOSettings()),
    "mlp": Backbone(MLP, MLPSettings()),
    "edm_unet": Backbone(EDMUNet, EDMUNetSettings()),
}


def find_backbone(name: str) -> Backbone:
    """A backbone by name; raises UnknownName."""
    if name not in BACKBONES:
        raise UnknownName("backbone", name, BACKBONES)
    return BACKBONES[name]


def build_backbone(name: str, channels: int, shape: Sequence[int], settings: Any = None) -> nn.Module:
    """A network for states (channels, *shape); ``settings`` is the backbone's dataclass, its default if None."""
    backbone = find_backbone(name)
    return backbone.build(channels, shape, backbone.settings if settings is None else settings)


def build_seeded(name: str, shape: Sequence[int], settings: Any = None, *, key: tuple[object, ...]) -> nn.Module:
    """A network for states of a shape (C, *grid) whose initial weights are a function of the key alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(key) >> 1)
        return build_backbone(name, shape[0], shape[1:], settings)


__all__ = [
    "BACKBONES",
    "Backbone",
    "EDMUNetSettings",
    "FNOSettings",
    "MLPSettings",
    "SpectralSettings",
    "UNetSettings",
    "build_backbone",
    "build_seeded",
    "find_backbone",
]
