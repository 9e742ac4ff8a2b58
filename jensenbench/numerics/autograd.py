"""Gradients by autograd: over a network's weights as one vector, and over states past a frozen network."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def weight_gradient(loss: Tensor, module: nn.Module) -> Tensor:
    """Gradient (p,) of a scalar loss over all trainable weights; 0 for weights on which it does not depend."""
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
    """Gradient (b, ...) of losses (b,) with respect to x, while the parameters of ``module`` take no part.

    ``evaluate(x)`` returns the loss of every batch element, then anything else to keep; the result is the gradient and
    those, detached. Elements stay independent where the loss of each depends on that element alone.
    """
    with frozen(module), torch.enable_grad():
        leaf = x.detach().requires_grad_()
        loss, *kept = evaluate(leaf)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    return gradient, *(value.detach() for value in kept)


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[None]:
    """Keep the module's parameters out of graphs that are built inside the block."""
    trainable = [p for p in module.parameters() if p.requires_grad] if module is not None else []
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
