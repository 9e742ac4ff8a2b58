"""Random streams that are a function of a key alone."""

import hashlib

import torch
from torch import Tensor


def generator_of(key: tuple[object, ...]) -> torch.Generator:
    """CPU generator whose stream is a function of the key alone."""
    return torch.Generator().manual_seed(seed_of(key) >> 1)


def seed_of(key: tuple[object, ...]) -> int:
    """64-bit seed of a key, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")


def choose(weights: Tensor, normals: Tensor) -> Tensor:
    """(b,) index of one entry a row of weights (b, K) that add up to one, each drawn by one standard normal (b,)."""
    uniform = torch.special.ndtr(normals.double())[:, None]
    return torch.searchsorted(weights.cumsum(1), uniform)[:, 0].clamp(max=weights.shape[1] - 1)
