"""The heat equation between two ends with known values, stepped mode by mode."""

import torch
from torch import Tensor

from jensenbench.core.codec import sine_matrix
from jensenbench.core.pde import Axis


def crank_nicolson(row: Tensor, ends: Tensor, nu: Tensor, dt: float, axis: Axis) -> Tensor:
    """Rows (b, m, n) of u_t = ν u_xx at m times from the first one; trapezoidal rule, central differences, nodes.

    Every sine mode decays by its own factor and is fed by the ends; no system is solved.

    Args:
        row: (b, n) values at the first time, which are kept.
        ends: (b, m, 2) values at both ends; those of the first time are taken from ``row``.
        nu: (b,) diffusivities.
    """
    matrix, eigenvalues = (part.to(row) for part in sine_matrix(axis))
    waves, rates = matrix[1:-1, 1:-1], eigenvalues[1:-1]
    ends = torch.cat([row[:, None, [0, -1]], ends[:, 1:]], 1)
    feed = (ends[:, 1:] + ends[:, :-1]) / 2 @ waves[[0, -1]] / axis.spacing**2
    half = nu[:, None] * dt / 2 * rates
    modes = [row[:, 1:-1] @ waves]
    for step in range(ends.shape[1] - 1):
        modes.append(((1 - half) * modes[-1] + nu[:, None] * dt * feed[:, step]) / (1 + half))
    inner = torch.cat([row[:, None, 1:-1], torch.stack(modes[1:], 1) @ waves], 1)
    return torch.cat([ends[..., :1], inner, ends[..., 1:]], -1)
