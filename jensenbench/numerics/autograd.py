"""Gradients of losses over the weights of a network, as vectors that can be compared."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def weight_gradient(loss: Tensor, module: nn.Module) -> Tensor:
    """(p,) gradient of a scalar loss over all trainable weights, 0 where it does not depend on one."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights, materialize_grads=True)])


def cosine(first: Tensor, second: Tensor) -> float:
    """Cosine of the angle between two vectors, in double precision; NaN where one is zero."""
    first, second = first.double(), second.double()
    return float(first @ second / (first.norm() * second.norm()))


def gradient_ratio(first: Tensor, second: Tensor, weights: Sequence[Tensor]) -> float:
    """|grad first| / |grad second| over the weights of a network; 0 where the second has no gradient."""
    sizes = [
        torch.stack([part.square().sum() for part in torch.autograd.grad(loss, weights, retain_graph=True)]).sum()
        for loss in (first, second)
    ]
    return float((sizes[0] / sizes[1]).sqrt()) if sizes[1] > 0 else 0.0


def gradient_of(
    module: nn.Module | None, x: Tensor, evaluate: Callable[[Tensor], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Gradient with respect to x of a loss (b,), past the parameters of the network inside it.

    ``evaluate(x)`` returns the loss of every row, then anything else to keep; the result is the
    gradient and those, detached. Rows stay independent where the loss of a row depends on that row.
    """
    with frozen(module), torch.enable_grad():
        leaf = x.detach().requires_grad_()
        loss, *kept = evaluate(leaf)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    return gradient, *(value.detach() for value in kept)


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[None]:
    """Parameters take no part in graphs that are built inside."""
    trainable = [p for p in module.parameters() if p.requires_grad] if module is not None else []
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
