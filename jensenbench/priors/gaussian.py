"""Gaussian prior, low rank or full: exact denoiser, velocity, score, samples and posterior."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Self

import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import Noise
from jensenbench.core.pde import PDE
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError
from jensenbench.numerics.tensors import per_row
from jensenbench.priors.gaussian_posterior import GaussianPosterior

RANK_TOLERANCE = 1e-12  # directions narrower than this share of the widest are rounding errors


class GaussianPrior(Denoiser):
    """x0 ~ N(mean, V diag(s² - tau²) Vᵀ + tau² I), in prior coordinates.

    Args:
        mean: (C, *grid).
        directions: (d, r) orthonormal V, d = C*prod(grid).
        std: (r,) standard deviations s along V.
        rest: tau, the standard deviation off V; 0 for a distribution on mean + span V (degenerate).
    """

    sigma_min, sigma_max = 0.0, float("inf")

    def __init__(self, mean: Tensor, directions: Tensor, std: Tensor, rest: float = 0.0):
        self.shape, self.rest = tuple(mean.shape), float(rest)
        size = prod(self.shape)
        if tuple(directions.shape) != (size, len(std)):
            raise UserError(f"Gaussian prior: directions {tuple(directions.shape)}, expected ({size}, {len(std)})")
        self.mean, self.directions, self.std = mean.double(), directions.double(), std.double()
        total = self.std.square().sum() + (size - len(std)) * self.rest**2
        self.sigma_data = float((total / size).sqrt())
        self._cast: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, Tensor]] = {}

    @classmethod
    def isotropic(cls, shape: Sequence[int], std: float) -> Self:
        """N(0, std² I)."""
        empty = torch.zeros(prod(shape), 0, dtype=torch.float64)
        return cls(torch.zeros(*shape, dtype=torch.float64), empty, empty[0], float(std))

    @classmethod
    def of_pde(cls, pde: PDE, codec: Codec) -> Self:
        """Distribution of the states that an affine PDE with a Gaussian coefficient generates.

        A factor of their covariance is computed by the generator itself, so that the prior meets the discrete
        equation that the data solve. Raises UserError where the PDE is not affine.
        """
        if not pde.affine():
            raise UserError(f"{pde.label} is not affine: it has no exact Gaussian prior; train a network prior")
        factor = pde.state_factor().double()
        mean = codec.encode(torch.zeros_like(factor[:1]))
        columns = (codec.encode(factor) - mean).flatten(1)
        directions, std = principal_directions(columns)
        return cls(mean[0], directions, std)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        mean, _, std = self._in(x)
        variance = sigma[:, None].square()
        along = std.square() / (std.square() + variance)
        rest = self.rest**2 / (self.rest**2 + variance) if self.rest else torch.zeros_like(variance)
        return mean + self._scale(x - mean, along, rest)

    def velocity(self, x: Tensor, t: Tensor | float) -> Tensor:
        """E[x1 - eps | x_t = x] of x_t = (1-t) eps + t x1, t in [0, 1].

        Off the support of a degenerate distribution it grows like 1/(1-t); at t = 1, where x_t has no such
        part, that part of x is ignored.
        """
        mean, _, std = self._in(x)
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))
        along, rest = (_flow_slope(s, t[:, None]) for s in (std, std.new_tensor([self.rest])))
        return mean + self._scale(x - per_row(t, x) * mean, along, rest)

    def score(self, x: Tensor, mean_factor: Tensor | float, variance: Tensor | float) -> Tensor:
        """Score of x = m x0 + sqrt(variance) eps; variance 0 needs a distribution that is not degenerate."""
        mean, _, std = self._in(x)
        m = torch.as_tensor(mean_factor, dtype=x.dtype, device=x.device).expand(len(x))
        v = torch.as_tensor(variance, dtype=x.dtype, device=x.device).expand(len(x))
        along = -1 / (m[:, None] * std).square().add(v[:, None])
        rest = -1 / (m[:, None] * self.rest).square().add(v[:, None])
        return self._scale(x - per_row(m, x) * mean, along, rest)

    def sample(self, noise: Noise) -> Tensor:
        """Exact draws (b, C, *grid) in prior coordinates."""
        return self.transport(noise(self.shape), 0.0)

    def transport(self, z: Tensor, sigma: float) -> Tensor:
        """Exact probability-flow map of white noise z from sigma = inf to ``sigma``."""
        mean, _, std = self._in(z)
        width = (std.square() + sigma**2).sqrt()[None]
        return mean + self._scale(z, width, z.new_full((1, 1), (self.rest**2 + sigma**2) ** 0.5))

    def factor(self) -> Tensor:
        """(d, k) matrix F with covariance F Fᵀ; k = r for a degenerate distribution, else d."""
        along = self.directions * (self.std - self.rest)
        if not self.rest:
            return along
        return along @ self.directions.T + self.rest * torch.eye(len(along), dtype=torch.float64)

    def tensors(self) -> dict[str, Tensor]:
        """What :meth:`from_tensors` needs, by name."""
        rest = torch.tensor(self.rest, dtype=torch.float64)
        return {"mean": self.mean, "directions": self.directions, "std": self.std, "rest": rest}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The prior that :meth:`tensors` describes; raises KeyError if one is missing."""
        return cls(tensors["mean"], tensors["directions"], tensors["std"], float(tensors["rest"]))

    def posterior(self, problem: Problem) -> GaussianPosterior:
        """Exact posterior of the physical fields given the problem's observation, for every element of its batch."""
        return GaussianPosterior(problem, self.mean, self.factor())

    def _scale(self, y: Tensor, along: Tensor, rest: Tensor) -> Tensor:
        """Multiply y by ``along`` (b, r) in the directions V and by ``rest`` (b, 1) off them."""
        directions, flat = self._in(y)[1], y.flatten(1)
        if not directions.shape[1]:
            return (rest * flat).reshape(y.shape)
        inside = ((flat @ directions) * (along - rest)) @ directions.T
        return (inside + rest * flat).reshape(y.shape)

    def _in(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key = (like.dtype, like.device)
        if key not in self._cast:
            self._cast[key] = self.mean.to(like), self.directions.to(like), self.std.to(like)
        return self._cast[key]


def principal_directions(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal V (d, r) and s (r,) of the covariance AᵀA of ``columns`` A (k, d), widest first.

    Groups of rows of A that are orthogonal to each other are decomposed apart: a distribution with the reflections of
    the square has four parities, which takes a third of the time at 64².
    """
    parts = [torch.linalg.svd(columns[rows], full_matrices=False)[1:] for rows in _orthogonal_groups(columns)]
    std, directions = (torch.cat(part) for part in zip(*parts, strict=True))
    order = std.argsort(descending=True, stable=True)
    order = order[std[order] > RANK_TOLERANCE * std.max()]
    return directions[order].T.contiguous(), std[order]


def _orthogonal_groups(columns: Tensor) -> list[Tensor]:
    """Indices of the rows of (k, d) in groups that are orthogonal to each other to rounding; without zero rows."""
    norms = torch.linalg.vector_norm(columns, dim=1)
    rows = (norms > RANK_TOLERANCE * norms.max()).nonzero()[:, 0]
    unit = columns[rows] / norms[rows, None]
    count, labels = connected_components((unit @ unit.T).abs().numpy() > RANK_TOLERANCE, directed=False)
    return [rows[torch.from_numpy(labels == label)] for label in range(count)]


def _flow_slope(std: Tensor, t: Tensor) -> Tensor:
    """(t s² - (1-t))/((1-t)² + t² s²), 0 where s = 0 and t = 1."""
    spread = (1 - t).square() + t.square() * std.square()
    slope = (t * std.square() - (1 - t)) / torch.where(spread > 0, spread, torch.ones_like(spread))
    return torch.where(spread > 0, slope, torch.zeros_like(slope))
