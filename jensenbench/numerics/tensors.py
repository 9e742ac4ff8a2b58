"""Helpers for batches of states."""

from torch import Tensor


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """Shape (b,) values so that they broadcast against (b, ...) ``like``."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each row, (a, d), (a, d) -> (a,)."""
    return (a * b).sum(1)
