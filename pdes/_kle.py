"""Karhunen–Loève expansion of the Gaussian field with covariance exp(-|x - x'|/length) on the nodes of a square."""

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from jensenbench.errors import UserError

Array = NDArray[np.float64]
PARITIES = ((1, 1), (1, -1), (-1, -1))  # of the reflections of both axes; (-1, 1) is (1, -1) transposed


@dataclass(frozen=True)
class Expansion:
    """Largest eigenvalues (q,) of the covariance matrix, descending, and its orthonormal eigenvectors (n², q)."""

    eigenvalues: Array
    eigenvectors: Array

    def field(self, weights: Array) -> Array:
        """Σ_k sqrt(λ_k) w_k φ_k as fields (..., n, n) for weights (..., q)."""
        flat = (weights * np.sqrt(self.eigenvalues)) @ self.eigenvectors.T
        side = round(sqrt(flat.shape[-1]))
        return flat.reshape(*flat.shape[:-1], side, side)


def check_modes(n: int, modes: int) -> None:
    """Raise UserError unless 1 <= modes <= n²."""
    if not 0 < modes <= n * n:
        raise UserError(
            f"modes = {modes}, n = {n}: modes must lie between 1 and the {n * n} nodes; raise n or lower modes"
        )


@lru_cache(maxsize=8)
def expand(n: int, length: float, modes: int) -> Expansion:
    """The first ``modes`` eigenpairs on n × n nodes of the unit square.

    The covariance is split by parity under the square's reflections: blocks of a quarter of the nodes, without
    the double eigenvalues between them, so that eigenvectors are determined up to a sign, which makes their
    largest entry positive in the quarter at the origin.
    """
    check_modes(n, modes)
    values, vectors = [], []
    for parity in PARITIES:
        eigenvalues, eigenvectors = _block_modes(n, length, parity, modes)
        values.append(eigenvalues)
        vectors.append(eigenvectors)
        if parity[0] != parity[1]:
            values.append(eigenvalues)
            vectors.append(eigenvectors.reshape(n, n, -1).swapaxes(0, 1).reshape(n * n, -1))
    every = np.concatenate(values)
    order = np.argsort(-every, kind="stable")[:modes]
    return Expansion(every[order], np.concatenate(vectors, 1)[:, order])


def _block_modes(n: int, length: float, parity: tuple[int, int], modes: int) -> tuple[Array, Array]:
    """Descending eigenvalues and eigenvectors (n², k) among the fields of this parity."""
    folds = [_fold(n, sign) for sign in parity]
    block = _covariance(n, length, parity, folds)
    size = len(block)
    values, quarter = linalg.eigh(block, subset_by_index=(max(0, size - modes), size - 1))
    values, quarter = values[::-1], quarter[:, ::-1]
    largest = np.abs(quarter).max(0)
    first = (np.abs(quarter) > (1 - 1e-6) * largest).argmax(0)  # mirror images tie
    quarter = quarter * np.sign(quarter[first, np.arange(len(values))])
    unfolded = np.einsum("ia,jb,abk->ijk", *folds, quarter.reshape(folds[0].shape[1], -1, len(values)), optimize=True)
    return values, unfolded.reshape(n * n, -1)


def _fold(n: int, sign: int) -> Array:
    """Orthonormal vectors (n, m) that are even (sign 1) or odd (-1) under reflection, one for each near node."""
    near = np.eye(n)[:, : (n + 1) // 2]
    folded = near + sign * near[::-1]
    norms = np.linalg.norm(folded, axis=0)
    return folded[:, norms > 0] / norms[norms > 0]


def _covariance(n: int, length: float, parity: tuple[int, int], folds: list[Array]) -> Array:
    """The covariance between folded vectors: sums over the mirror images of one of the two points."""
    separations, weights = [], []
    for fold in folds:
        x = np.arange(fold.shape[1]) / (n - 1)
        separations.append((np.abs(x[:, None] - x), np.abs(x[:, None] - (1 - x))))
        weights.append(sqrt(0.5) / fold[: fold.shape[1]].diagonal())
    weight = np.multiply.outer(*weights).ravel()
    total = np.zeros((weight.size, weight.size))
    for mirrored in np.ndindex(2, 2):
        rows, columns = (pair[i] for pair, i in zip(separations, mirrored, strict=True))
        distance = np.hypot(rows[:, None, :, None], columns[None, :, None, :]).reshape(total.shape)
        total += parity[0] ** mirrored[0] * parity[1] ** mirrored[1] * np.exp(-distance / length)
    return weight[:, None] * total * weight
