"""Gradients of losses over the weights of a network, as vectors that can be compared."""

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
