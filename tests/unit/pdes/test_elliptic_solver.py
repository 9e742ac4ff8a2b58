"""The preconditioned solver of diffusion: few steps at any contrast of smooth coefficients, rows alone."""

import pytest
import torch

from jensenbench.core.pde import Axis
from pdes import _elliptic_solver
from pdes._neumann import corner_wells, node_weights

N = 32


def _smooth(contrast):
    """Two log-normal-like fields (2, N, N) of this contrast."""
    x = torch.linspace(0, 1, N, dtype=torch.float64)
    waves = torch.stack([torch.sin(5 * x)[:, None] * torch.cos(7 * x), torch.cos(3 * x[:, None] + 4 * x)])
    low, high = (getattr(waves, end)((1, 2), keepdim=True) for end in ("amin", "amax"))
    return contrast ** ((waves - low) / (high - low))


def _two_valued(contrast):
    field = _smooth(contrast)
    return torch.where(field > contrast**0.5, contrast, 1.0)


def _inflow():
    wells = corner_wells(N, 10.0, 0.125)
    return wells * node_weights(wells) / (N - 1) ** 2


def _solve(a, kind):
    if kind == "closed":
        return _elliptic_solver.solve_closed(a, _inflow(), Axis("x", N), "arithmetic")
    return _elliptic_solver.solve_diffusion(a, 1.0, Axis("x", N, kind=kind), "arithmetic")


@pytest.mark.parametrize("kind", ["node", "cell", "closed"])
def test_steps_do_not_grow_with_the_contrast_of_smooth_coefficients(kind, monkeypatch):
    monkeypatch.setattr(_elliptic_solver, "MAX_STEPS", 80)
    for contrast in (1.0, 1e1, 1e3, 1e5):
        assert _solve(_smooth(contrast), kind).isfinite().all()


@pytest.mark.parametrize("kind", ["node", "cell"])
def test_steps_at_jumps_are_those_of_their_contrast(kind, monkeypatch):
    monkeypatch.setattr(_elliptic_solver, "MAX_STEPS", 50)
    assert _solve(_two_valued(4.0), kind).isfinite().all()


@pytest.mark.parametrize("kind", ["node", "cell", "closed"])
def test_smooth_rows_and_rows_with_jumps_do_not_see_each_other(kind):
    a = torch.cat([_smooth(30.0), _two_valued(4.0)])
    together, alone = _solve(a, kind), torch.cat([_solve(row[None], kind) for row in a])
    assert torch.allclose(together, alone, rtol=0, atol=1e-13 * float(alone.abs().max()))


@pytest.mark.parametrize("kind", ["node", "closed"])
def test_the_solution_scales_as_one_over_the_coefficient(kind):
    a = _smooth(100.0)
    once, thrice = _solve(a, kind), _solve(3 * a, kind)
    assert torch.allclose(3 * thrice, once, rtol=0, atol=1e-12 * float(once.abs().max()))
