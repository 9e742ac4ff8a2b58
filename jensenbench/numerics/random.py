"""Random generators seeded by a hashed key, and inverse-CDF draws of categorical variables."""

import hashlib

import torch
from torch import Tensor


def generator_of(key: tuple[object, ...]) -> torch.Generator:
    """CPU generator whose stream is a function of the key alone, the same on every machine."""
    return torch.Generator().manual_seed(seed_of(key) >> 1)


def seed_of(key: tuple[object, ...]) -> int:
    """64-bit seed of a key, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")


def choose(weights: Tensor, normals: Tensor) -> Tensor:
    """Draw indices (b,) with probabilities ``weights`` (b, K), which add up to one, from standard normals (b,)."""
    uniform = torch.special.ndtr(normals.double())[:, None]
    return torch.searchsorted(weights.cumsum(1), uniform)[:, 0].clamp(max=weights.shape[1] - 1)
