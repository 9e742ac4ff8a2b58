"""Reaction-diffusion: exact solutions of the scheme, balance of mass, latent fluxes, profiles, bad input."""

from itertools import pairwise
from math import pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.data.dataset import term_scale
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde
from pdes._sine_profile import PROFILE_NORMALS, sine_profile

DATA = ("discrete", "continuous")


def make(**options):
    return make_pde("reaction_diffusion", options)


def random_states(pde, seed, rows=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, *pde.shape, generator=generator, dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 20), st.floats(0.003, 1.0), st.floats(0, 0.05), st.floats(0, 0.05))
def test_a_parabola_fed_from_both_ends_rises_as_a_whole(n, nu, left, right):
    """Without reaction u = -(gₗ x + (gᵣ - gₗ) x²/2)/ν + (gₗ - gᵣ) t solves the equation, and the scheme too."""
    pde = make(n=n, nu=nu, rho=0.0)
    t, x = pde.grid.mesh()
    fluxes = torch.tensor([[left, -right]], dtype=torch.float64)
    exact = -(left * x - (right + left) * x.square() / 2) / nu + (left + right) * t
    assert (pde._march(exact[:1], fluxes, n - 1) - exact).abs().max() < 1e-12 * (1 + exact.abs().max())
    assert (pde._ends(exact[None, None]) - fluxes).abs().max() < 1e-11


def test_uniform_states_grow_logistically_at_second_order():
    errors = []
    for n in (8, 16, 32):
        pde = make(n=n, rho=3.0)
        start, t = torch.full((1, n), 0.2, dtype=torch.float64), pde.grid.axes[0].coordinates
        growth = torch.exp(3 * t) / 4
        exact = (growth / (1 + growth))[:, None]
        errors.append(float((pde._march(start, torch.zeros(1, 2).double(), n - 1) - exact).abs().max()))
    assert all(3.2 < coarse / fine < 5.5 for coarse, fine in pairwise(errors)), errors


def test_the_stepper_converges_to_refined_runs():
    """Cells and steps are divided by three, which keeps centres; from a profile that meets closed ends."""
    runs = []
    for factor in (1, 3, 9):
        pde = make(n=10, rho=2.0, nu=0.1)
        x = (torch.arange(10 * factor, dtype=torch.float64) + 0.5) / (10 * factor)
        row = (0.5 + 0.4 * torch.cos(pi * x))[None]
        states = pde._march(row, torch.zeros(1, 2, dtype=torch.float64), 9 * factor)
        runs.append(states[:, ::factor, factor // 2 :: factor])
    coarse, fine, finest = runs
    assert 7 < float((coarse - fine).norm() / (fine - finest).norm()) < 11


def test_both_kinds_of_data_share_their_first_row_and_approach_each_other():
    gaps = []
    for n in (8, 16, 32):
        own, fine = (make(n=n, data=kind).generate(range(8), seed=1) for kind in DATA)
        assert (own - fine)[:, :, 0].abs().max() < 1e-12
        gaps.append(float((own - fine).norm() / fine.norm()))
    assert gaps[2] < gaps[1] / 2 < gaps[0] / 4, gaps


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 24), st.integers(0, 10**6))
def test_latent_fluxes_are_found_and_mass_is_balanced_to_rounding(n, seed):
    pde = make(n=n)
    state, fluxes = pde.generate([seed, 5], seed=0), pde._draw([seed, 5], n, 0)[1]
    assert (pde._ends(state) - fluxes[:, None]).abs().max() < 1e-13
    assert fluxes[:, 0].ge(0).all()
    assert fluxes[:, 1].le(0).all()
    parts = pde.residual(state)
    assert parts["interior"].square().mean().sqrt() < pde.floor * term_scale(pde, state)
    assert parts["flux"].abs().max() < 1e-13
    assert parts["mass"].abs().max() < 1e-14


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 15), st.integers(0, 1000))
def test_the_balance_of_any_state_is_what_its_residuals_add_up_to(n, seed):
    pde = make(n=n, rho=1.0)
    state, (dt, dx) = random_states(pde, seed), pde.grid.spacings
    parts = pde.residual(state)
    left, right = parts["flux"].reshape(2, n - 1, 2).unbind(-1)
    expected = dt * (dx * parts["interior"].sum(-1) + left - right).cumsum(-1)
    assert (parts["mass"] - expected).abs().max() < 1e-12 * (1 + expected.abs().max())


