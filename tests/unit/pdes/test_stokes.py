"""Stokes' second problem: its stepper and fits, latent parameters recovered, convergence, bad input."""

from itertools import pairwise
from math import pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.pde import Axis
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde
from pdes._linear_evolution import crank_nicolson
from pdes._parameter_fits import fitted_frequency, fitted_ratio


def make(**options):
    return make_pde("stokes", options)


def column(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(st.integers(6, 30), st.floats(2.0, 20.0), st.floats(2.0, 8.0))
def test_discrete_states_give_their_latent_parameters_back(n, k, omega):
    pde = make(n=n)
    row = pde._wave(column(k), column(omega))[:, 0]
    state = pde._march(row, column(k), column(omega))
    nu = fitted_ratio(*pde._slopes(state))
    found_k, found_omega = pde._latent(state, nu)
    assert abs(float(nu) / (omega / (2 * k**2)) - 1) < 1e-9
    assert abs(float(found_k) / k - 1) < 1e-9
    assert abs(float(found_omega) / omega - 1) < 1e-9
    parts = pde.residual(state)
    assert parts.pop("interior").square().mean().sqrt() < pde.floor * term_scale(pde, state)
    assert max(float(part.abs().max()) for part in parts.values()) < 1e-9


def test_continuous_states_are_the_closed_form_and_their_latents_are_found_at_second_order():
    gaps = []
    for n in (33, 65, 129):
        pde = make(n=n, data="continuous")
        k, omega = pde._draw(range(20), 2)
        states, (t, y) = pde.generate(range(20), seed=2), pde.grid.mesh()
        scaled = k[:, None, None] * y
        exact = 2 * torch.exp(-scaled) * torch.cos(scaled - omega[:, None, None] * t)
        assert (states[:, 0] - exact).abs().max() < 1e-14
        found, _ = pde._latent(states, fitted_ratio(*pde._slopes(states)))
        gaps.append(float((found - k).abs().max()))
    assert all(3.2 < coarse / fine < 4.8 for coarse, fine in pairwise(gaps)), gaps


def test_discrete_states_converge_to_continuous_ones_at_second_order():
    gaps = []
    for n in (33, 65, 129):
        own, exact = (make(n=n, data=kind).generate(range(10), seed=3) for kind in ("discrete", "continuous"))
        assert torch.equal(own[:, :, 0], exact[:, :, 0])
        gaps.append(float((own - exact).norm() / exact.norm()))
    assert all(3.2 < coarse / fine < 4.8 for coarse, fine in pairwise(gaps)), gaps


def test_the_stepper_converges_to_twice_refined_runs():
    """From a profile and ends of no closed form; the coarse run and two refinements in space and time."""
    runs = []
    for n in (17, 33, 65):
        axis, t = Axis("y", n), torch.linspace(0, 1, n, dtype=torch.float64)
        row = (torch.sin(pi * axis.coordinates) + axis.coordinates)[None]
        ends = torch.stack([t.square(), 1 + torch.sin(t).square()], -1)[None]
        every = (n - 1) // 16
        runs.append(crank_nicolson(row, ends, column(0.3), float(t[1]), axis)[:, ::every, ::every])
    coarse, fine, finest = runs
    assert 3.2 < float((coarse - fine).norm() / (fine - finest).norm()) < 4.8


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 20), st.integers(2, 9), st.floats(0.01, 5.0), st.floats(-3, 3), st.floats(-3, 3))
def test_straight_profiles_between_ends_at_rest_stay(n, times, nu, left, right):
    axis = Axis("y", n)
    row = (left + (right - left) * axis.coordinates)[None]
    states = crank_nicolson(row, column(left, right).expand(1, times, 2), column(nu), 0.1, axis)
    assert (states - row[:, None]).abs().max() < 1e-12 * (1 + abs(left) + abs(right))


@settings(max_examples=50, deadline=None)
@given(st.integers(5, 60), st.floats(0.02, 0.98), st.floats(0, 2 * pi), st.floats(0.1, 10))
def test_the_frequency_of_a_sinusoid_is_found_and_kept_within_bounds(count, share, phase, amplitude):
    dt = 0.1
    omega = share * pi / dt
    signal = amplitude * torch.cos(omega * dt * torch.arange(count, dtype=torch.float64) + phase)[None]
    assert abs(float(fitted_frequency(signal, dt, 1e-3, pi / dt - 1e-3)) - omega) < 1e-6 * omega
    assert float(fitted_frequency(signal, dt, 2 * omega / 3, 3 * omega / 4)) <= 0.75 * omega * (1 + 1e-12)
    assert torch.isfinite(fitted_frequency(0 * signal, dt, 1.0, 2.0)).all()


def test_the_fitted_diffusivity_is_the_one_that_leaves_least():
    pde = make(n=12)
    state = pde.generate([0, 1], seed=0) + 0.1 * torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    rate, curvature = pde._slopes(state)
    best = fitted_ratio(rate, curvature)[:, None, None]
    least = (rate - best * curvature).square().sum((1, 2))
    for factor in (0.9, 1.1):
        assert (least < (rate - factor * best * curvature).square().sum((1, 2))).all()
    assert torch.allclose(pde.residual(state)["interior"].square().sum((1, 2)), least)


def test_draws_are_uniform_in_wave_number_and_frequency():
    for values, low, high in zip(make(n=8)._draw(range(4000), 1), (2, 2), (20, 8), strict=True):
        share = (values - low) / (high - low)
        assert (share.sort().values - torch.arange(4000) / 4000).abs().max() < 1.7 / 4000**0.5


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_states_without_a_wave_are_solved_within_the_laws_range(fill):
    pde = make(n=8)
    state = torch.full((2, *pde.shape), fill, dtype=torch.float64)
    solved = pde.solve(state)
    assert torch.isfinite(solved).all()
    assert torch.equal(solved[:, :, 0], state[:, :, 0])
    assert all(torch.isfinite(part).all() for part in pde.residual(state).values())


def test_the_solver_is_differentiable():
    pde = make(n=6)
    state = pde.generate([0], seed=0).requires_grad_()
    assert torch.autograd.gradcheck(pde.solve, state, fast_mode=True, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["k", "omega"]), st.floats(-5, 30, width=16), st.floats(-5, 30, width=16))
def test_ranges_of_latents_must_be_positive_and_resolved(name, low, high):
    options = {"n": 40, f"{name}_low": low, f"{name}_high": high}
    if 0 < low < high:
        assert make(**options).config.n == 40
    else:
        with pytest.raises(UserError, match=f"{name}_low"):
            make(**options)


def test_bad_input_names_the_value():
    with pytest.raises(UserError, match=r"n = 6 times do not resolve omega_high = 20"):
        make(n=6, omega_high=20.0)
    with pytest.raises(UserError, match="omega_high = inf"):
        make(omega_high=float("inf"))
    assert make(k_high=10.0).label == "stokes-k_high10-32"
