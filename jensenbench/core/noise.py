"""Random draws per batch element: streams seeded by keys, equal for all methods, and replayed recordings."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from jensenbench.numerics.random import generator_of


class Noise(Protocol):
    """A source of standard normal draws; each call takes the next one."""

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Draw (b, *shape); batch element i depends on the i-th key alone."""
        ...


class KeyedNoise:
    """Independent random streams, one per batch element, each seeded by its key.

    A key is (seed, pde, task, instance, draw) and never names the method, so that all methods start
    from the same latents whatever the batch size or the device: draws are made on the CPU, in
    float64, and moved.
    """

    def __init__(self, keys: Sequence[tuple[object, ...]], *, device: str | torch.device = "cpu"):
        self.device = torch.device(device)
        self._streams = [generator_of(key) for key in keys]

    def __call__(self, shape: Sequence[int]) -> Tensor:
        draws = [torch.randn(*shape, generator=stream, dtype=torch.float64) for stream in self._streams]
        return torch.stack(draws).to(self.device)


class Replay:
    """Stored draws in their order; raises ValueError when they run out or have another shape."""

    def __init__(self, draws: Sequence[Tensor]):
        self._draws = iter(draws)

    def __call__(self, shape: Sequence[int]) -> Tensor:
        draw = next(self._draws, None)
        if draw is None:
            raise ValueError("replayed noise has run out: the method drew more often than the recording")
        if tuple(draw.shape[1:]) != tuple(shape):
            raise ValueError(f"replayed noise has shape {tuple(draw.shape[1:])}, asked for {tuple(shape)}")
        return draw
