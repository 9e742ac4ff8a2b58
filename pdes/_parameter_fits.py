"""Least-squares fits, in closed form, of parameters that a state does not store: diffusivity, frequency."""

import torch
from torch import Tensor


def fitted_ratio(rate: Tensor, slope: Tensor) -> Tensor:
    """(b,) ratio r that minimises |rate - r slope|² for rate, slope (b, ...); zero where the slope vanishes."""
    square = slope.square().flatten(1).sum(1)
    return (rate * slope).flatten(1).sum(1) / torch.where(square > 0, square, torch.ones_like(square))


def fitted_frequency(signal: Tensor, dt: float, low: float, high: float) -> Tensor:
    """(b,) angular frequencies ω in [low, high] of sinusoids (b, m) sampled with step ``dt``, by Prony's method.

    Least-squares fit of the recurrence v_{j+1} + v_{j-1} = 2 cos(ω dt) v_j; needs high dt < π.
    """
    double_cosine = fitted_ratio(signal[:, 2:] + signal[:, :-2], signal[:, 1:-1])
    ends = torch.tensor([high, low], dtype=signal.dtype) * dt
    return torch.acos((double_cosine / 2).clamp(*ends.cos().tolist())) / dt
