"""Linear evolution equations stepped mode by mode: Fourier modes on a periodic axis, sine modes between two ends."""

import torch
from torch import Tensor

from jensenbench.core.codec import sine_matrix
from jensenbench.core.pde import Axis


def wave_numbers(n: int, extent: float, like: Tensor) -> Tensor:
    """(n//2 + 1,) angular wave numbers 2πk/extent of a real Fourier transform of n points."""
    return 2 * torch.pi / extent * torch.arange(n // 2 + 1, dtype=like.dtype, device=like.device)


def evolve(row: Tensor, factor: Tensor, times: int) -> Tensor:
    """Periodic rows u(t, ·) (b, times, n) from the first one (b, n): each step multiplies each Fourier mode.

    Args:
        factor: (b or 1, n//2 + 1) real or complex factors of one time step.
    """
    steps = torch.arange(times, dtype=row.dtype, device=row.device)[:, None]
    later = torch.fft.irfft(torch.fft.rfft(row)[:, None] * factor[:, None] ** steps, row.shape[-1])
    return torch.cat([row[:, None], later[:, 1:]], 1)


def crank_nicolson(row: Tensor, ends: Tensor, nu: Tensor, dt: float, axis: Axis) -> Tensor:
    """Rows (b, m, n) of u_t = ν u_xx at m times, with Dirichlet values; Crank-Nicolson, central differences, nodes.

    Each sine mode decays by its own factor and is driven by the boundary values, so that no system is solved.

    Args:
        row: (b, n) values at the first time, which are kept.
        ends: (b, m, 2) boundary values at all times; those of the first time are taken from ``row``.
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
