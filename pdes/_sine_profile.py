"""Random initial profiles of PDEBench: sums of two sines, sometimes folded or cut off, normalised to [0, 1]."""

from math import pi

import torch
from torch import Tensor

WAVES = 3  # wave numbers 1 .. 3
CHOICES = 2  # of which two are drawn, with replacement
PROFILE_NORMALS = CHOICES + 2 * WAVES + 5  # random numbers per profile
FOLDED = CUT = 0.1  # fractions of the profiles
CUT_WIDTH = 0.01
NORMALISED_ON = 512  # cell centres on which extremes are taken, so that a profile does not depend on the grid


def sine_profile(share: Tensor, x: Tensor) -> Tensor:
    """Profiles (b, m) at the points x (m,) of [0, 1], from uniform numbers ``share`` (b, PROFILE_NORMALS) ~ U(0, 1).

    The distribution of PDEBench (arXiv 2210.07182): Σ_k a_k sin(2π k m_k x + φ_k), where wave number k in {1, 2, 3} is
    drawn m_k times in two draws, a ~ U(0, 1), φ ~ U(0, 2π); a tenth is folded to its absolute value, half changes sign,
    a tenth is cut off outside an interval; then the smallest value becomes 0 and the largest 1.
    """
    chosen, amplitude, phase, rest = share.split([CHOICES, WAVES, WAVES, 5], dim=1)
    k = torch.arange(1, WAVES + 1, dtype=share.dtype)
    times = ((chosen * WAVES).floor()[..., None] == k - 1).sum(1)
    points = torch.cat([(torch.arange(NORMALISED_ON, dtype=x.dtype) + 0.5) / NORMALISED_ON, x])
    u = (amplitude[..., None] * torch.sin(2 * pi * ((k * times)[..., None] * points + phase[..., None]))).sum(1)
    folded, flipped, cut, left, right = rest[..., None].unbind(1)
    u = torch.where(folded < FOLDED, u.abs(), u) * torch.where(flipped < 0.5, 1.0, -1.0)
    start, end = 0.1 + 0.35 * left, 0.55 + 0.35 * right
    window = (torch.tanh((points - start) / CUT_WIDTH) - torch.tanh((points - end) / CUT_WIDTH)) / 2
    u = torch.where(cut < CUT, u * window, u)
    low, high = u[:, :NORMALISED_ON].aminmax(dim=1, keepdim=True)
    return (u[:, NORMALISED_ON:] - low) / (high - low)
