"""Navier-Stokes: conservation, closed forms, orders, arms, published stepping, bad input."""

from itertools import pairwise
from math import exp, pi

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.data.dataset import term_scale
from jensenbench.errors import UnknownName, UserError
from jensenbench.plugins.registry import make_pde
from pdes._grf import draw_normals, periodic_grf, periodic_spectrum
from pdes._steppers import ETDRK4, CrankNicolsonEuler, ImplicitMidpoint, advance
from pdes._vorticity import Vorticity, resample

ARMS = ("space_time", "end_points", "invariants")


def make(**options):
    return make_pde("navier_stokes", options)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 24), st.integers(0, 1000))
def test_advection_conserves_mean_energy_and_enstrophy(n, seed):
    w = torch.randn(2, n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    flow, spectrum = Vorticity(torch.zeros(n, n, dtype=torch.float64), 1e-3), torch.fft.rfft2(w)
    flux, stream = flow.values(flow.advection(spectrum)), flow.values(flow.inverse_laplacian * spectrum)
    bound = 1e-12 * float(flux.abs().max() + 1e-3) * float(w.abs().max()) * n**2
    for test in (torch.ones_like(w), w, stream):
        assert (flux * test).sum((1, 2)).abs().max() <= bound


@pytest.mark.parametrize("n", [12, 15])
def test_modes_of_one_length_decay_and_grow_in_closed_form(n):
    """They do not advect each other: w(T) = exp(-νλT) w(0) + (1 - exp(-νλT)) g/(νλ), λ = 8π²."""
    pde = make(n=n, arm="end_points", nu=0.01)
    x, y = pde.grid.mesh()
    state = torch.zeros(1, 2, n, n, dtype=torch.float64)
    state[0, 0] = torch.cos(2 * pi * (x - y)) + 0.5 * torch.sin(2 * pi * (x + y))
    decay = exp(-0.01 * 8 * pi**2)
    exact = decay * state[0, 0] + (1 - decay) / (0.01 * 8 * pi**2) * pde.forcing(n)
    assert (pde.solve(state)[0, 1] - exact).abs().max() < 1e-13


@pytest.mark.parametrize(
    ("stepper", "ratio"), [(ETDRK4, 16), (ImplicitMidpoint, 4), (CrankNicolsonEuler, 2)], ids=lambda v: str(v)
)
def test_steppers_converge_at_their_order_to_a_refined_run(stepper, ratio):
    pde = make(n=24, nu=0.01)
    flow, start = Vorticity(pde.forcing(24), 0.01), torch.fft.rfft2(3 * pde.draw([0, 1], seed=0)[:, 0])
    runs = []
    for steps in (16, 32, 64, 128):
        step = stepper(flow.linear, flow.nonlinear, 1 / steps)
        runs.append(advance(step, start, frames=2, substeps=steps)[:, 1])
    gaps = [float((coarse - fine).abs().max()) for coarse, fine in pairwise(runs)]
    assert all(0.7 * ratio < coarse / fine < 1.4 * ratio for coarse, fine in pairwise(gaps)), gaps


@pytest.mark.parametrize("arm", ARMS)
def test_continuous_data_share_the_initial_field_and_stay_below_their_floor(arm):
    for data in ("continuous", "published"):
        pde = make(n=16, arm=arm, data=data, dt=0.01)
        states = pde.generate(range(3), seed=2)
        found = float(pde.residual(states)["interior"].square().mean().sqrt()) / term_scale(pde, states)
        assert 1e-5 < found < pde.data_floor
        assert torch.equal(states[:, 0], pde.draw(range(3), seed=2)[:, 0])


def test_published_stepping_damps_the_mean_that_the_flow_conserves():
    own, published = make(n=12), make(n=12, data="published", dt=0.01, nu=0.1)
    w = own.draw([0], seed=0)[:, 0] + 0.5
    state = torch.zeros(1, *own.shape, dtype=torch.float64)
    state[:, 0] = w
    assert (own.conditions(own.solve(state))["mean"] - 0.5).abs().max() < 1e-13
    times = torch.linspace(0, 1, own.frames, dtype=torch.float64)
    decay = 0.5 * torch.exp(-0.1 * times)
    assert (published.published_solution(w).mean((2, 3))[0] - decay).abs().max() < 1e-4


def test_invariants_miss_what_breaks_the_equation_locally():
    """The same snapshots with their sign changed turn the other way, at equal energy and enstrophy."""
    local, budgets = make(n=12, forcing=0.0), make(n=12, forcing=0.0, arm="invariants")
    data = local.generate([0], seed=1)
    assert local.residual(-data)["interior"].abs().max() > 1e-3
    assert budgets.residual(-data)["interior"].abs().max() < 1e-13


@pytest.mark.parametrize("arm", ARMS)
def test_the_solver_is_differentiable(arm):
    pde = make(n=6, arm=arm, snapshots=3)
    state = pde.generate([0], seed=0).requires_grad_()
    assert torch.autograd.gradcheck(pde.solve, state, fast_mode=True, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 12), st.integers(2, 4), st.integers(0, 100))
def test_resampling_passes_through_the_points(n, factor, seed):
    field = torch.randn(2, n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert (resample(field, factor * n)[:, ::factor, ::factor] - field).abs().max() < 1e-12


@pytest.mark.parametrize("n", [7, 16])
def test_the_initial_law_has_the_variance_of_its_spectrum(n):
    fields = periodic_grf(draw_normals(range(3000), (n, n, 2), seed=0))
    expected = (periodic_spectrum(n) ** 2).sum() / n**4
    energy = (fields**2).mean((1, 2))
    assert abs(energy.mean() - expected) < 4 * energy.std() / 3000**0.5
    assert np.abs(fields.mean((1, 2))).max() < 1e-14


def test_the_published_std_is_that_of_the_law():
    """Released fields: 0.26211 at 128²; the law's own at any finer grid."""
    assert abs((periodic_spectrum(128) ** 2).sum() ** 0.5 / 128**2 - 0.26211) < 5e-4


def test_symmetries_are_distinct():
    pde = make(n=8)
    state = pde.generate([0], seed=0)
    seen = [move(state) for move in pde.symmetries()]
    assert len(seen) == 16
    assert all((a - b).abs().max() > 0 for i, a in enumerate(seen) for b in seen[:i])


def test_labels_name_the_arm_and_what_differs():
    assert make().label == "navier_stokes-space_time-32"
    assert make(arm="end_points", horizon=10.0, n=64).label == "navier_stokes-end_points-horizon10-64"


@pytest.mark.parametrize("options", [{"nu": 0.0}, {"horizon": -1.0}, {"dt": 0.0}, {"snapshots": 1}, {"n": 3}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(UserError):
        make(**options)


def test_unknown_arms_are_offered_the_nearest():
    with pytest.raises(UnknownName, match="end_points"):
        make(arm="endpoints")


def test_steps_that_are_too_long_name_the_sample():
    pde = make(n=8, horizon=500.0, snapshots=2)
    state = pde.draw([0, 1], seed=0)
    state[0] = 0
    with pytest.raises(UserError, match="sample 1 did not converge with time step 500"):
        make(n=8, horizon=500.0, snapshots=2, forcing=0.0).solve(20 * state)
