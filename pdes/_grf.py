"""Gaussian random fields by cosine or Fourier transform, and reproducible normal draws per sample index."""

from collections.abc import Sequence
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from jensenbench.errors import UserError

Array = NDArray[np.float64]


def draw_normals(indices: Sequence[int], shape: tuple[int, ...], *, seed: int) -> Array:
    """Standard normals (len(indices), *shape); entry i comes from its own stream (seed, indices[i])."""
    if seed < 0 or any(index < 0 for index in indices):
        raise UserError(
            f"seed {seed} and sample indices (smallest {min(indices, default=0)}) must not be negative; use 0 or more"
        )
    normals = np.empty((len(indices), *shape))
    for row, index in enumerate(indices):
        np.random.default_rng(np.random.SeedSequence((seed, int(index)))).standard_normal(out=normals[row])
    return normals


def grf_coefficients(xi: Array, *, alpha: float, tau: float) -> Array:
    """Cosine coefficients s τ^{α-1} (π²|k|² + τ²)^{-α/2} ξ of white noise ξ (..., s, s), the mean set to zero.

    As the public code of DiffusionPDE (arXiv 2406.17763).
    """
    size = xi.shape[-1]
    squares = (pi * np.arange(size)) ** 2
    spectrum = size * tau ** (alpha - 1) * (squares[:, None] + squares + tau**2) ** (-alpha / 2)
    spectrum[0, 0] = 0.0
    return spectrum * xi


def grf_field(coefficients: Array) -> Array:
    """Field (..., s, s) of cosine coefficients: orthonormal inverse DCT-II over the last two axes."""
    return np.asarray(fft.idctn(coefficients, type=2, norm="ortho", axes=(-2, -1)))


def cosine_interpolate(field: Array, positions: Array) -> Array:
    """Cosine interpolant of fields (..., s, s) at ``positions`` (m,) in grid spacings along both axes, (..., m, m)."""
    size = field.shape[-1]
    k = np.arange(size)
    waves = np.cos(pi * k * (positions[:, None] + 0.5) / size) * np.where(k > 0, sqrt(2 / size), sqrt(1 / size))
    return np.asarray(waves @ fft.dctn(field, type=2, norm="ortho", axes=(-2, -1)) @ waves.T)


def sample_grf(indices: Sequence[int], n: int, *, seed: int, alpha: float = 2.0, tau: float = 3.0) -> Array:
    """Fields (len(indices), n, n) ~ N(0, τ^{2α-2} (-Δ + τ²)^{-α}) with Neumann edges, without their mean: GRF(α, τ)."""
    xi = draw_normals(indices, (n, n), seed=seed)
    return grf_field(grf_coefficients(xi, alpha=alpha, tau=tau))


def periodic_spectrum(n: int, *, alpha: float = 2.5, tau: float = 7.0) -> Array:
    """(n, n) amplitudes n² √2 σ (4π²|k|² + τ²)^{-α/2} of Fourier modes, σ = τ^{α-1}, the mean set to zero."""
    squares = np.fft.fftfreq(n, 1 / n) ** 2
    spectrum = n**2 * sqrt(2) * tau ** (alpha - 1) * (4 * pi**2 * (squares[:, None] + squares) + tau**2) ** (-alpha / 2)
    spectrum[0, 0] = 0.0
    return spectrum


def periodic_grf(normals: Array, *, alpha: float = 2.5, tau: float = 7.0) -> Array:
    """Periodic fields (..., n, n) from normals (..., n, n, 2): real part of the inverse Fourier transform.

    The distribution of the initial vorticity of FNO and DiffusionPDE (arXiv 2010.08895, 2406.17763).
    """
    modes = periodic_spectrum(normals.shape[-2], alpha=alpha, tau=tau) * (normals[..., 0] + 1j * normals[..., 1])
    return np.real(np.asarray(fft.ifft2(modes)))


def periodic_profile(
    xi_cos: Array, xi_sin: Array, x: Array, *, sigma: float = 49.0, tau: float = 7.0, gamma: float = 2.5
) -> Array:
    """Σ_k √2 σ ((2πk)² + τ²)^{-γ/2} (ξ_k cos 2πkx + η_k sin 2πkx) at the points x, for ξ, η (..., modes), k >= 1.

    The initial profile of the Burgers data in the public code of DiffusionPDE (arXiv 2406.17763).
    """
    k = np.arange(1, xi_cos.shape[-1] + 1)
    weight = sqrt(2) * sigma * ((2 * pi * k) ** 2 + tau**2) ** (-gamma / 2)
    phase = 2 * pi * k[:, None] * x
    return (weight * xi_cos) @ np.cos(phase) + (weight * xi_sin) @ np.sin(phase)
