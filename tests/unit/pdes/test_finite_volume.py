"""Finite volumes: balances, weak solutions, convergence, latent parameters, bad input of the problems with fronts."""

from itertools import pairwise
from math import pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde

NAMES = ("burgers_inviscid", "porous_medium", "stefan")
FLUX = {
    "burgers_inviscid": lambda pde, u, latent, phi: u.square() / 2 * phi.x,
    "porous_medium": lambda pde, u, latent, phi: pde.potential(u, latent) * phi.xx,
    "stefan": lambda pde, u, latent, phi: pde.potential(u, latent) * phi.xx,
}


def noisy(state, seed=0, share=0.02):
    return state + share * torch.randn(state.shape, generator=torch.Generator().manual_seed(seed), dtype=state.dtype)


class Bump:
    """φ = sin⁴(πt/T) sin⁴(πx) and its derivatives at the nodes."""

    def __init__(self, pde):
        horizon = pde.grid.axes[0].extent
        t, x = (pi * axis / extent for axis, extent in zip(pde.grid.mesh(), (horizon, 1.0), strict=True))
        in_time, in_space = t.sin() ** 4, x.sin() ** 4
        self.t = 4 * pi / horizon * t.sin() ** 3 * t.cos() * in_space
        self.x = 4 * pi * in_time * x.sin() ** 3 * x.cos()
        self.xx = pi**2 * in_time * (12 * x.sin() ** 2 * x.cos() ** 2 - 4 * in_space)


@pytest.mark.parametrize("name", NAMES)
def test_closed_forms_are_weak_solutions_and_slower_ones_are_not(name):
    """∫∫ u φ_t + F φ_x = 0 for a test function: holds at shocks and fronts of the right speed only."""
    pde = make_pde(name, {"n": 201, "data": "continuous"})
    drawn = pde.parameters(range(3), seed=1)
    u, phi = pde.closed_form(drawn), Bump(pde)
    delayed = u[:, torch.arange(201) * 4 // 5]
    wrong = [
        (v * phi.t + FLUX[name](pde, v, drawn[:, -1, None, None], phi)).sum((1, 2)).abs()
        / (u * phi.t).abs().sum((1, 2))
        for v in (u, delayed)
    ]
    assert wrong[0].max() < 4e-3
    assert (wrong[1] > 10 * wrong[0]).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_scheme_converges_to_the_weak_solution_in_the_mean(name):
    gaps = []
    for n in (17, 33, 65):
        own, exact = (make_pde(name, {"n": n, "data": data}).generate(range(6), seed=3) for data in DATA)
        gaps.append(float((own - exact).abs().mean()))
    assert all(1.55 < coarse / fine < 2.6 for coarse, fine in pairwise(gaps)), gaps


DATA = ("discrete", "continuous")


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(NAMES), st.integers(5, 20), st.integers(0, 10**6))
def test_mass_is_balanced_to_rounding_and_the_balance_is_the_sum_of_the_residual(name, n, seed):
    pde = make_pde(name, {"n": n})
    state = pde.generate([seed], seed=seed)
    assert pde.residual(state)["mass"].abs().max() < 1e-12
    state = noisy(state, seed)
    found, (dt, dx) = pde.residual(state), pde.grid.spacings
    assert torch.allclose(found["mass"], dt * dx * found["interior"].sum(2).cumsum(1), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(NAMES), st.integers(5, 30), st.integers(0, 10**6))
def test_the_latent_parameter_of_own_data_is_found(name, n, seed):
    pde = make_pde(name, {"n": n})
    latent = pde.parameters([seed], seed=0)[:, -1]
    assert (pde.fitted(pde.generate([seed], seed=0)[:, 0]) - latent).abs().max() < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_uniform_in_their_ranges(name):
    pde = make_pde(name, {"n": 8})
    for values, (low, high) in zip(pde.parameters(range(3000), seed=1).T, pde.ranges, strict=True):
        share = (values - low) / (high - low)
        assert share.min() >= 0
        assert (share.sort().values - torch.arange(3000) / 3000).abs().max() < 1.7 / 3000**0.5


@pytest.mark.parametrize("name", NAMES)
def test_projections_onto_the_declared_constraints_end_in_them_near_by(name):
    pde = make_pde(name, {"n": 10})
    state = noisy(pde.generate(range(3), seed=0))
    for constraint in pde.constraints(state):
        found = constraint.project(state)
        assert constraint.violation(found).abs().max() < 1e-9 < constraint.violation(state).abs().max()
        assert (found - state).norm() < 3 * (state - pde.generate(range(3), seed=0)).norm()


@pytest.mark.parametrize("name", NAMES)
def test_solver_and_balance_can_be_differentiated_twice(name):
    pde = make_pde(name, {"n": 5})
    state = noisy(pde.generate([0], seed=0)).requires_grad_()
    (slope,) = torch.autograd.grad(
        sum(part.square().sum() for part in pde.residual(state).values()), state, None, True, True
    )
    (bend,) = torch.autograd.grad(slope.square().sum(), state)
    assert torch.isfinite(bend).all()
    assert torch.autograd.gradcheck(pde.solve, state.detach().clamp(-1, 1).requires_grad_(), fast_mode=True, rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_impossible_settings_are_refused_by_value(data):
    name, options = data.draw(
        st.one_of(
            st.tuples(st.just("burgers_inviscid"), _reversed("p_low", "p_high", 0.0, 1.0)),
            st.tuples(st.just("burgers_inviscid"), _reversed("left_low", "left_high", 0.0, 1.0)),
            st.tuples(st.just("burgers_inviscid"), st.fixed_dictionaries({"width": st.floats(-1, 0)})),
            st.tuples(st.just("burgers_inviscid"), st.fixed_dictionaries({"left_high": st.floats(1.001, 9)})),
            st.tuples(st.just("porous_medium"), _reversed("m_low", "m_high", 1.0, 9.0)),
            st.tuples(st.just("porous_medium"), st.fixed_dictionaries({"m_low": st.floats(-3, 0.999)})),
            st.tuples(st.just("stefan"), _reversed("shock_low", "shock_high", 0.1, 0.9)),
            st.tuples(st.just("stefan"), st.fixed_dictionaries({"k": st.floats(-1, 0)})),
            st.tuples(st.just("stefan"), st.fixed_dictionaries({"horizon": st.floats(2, 9)})),
            st.tuples(st.sampled_from(NAMES), st.fixed_dictionaries({"n": st.integers(2, 3)})),
            st.tuples(st.sampled_from(NAMES), st.just({"data": "published"})),
            st.tuples(st.sampled_from(NAMES), st.fixed_dictionaries({NAN[0]: st.just(float("nan"))})),
        )
    )
    options = {NAN_OF[name] if key == NAN[0] else key: value for key, value in options.items()}
    with pytest.raises(UserError) as refused:
        make_pde(name, options)
    assert all(str(value) in str(refused.value) for value in options.values())


NAN = ("any",)
NAN_OF = {"burgers_inviscid": "width", "porous_medium": "m_low", "stefan": "k"}


def _reversed(low, high, least, most):
    ends = st.floats(least, most)
    return st.tuples(ends, ends).map(lambda pair: {low: max(pair), high: min(pair)})


def test_labels_name_what_differs_from_the_default():
    assert [make_pde(name, {"n": 16}).label for name in NAMES] == [f"{name}-16" for name in NAMES]
    assert make_pde("stefan", {"k": 2.0, "data": "continuous"}).label == "stefan-k2-continuous-32"