def test_the_projection_onto_the_balance_moves_little_and_by_its_gradient():
    pde = make(n=10, rho=0.5)
    truth = pde.generate([0, 1], seed=0)
    noisy = truth + 0.01 * random_states(pde, 3)
    (balance,) = pde.constraints(truth)
    projected = balance.project(noisy)
    assert balance.violation(noisy).abs().max() > 1e-4
    assert balance.violation(projected).abs().max() < 1e-14
    for row in range(2):
        jacobian = torch.func.jacrev(lambda s: balance.violation(s[None])[0])(projected[row]).flatten(1)
        change = (projected - noisy)[row].flatten()
        along = torch.linalg.lstsq(jacobian.T, change[:, None]).solution
        assert (jacobian.T @ along - change[:, None]).norm() < 0.01 * change.norm()
    assert not make(n=10, data="continuous").constraints(truth)


def test_solve_takes_fluxes_within_the_laws_range():
    pde = make(n=9)
    for state in (pde.draw([0, 1], seed=0), 3 * random_states(pde, 0)):
        solved = pde.solve(state)
        ends = pde._ends(solved).mean(1) * torch.tensor([1.0, -1.0])
        assert torch.equal(solved[:, :, 0], state[:, :, 0])
        assert ends.min() > -1e-12
        assert ends.max() < 0.05 + 1e-12


def test_the_solver_is_differentiable():
    pde = make(n=6)
    state = pde.generate([0], seed=0).requires_grad_()
    assert torch.autograd.gradcheck(pde.solve, state, fast_mode=True, rtol=1e-4)


def shares(*, chosen=(0.0, 0.5), folded=0.5, flipped=0.2, cut=0.5):
    values = [*chosen, 0.9, 0.6, 0.3, 0.1, 0.2, 0.7, folded, flipped, cut, 0.5, 0.5]
    assert len(values) == PROFILE_NORMALS
    return torch.tensor([values], dtype=torch.float64)


def test_profiles_are_sums_of_the_chosen_sines_folded_flipped_or_cut():
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    third = 0.3 * torch.sin(torch.tensor(2 * pi * 0.7))
    plain = 0.9 * torch.sin(2 * pi * (x + 0.1)) + 0.6 * torch.sin(2 * pi * (2 * x + 0.2)) + third
    twice = 0.9 * torch.sin(2 * pi * (2 * x + 0.1)) + 0.6 * torch.sin(torch.tensor(2 * pi * 0.2)) + third
    window = (torch.tanh((x - 0.275) / 0.01) - torch.tanh((x - 0.725) / 0.01)) / 2
    cases = [
        (shares(), plain),
        (shares(chosen=(0.1, 0.2)), twice),
        (shares(folded=0.05), plain.abs()),
        (shares(flipped=0.7), -plain),
        (shares(cut=0.05), plain * window),
    ]
    for share, expected in cases:
        found, scaled = sine_profile(share, x)[0], (expected - expected.min()) / (expected.max() - expected.min())
        assert (found - scaled).abs().max() < 3e-3  # the range is that on 512 points


def test_profiles_stay_in_the_unit_interval_and_do_not_depend_on_the_grid():
    coarse, fine = make(n=8), make(n=24)
    rows = coarse._draw(range(500), 8, 0)[0]
    assert (rows - fine._draw(range(500), 24, 0)[0][:, 1::3]).abs().max() < 1e-12
    assert rows.min() > -1e-3
    assert rows.max() < 1 + 1e-3


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["nu", "rho", "flux"]), st.floats(-3, 3) | st.sampled_from([float("nan"), float("inf")]))
def test_impossible_settings_are_refused_by_name(name, value):
    if (value > 0 and value < 4) or (value == 0 and name != "nu"):
        assert getattr(make(**{name: value}).config, name) == value
    else:
        with pytest.raises(UserError, match=f"{name} = "):
            make(**{name: value})


def test_the_label_and_a_reaction_too_fast_for_the_time_step():
    assert make(rho=0.5).label == "reaction_diffusion-rho0.5-32"
    with pytest.raises(UserError, match="did not converge"):
        make(n=6, rho=200.0).generate([0], seed=0)
