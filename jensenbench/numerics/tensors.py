"""Broadcasting and inner products per batch element."""

from torch import Tensor


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """Reshape values (b,) so that they broadcast against ``like`` (b, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products (b,) of vectors (b, d) and (b, d)."""
    return (a * b).sum(1)
