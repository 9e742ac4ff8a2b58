"""Fields on the nodes of [0, 1]: what the toys in one dimension share."""

from math import pi, sqrt

import torch
from torch import Tensor

from pdes._grf import Array


def cosine_field(xi: Array, points: int, *, alpha: float = 2.0, tau: float = 3.0) -> Tensor:
    """Σ_k √2 τ^{α-1/2} (π²k² + τ²)^{-α/2} ξ_k cos πkx at ``points`` nodes of [0, 1], for ξ (b, modes), k >= 1.

    The law N(0, τ^{2α-1} (-d²/dx² + τ²)^{-α}) with Neumann ends, without its mean: the field of Darcy's
    coefficients (DiffusionPDE, arXiv 2406.17763) in one dimension.
    """
    k = torch.arange(1, xi.shape[-1] + 1, dtype=torch.float64)
    weight = sqrt(2) * tau ** (alpha - 0.5) * (pi**2 * k.square() + tau**2) ** (-alpha / 2)
    x = torch.arange(points, dtype=torch.float64) / (points - 1)
    return (torch.from_numpy(xi) * weight) @ torch.cos(pi * k[:, None] * x)


def two_ends(state: Tensor, *, channel: int) -> Tensor:
    """(1, C, n) bool: both end nodes of a channel of states (b, C, n)."""
    mask = torch.zeros(1, *state.shape[1:], dtype=torch.bool, device=state.device)
    mask[0, channel, [0, -1]] = True
    return mask
