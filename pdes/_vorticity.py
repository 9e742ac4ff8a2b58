"""Pseudo-spectral Navier-Stokes operators in vorticity form on the periodic unit square."""

from math import pi

import torch
from scipy import signal
from torch import Tensor


class Vorticity:
    """w_t = ν∇²w - v·∇w + g for spectra (b, n, n//2 + 1) of w; v = ∇^⊥ψ, -∇²ψ = w.

    Advection is dealiased by the 2/3 rule: only modes below n/3 enter it and are kept of it, so that it conserves
    energy and enstrophy exactly. ``published`` follows the public codes of FNO (arXiv 2010.08895), DiffusionPDE (arXiv
    2406.17763, jhhuangchloe/DiffusionPDE) and ECI (arXiv 2412.01786, amazon-science/ECI-sampling) instead: all modes
    enter, those up to n/3 inclusive are kept, and the mean decays like a mode with ∇² = -1.

    Args:
        forcing: (n, n) values of g.
        nu: viscosity.
    """

    def __init__(self, forcing: Tensor, nu: float, *, published: bool = False):
        n = forcing.shape[-1]
        rows, columns = torch.fft.fftfreq(n, 1 / n).to(forcing), torch.fft.rfftfreq(n, 1 / n).to(forcing)
        squares = 4 * pi**2 * (rows[:, None].square() + columns.square())
        reach = n / 3 if published else (n - 1) / 3
        self.n, self.published = n, published
        self.forcing = torch.fft.rfft2(forcing)
        self.kept = ((rows[:, None].abs() <= reach) & (columns <= reach)).to(forcing)
        self.inverse_laplacian = torch.where(squares > 0, 1 / squares, 0.0)  # of -∇², without the mean
        self.linear = -nu * squares
        if published:
            self.linear[0, 0] = -nu
        self._slopes = tuple(2j * pi * torch.where(k.abs() < n / 2, k, 0.0) for k in (rows[:, None], columns))

    def advection(self, w: Tensor) -> Tensor:
        """Spectrum of v·∇w."""
        d_x, d_y = self._slopes
        w = w if self.published else w * self.kept
        psi = w * self.inverse_laplacian
        u, v, w_x, w_y = self.values(torch.stack([psi * d_y, -psi * d_x, w * d_x, w * d_y]))
        return self.kept * torch.fft.rfft2(u * w_x + v * w_y)

    def nonlinear(self, w: Tensor) -> Tensor:
        """Spectrum of g - v·∇w."""
        return self.forcing - self.advection(w)

    def values(self, spectrum: Tensor) -> Tensor:
        """Fields (..., n, n) of spectra."""
        return torch.fft.irfft2(spectrum, s=(self.n, self.n))


def resample(field: Tensor, points: int) -> Tensor:
    """Trigonometric interpolant of periodic fields (..., n, n) on ``points``² points, a multiple of n."""
    values = field.numpy()
    for axis in (-2, -1):
        values = signal.resample(values, points, axis=axis)
    return torch.from_numpy(values)


class PlaneWaves:
    """Smooth stream function Σ_j a_j cos(2π(p_j x + q_j y) + ω_j t + c_j) with all its derivatives.

    Args:
        x, y: points (n, n).
        times: (m,).
        batch: number of waves, with different phases c.
    """

    def __init__(self, x: Tensor, y: Tensor, times: Tensor, batch: int, *, nu: float):
        p, q = (2 * pi * torch.tensor(k, dtype=x.dtype).reshape(-1, 1, 1, 1, 1) for k in ([1, 2, 1], [1, 0, -2]))
        rate = torch.tensor([1.0, -2.0, 3.0], dtype=x.dtype).reshape(p.shape)
        row = torch.arange(batch, dtype=x.dtype).reshape(1, -1, 1, 1, 1)
        phase = p * x + q * y + rate * times.reshape(-1, 1, 1) + row * (1 + rate)
        squares = p.square() + q.square()
        wave, slope = 0.1 / squares.sqrt() * phase.cos(), -0.1 / squares.sqrt() * phase.sin()
        u, v = (q * slope).sum(0), -(p * slope).sum(0)
        self.stream, self.w = wave.sum(0), (squares * wave).sum(0)
        self.rate = (squares * rate * slope).sum(0)
        self.advection = u * (squares * p * slope).sum(0) + v * (squares * q * slope).sum(0)
        self.diffusion = nu * (squares.square() * wave).sum(0)
