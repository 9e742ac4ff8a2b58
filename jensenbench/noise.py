"""Noise that belongs to a state, not to a method: keyed streams in runs, replayed draws in parity tests."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Noise(Protocol):
    """A source of standard normal draws; each call takes the next one."""

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Draw (b, *shape); row i comes from the i-th key alone."""
        ...


class KeyedNoise:
    """Independent streams, one a row, each seeded by its key.

    A key is (seed, pde, task, instance, draw) and never names the method, so that all methods start
    from the same latents whatever the batch size or the device: draws are made on the CPU, in
    float64, and moved.
    """

    def __init__(self, keys: Sequence[tuple[object, ...]], *, device: str | torch.device = "cpu"):
        self.device = torch.device(device)
        self._streams = [generator_of(key) for key in keys]

    def __call__(self, shape: Sequence[int]) -> Tensor:
        rows = [torch.randn(*shape, generator=stream, dtype=torch.float64) for stream in self._streams]
        return torch.stack(rows).to(self.device)


class Replay:
    """Plays back stored draws in order; raises when they run out or have another shape."""

    def __init__(self, draws: Sequence[Tensor]):
        self._draws = iter(draws)

    def __call__(self, shape: Sequence[int]) -> Tensor:
        draw = next(self._draws, None)
        if draw is None:
            raise ValueError("replayed noise has run out: the method drew more often than the recording")
        if tuple(draw.shape[1:]) != tuple(shape):
            raise ValueError(f"replayed noise has shape {tuple(draw.shape[1:])}, asked for {tuple(shape)}")
        return draw


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
