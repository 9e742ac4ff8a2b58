"""Batched periodic tridiagonal solver by cyclic reduction."""

from math import ceil, log2

import torch
from torch import Tensor

SPARE = 4  # extra doublings where n is no power of two: the couplings then decay instead of vanishing


def solve_cyclic(lower: Tensor, diagonal: Tensor, upper: Tensor, rhs: Tensor) -> Tensor:
    """x (b, n) with lower_i x_{i-1} + diagonal_i x_i + upper_i x_{i+1} = rhs_i, indices modulo n.

    Parallel cyclic reduction (Hockney & Jesshope, Parallel Computers, 1981): each doubling replaces the neighbours
    at distance s by those at 2s. No pivoting: meant for diagonally dominant systems. All arguments are (b, n).
    """
    n = rhs.shape[-1]
    for level in range(ceil(log2(n)) + SPARE):
        distance = 2**level % n
        if distance == 0:
            break
        back = [torch.roll(v, distance, -1) for v in (lower, diagonal, upper, rhs)]
        ahead = [torch.roll(v, -distance, -1) for v in (lower, diagonal, upper, rhs)]
        left, right = -lower / back[1], -upper / ahead[1]
        diagonal = diagonal + left * back[2] + right * ahead[0]
        rhs = rhs + left * back[3] + right * ahead[3]
        lower, upper = left * back[0], right * ahead[2]
    return rhs / (lower + diagonal + upper)
