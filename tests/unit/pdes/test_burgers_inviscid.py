"""Inviscid Burgers: shock speed, entropy, rarefaction, Godunov's flux, bounds, the time step's limit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde
from pdes.burgers_inviscid import entropy_solution, godunov_flux

unit = st.floats(0, 1)


def make(n):
    return make_pde("burgers_inviscid", {"n": n})


def rows(seed, n):
    """A random row in [-1, 1] and an inflow in [0, 1]."""
    stream = torch.Generator().manual_seed(seed)
    row = 2 * torch.rand(1, n, generator=stream, dtype=torch.float64) - 1
    return row, torch.rand(1, generator=stream, dtype=torch.float64)


@settings(max_examples=100, deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_the_flux_is_the_extreme_one_between_the_two_states(left, right):
    """Osher's form of Godunov's flux: the least between left <= right, the largest between left > right."""
    between = (torch.linspace(left, right, 2001, dtype=torch.float64)).square() / 2
    expected = between.min() if left <= right else between.max()
    found = godunov_flux(*(torch.tensor(value, dtype=torch.float64) for value in (left, right)))
    assert abs(found - expected) < 1e-6


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 1.0), unit)
def test_discrete_shocks_move_at_the_speed_of_rankine_and_hugoniot(left, share):
    pde, right = make(81), share * (left - 0.2)
    t, x = (axis.coordinates for axis in pde.grid.axes)
    row = torch.where(x < 0.1, left, right)[None].double()
    u = pde.march(row, torch.tensor([left], dtype=torch.float64))[0]
    behind = (u > (left + right) / 2).sum(1) * x[1]
    assert (behind - (0.1 + (left + right) / 2 * t)).abs().max() < 2 * x[1]


@settings(max_examples=25, deadline=None)
@given(st.floats(0.2, 0.5), unit, st.floats(0.1, 0.9), st.floats(0.005, 0.02))
def test_the_entropy_solution_has_shock_fan_and_inflow_where_theory_has_them(p, left, t, width):
    """Shock at p + t/2 until the head of the fan, x = t, arrives; fan u = x/t; inflow up to x = left t."""
    x = torch.linspace(0, 1, 501, dtype=torch.float64)
    u = entropy_solution(*(torch.tensor(value, dtype=torch.float64) for value in (t,)), x, *tensors(p, left), width)
    assert (u.diff() / x[1] <= 1 / t + 1e-6).all(), "Oleinik's condition: no jump upwards"
    before = x < min(0.9 * t, p - 20 * width)
    assert torch.allclose(u[before], torch.maximum(x[before] / t, torch.tensor(left).double()), atol=1e-3)
    if 4 * width < t < 1.8 * p:
        shock = p + t / 2
        sides = entropy_solution(
            tensors(t)[0], *tensors(torch.tensor([shock - 1e-6, shock + 1e-6])), *tensors(p, left), width
        )
        assert abs(sides.mean() - 0.5) < 1e-3
        assert sides[0] - sides[1] > 0.1 * (1 - 4 * width / t)


def tensors(*values):
    return [torch.as_tensor(value, dtype=torch.float64) for value in values]


@settings(max_examples=25, deadline=None)
@given(st.floats(0.3, 0.7), st.floats(0.1, 3.9))
def test_before_the_front_breaks_the_profile_is_carried_along_its_characteristics(p, age):
    width, x = 0.02, torch.linspace(0.2, 0.9, 200, dtype=torch.float64)
    t = age * width
    u = entropy_solution(*tensors(t), x, *tensors(p, 1.0), width)
    assert (u - torch.sigmoid((p - (x - u * t)) / width)).abs().max() < 1e-9


def test_the_mass_of_the_entropy_solution_grows_by_the_inflow():
    x = torch.linspace(0, 1, 4001, dtype=torch.float64)
    for p, left, t in ((0.25, 0.8, 0.7), (0.5, 0.3, 0.6), (0.3, 0.0, 1.0)):
        u = entropy_solution(*tensors(t), x, *tensors(p, left), 0.02)
        assert abs(torch.trapezoid(u, x) - (p + left**2 / 2 * t)) < 1e-3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 30))
def test_every_cell_loses_entropy_and_values_stay_within_their_bounds(seed, n):
    """η(u⁺) - η(u) + dt/h (Q⁺ - Q⁻) <= 0, η = u²/2, Q = v³/3 at the interface value v, v²/2 = F."""
    row, left = rows(seed, n)
    u = make(n).march(row, left)
    flux = godunov_flux(u[:, :-1, :-1], u[:, :-1, 1:])
    forward = u[:, :-1, :-1].clamp(min=0).square() / 2 >= flux
    through = (2 * flux).sqrt() ** 3 / 3 * torch.where(forward, 1, -1)
    produced = (u[:, :, 1:-1].square() / 2).diff(dim=1) + through.diff(dim=2)
    assert produced.max() < 1e-12
    low, high = min(float(row.min()), float(left)), max(float(row.max()), float(left))
    assert low - 1e-12 <= float(u.min()) <= float(u.max()) <= high + 1e-12


def test_a_row_too_fast_for_the_time_step_is_refused_with_its_number():
    pde = make(9)
    state = pde.generate(range(3), seed=0)
    state[1, 0, 0, 4] = -1.5
    with pytest.raises(UserError, match=r"sample 1 .*1\.5"):
        pde.solve(state)
