"""Linear equations on a periodic axis: every Fourier mode is multiplied by its own factor at each step."""

import torch
from torch import Tensor


def wave_numbers(n: int, extent: float, like: Tensor) -> Tensor:
    """(n//2 + 1,) angular wave numbers 2πk/extent of a real transform of n points."""
    return 2 * torch.pi / extent * torch.arange(n // 2 + 1, dtype=like.dtype, device=like.device)


def evolve(row: Tensor, factor: Tensor, times: int) -> Tensor:
    """Rows (b, times, n) from the first one (b, n), for factors (b or 1, n//2 + 1) of a step, real or complex."""
    steps = torch.arange(times, dtype=row.dtype, device=row.device)[:, None]
    later = torch.fft.irfft(torch.fft.rfft(row)[:, None] * factor[:, None] ** steps, row.shape[-1])
    return torch.cat([row[:, None], later[:, 1:]], 1)
