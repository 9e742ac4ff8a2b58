"""Toys in one dimension, darcy_1d and burgers_1d: closed forms, their field, fine data, bad input."""

from itertools import pairwise
from math import log, pi

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.data.dataset import term_scale
from jensenbench.errors import UnknownName, UserError
from jensenbench.plugins.registry import load_pde, make_pde
from pdes._interval import cosine_field

PROBLEMS = [
    ("darcy_1d", {}),
    ("darcy_1d", {"law": "two_valued", "faces": "harmonic"}),
    ("burgers_1d", {}),
    ("burgers_1d", {"nu": 0.2}),
]


GRIDS = [(name, options, n) for name, options in PROBLEMS for n in range(load_pde(name).least_n, 71)]


def solved(name, n, coefficient, **options):
    pde = make_pde(name, {"n": n, **options})
    x = pde.grid.axes[0].coordinates
    state = torch.stack([coefficient(x), torch.zeros_like(x)])[None]
    return x, pde.solve(state)[0, 1]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(GRIDS), st.integers(0, 10**6))
def test_data_solve_their_equation_on_any_grid(problem, seed):
    name, options, n = problem
    pde = make_pde(name, {"n": n, **options})
    data = pde.check(pde.generate([seed, seed + 1], seed=seed))
    assert pde.residual(data)["interior"].square().mean().sqrt() <= pde.floor * term_scale(pde, data)
    assert pde.residual(data)["boundary"].abs().max() == 0


@settings(max_examples=20, deadline=None)
@given(
    st.integers(4, 30),
    st.floats(0.1, 20),
    st.floats(-3, 3, allow_subnormal=False).filter(bool),
    st.sampled_from(["arithmetic", "harmonic"]),
)
def test_constant_coefficients_give_the_parabola(n, a, source, faces):
    x, u = solved("darcy_1d", n, lambda x: torch.full_like(x, a), source=source, faces=faces)
    assert (u - source / (2 * a) * x * (1 - x)).abs().max() <= 1e-12 * abs(source) / a


@pytest.mark.parametrize("faces", ["arithmetic", "harmonic"])
def test_darcy_converges_to_a_closed_form_at_second_order(faces):
    """a = 1 + x: u = ln(1 + x)/ln 2 - x."""
    errors = []
    for n in (17, 33, 65):
        x, u = solved("darcy_1d", n, lambda x: 1 + x, faces=faces)
        errors.append(float((u - torch.log(1 + x) / log(2) + x).abs().max()))
    assert all(3.6 < coarse / fine < 4.4 for coarse, fine in pairwise(errors)), errors


@pytest.mark.parametrize("nu", [0.05, 0.5])
def test_burgers_converges_to_a_closed_form_at_second_order(nu):
    """f of the solution u = sin πx."""
    errors = []
    for n in (33, 65, 129):
        x, u = solved("burgers_1d", n, lambda x: pi * torch.sin(pi * x) * (torch.cos(pi * x) + nu * pi), nu=nu)
        errors.append(float((u - torch.sin(pi * x)).abs().max()))
    assert all(3.5 < coarse / fine < 4.6 for coarse, fine in pairwise(errors)), errors


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([grid for grid in GRIDS if grid[2] <= 20]), st.integers(0, 1000))
def test_fine_data_share_the_coefficient(problem, seed):
    name, options, n = problem
    own, fine = (make_pde(name, {"n": n, "data": kind, **options}) for kind in ("discrete", "continuous"))
    gap = (own.generate([seed], seed=0) - fine.generate([seed], seed=0)).abs()
    assert gap[:, 0].max() < 1e-12
    assert gap[:, 1].max() > 1e-6


@pytest.mark.parametrize(("name", "options"), [PROBLEMS[0], PROBLEMS[2]])
def test_discrete_data_converge_to_fine_ones(name, options):
    gaps = []
    for n in (17, 33, 65):
        own, fine = (
            make_pde(name, {"n": n, "data": kind, **options}).generate(range(20), seed=2)[:, 1]
            for kind in ("discrete", "continuous")
        )
        gaps.append(float((own - fine).norm() / fine.norm()))
    assert all(coarse / fine > 2.5 for coarse, fine in pairwise(gaps)), gaps


@pytest.mark.parametrize("modes", [3, 40])
def test_the_field_has_the_stated_variance_and_is_even_at_both_ends(modes):
    field = cosine_field(np.random.default_rng(0).standard_normal((20000, modes)), 401)
    k, x = pi * torch.arange(1, modes + 1), torch.linspace(0, 1, 401, dtype=torch.float64)
    exact = (54 / (k**2 + 9).double().square() * torch.cos(k * x[:, None]).square()).sum(1)
    assert torch.allclose(field.var(0), exact, rtol=0.06)
    if modes == 3:
        assert (field[:, 1] - field[:, 0]).abs().max() < 0.02 * field.abs().max()


def test_two_levels_and_their_exponential_come_from_one_field():
    lognormal, levels = (make_pde("darcy_1d", {"law": law}).draw(range(5), seed=3)[:, 0] for law in LAWS)
    assert set(levels.unique().tolist()) == {3.0, 12.0}
    assert torch.equal(levels == 12.0, lognormal >= 1.0)


LAWS = ("lognormal", "two_valued")


@pytest.mark.parametrize(("name", "options"), PROBLEMS)
def test_solver_and_symmetries(name, options):
    pde = make_pde(name, {"n": 7, **options})
    state = pde.generate([0], seed=0)
    mirrored = pde.symmetries()[1](state)
    assert torch.allclose(pde.solve(mirrored), mirrored, rtol=1e-12, atol=1e-15)
    assert torch.autograd.gradcheck(pde.solve, state.requires_grad_(), fast_mode=True, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.floats(-2, 20), st.floats(-2, 20))
def test_levels_must_be_positive_and_ordered(low, high):
    if 0 < low < high:
        assert make_pde("darcy_1d", {"low": low, "high": high}).config.high == high
    else:
        with pytest.raises(UserError, match=r"darcy_1d: levels low = .* high = "):
            make_pde("darcy_1d", {"low": low, "high": high})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("darcy_1d", {"source": 0.0}, "source = 0"),
        ("burgers_1d", {"nu": 0.0}, "nu = 0"),
        ("burgers_1d", {"nu": float("nan")}, "nu = nan"),
        ("burgers_1d", {"n": 3}, "n = 3"),
    ],
)
def test_impossible_settings_are_refused_by_name(name, options, message):
    with pytest.raises(UserError, match=message):
        make_pde(name, options)


@pytest.mark.parametrize("options", [{"law": "log_normal"}, {"faces": "harmonics"}])
def test_unknown_names_are_offered_the_nearest(options):
    with pytest.raises(UnknownName, match="did you mean"):
        make_pde("darcy_1d", options)


def test_states_that_cannot_be_solved_are_named(monkeypatch):
    darcy, burgers = make_pde("darcy_1d", {"n": 8}), make_pde("burgers_1d", {"n": 8})
    state = darcy.generate(range(3), seed=0)
    state[2, 0, 4] = -0.25
    with pytest.raises(UserError, match=r"sample 2 is not positive.*-0\.25"):
        darcy.solve(state)
    monkeypatch.setattr("pdes.burgers_1d.NEWTON_STEPS", 1)
    with pytest.raises(UserError, match="sample 0"):
        burgers.generate([0], seed=0)


def test_labels():
    assert make_pde("darcy_1d", {}).label == "darcy_1d-lognormal-64"
    assert make_pde("burgers_1d", {"nu": 0.1, "n": 16}).label == "burgers_1d-nu0.1-16"
