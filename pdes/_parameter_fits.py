"""Parameters that a state does not store, found from the state itself in closed form."""

import torch
from torch import Tensor


def fitted_ratio(rate: Tensor, slope: Tensor) -> Tensor:
    """(b,) ratio r that leaves least of rate - r slope (b, ...), in least squares; zero where there is no slope."""
    square = slope.square().flatten(1).sum(1)
    return (rate * slope).flatten(1).sum(1) / torch.where(square > 0, square, torch.ones_like(square))


def fitted_frequency(signal: Tensor, dt: float, low: float, high: float) -> Tensor:
    """(b,) angular frequency in [low, high] of the sinusoids (b, m) that are nearest to obeying their recurrence.

    v_{j+1} + v_{j-1} = 2 cos(ω dt) v_j, fitted in least squares (Prony's method); needs high dt < π.
    """
    double_cosine = fitted_ratio(signal[:, 2:] + signal[:, :-2], signal[:, 1:-1])
    ends = torch.tensor([high, low], dtype=signal.dtype) * dt
    return torch.acos((double_cosine / 2).clamp(*ends.cos().tolist())) / dt
