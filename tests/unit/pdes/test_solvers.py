"""Solvers against closed forms, residuals and gradients; labels, settings and bad input."""

from itertools import pairwise
from math import pi, sin

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.pde import Axis
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UnknownName, UserError
from jensenbench.plugins.registry import make_pde
from pdes._sine_solver import SineSolver
from pdes._tridiagonal import solve_cyclic

TORSION = 0.0736713532815  # largest value of u with -∇²u = 1 on the unit square, u = 0 on its edge (Saint-Venant)
PROBLEMS = [
    ("poisson", {}),
    ("helmholtz", {"k": 2.0}),
    ("darcy", {}),
    ("darcy", {"law": "lognormal", "faces": "harmonic"}),
    ("darcy", {"grid": "left_closed"}),
    ("darcy", {"grid": "cell"}),
    ("burgers", {}),
]


def _state(pde, coefficient):
    state = torch.zeros(len(coefficient), *pde.shape, dtype=coefficient.dtype)
    state[:, 0] = coefficient
    return state


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(PROBLEMS), st.integers(4, 19), st.integers(0, 10**6))
def test_data_solve_their_equation_on_any_grid(problem, n, seed):
    pde = make_pde(problem[0], {"n": n, **problem[1]})
    data = pde.check(pde.generate([seed, seed + 1], seed=seed))
    parts = pde.residual(data)
    assert parts["interior"].square().mean().sqrt() <= pde.floor * term_scale(pde, data)
    assert all(part.abs().max() <= pde.floor for name, part in parts.items() if name != "interior")


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.floats(0.05, 1.0), st.integers(0, 1000))
def test_cyclic_reduction_solves_periodic_systems(n, surplus, seed):
    generator = torch.Generator().manual_seed(seed)
    lower, upper, rhs = torch.randn(3, 2, n, generator=generator, dtype=torch.float64)
    diagonal = lower.abs() + upper.abs() + surplus
    x = solve_cyclic(lower, diagonal, upper, rhs)
    applied = lower * torch.roll(x, 1, -1) + diagonal * x + upper * torch.roll(x, -1, -1)
    assert (applied - rhs).abs().max() < 1e-10 * rhs.abs().max()


@pytest.mark.parametrize("n", [8, 11])
def test_the_sine_solver_divides_eigenfunctions_by_their_eigenvalue(n):
    axis = Axis("x", n)
    x = axis.coordinates[1:-1]
    wave = torch.sin(2 * pi * x)[:, None] * torch.sin(3 * pi * x)
    eigenvalue = sum(4 / axis.spacing**2 * sin(k * pi * axis.spacing / 2) ** 2 for k in (2, 3))
    assert torch.allclose(SineSolver(axis, 5.0)(wave[None])[0], wave / (5.0 - eigenvalue), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "settings", "value"), [("poisson", {}, -1.0), ("darcy", {}, 1.0), ("darcy", {"grid": "cell"}, 1.0)]
)
def test_unit_load_gives_the_torsion_constant(name, settings, value):
    pde = make_pde(name, {"n": 65, **settings})
    state = pde.solve(_state(pde, torch.full((1, 65, 65), value, dtype=torch.float64)))
    assert abs(float(state[0, 1].max()) - TORSION) < 5e-5


def test_left_closed_data_are_a_node_solution_without_its_far_edge():
    closed, node = make_pde("darcy", {"n": 12, "grid": "left_closed"}), make_pde("darcy", {"n": 13})
    data = closed.generate([0, 1], seed=4)
    a = torch.nn.functional.pad(data[:, :1], (0, 1, 0, 1), mode="replicate")[:, 0]
    assert torch.allclose(node.solve(_state(node, a))[:, 1, :-1, :-1], data[:, 1], rtol=1e-12, atol=0)
    assert float(data[:, 1, -1, 1:].abs().min()) > 0
    assert closed.grid.spacings == (1 / 12, 1 / 12)


def test_burgers_converges_to_the_cole_hopf_solution():
    errors, nu = [], 0.05
    for n in (16, 32, 64):
        pde = make_pde("burgers", {"n": n, "nu": nu})
        t, x = pde.grid.mesh()
        decay = torch.exp(-4 * pi**2 * nu * t)
        exact = 4 * pi * nu * torch.sin(2 * pi * x) * decay / (2 + torch.cos(2 * pi * x) * decay)
        state = torch.zeros(1, *pde.shape, dtype=torch.float64)
        state[0, 0, 0] = exact[0]
        errors.append(float((pde.solve(state)[0, 0] - exact).square().mean().sqrt()))
    ratios = [coarse / fine for coarse, fine in pairwise(errors)]
    assert all(3.2 < ratio < 4.8 for ratio in ratios), errors


def test_burgers_conserves_the_mean_and_damps_energy():
    data = make_pde("burgers", {"n": 24}).generate(range(5), seed=1)[:, 0]
    assert data.mean(-1).abs().max() < 1e-14
    assert (data[:, -1].norm(dim=-1) < data[:, 0].norm(dim=-1)).all()


@pytest.mark.parametrize(("name", "settings"), PROBLEMS)
def test_the_solver_is_differentiable(name, settings):
    pde = make_pde(name, {"n": 6, **settings})
    state = pde.generate([0], seed=0).requires_grad_()
    assert torch.autograd.gradcheck(pde.solve, state, fast_mode=True, rtol=1e-4)


@pytest.mark.parametrize(("name", "settings"), PROBLEMS)
def test_published_residuals_cover_the_grid(name, settings):
    pde = make_pde(name, {"n": 9, **settings})
    assert pde.schemes[:3] == ("own", "diffusionpde", "fundps")
    assert pde.residual(pde.generate([0, 1], seed=0), "diffusionpde")["interior"].shape == (2, 9, 9)


def test_darcys_published_residual_stays_near_one_on_true_states():
    """Without 1/h the flux terms almost vanish: the published residual cannot tell true states from zero."""
    pde = make_pde("darcy", {"n": 64})
    residual = pde.residual(pde.generate([0, 1], seed=0), "diffusionpde")["interior"]
    assert abs(float(residual.median()) - 1) < 1e-2


@pytest.mark.parametrize(("name", "images"), [("poisson", 16), ("helmholtz", 16), ("darcy", 8), ("burgers", 14)])
def test_symmetries_are_distinct_and_form_a_group(name, images):
    pde = make_pde(name, {"n": 7})
    maps, state = pde.symmetries(), pde.generate([0], seed=0)
    seen = [move(state) for move in maps]
    assert len(maps) == images
    assert all((a - b).abs().max() > 0 for i, a in enumerate(seen) for b in seen[:i])
    assert any(torch.equal(maps[-1](maps[-2](state)), image) for image in seen)


@pytest.mark.parametrize(
    ("name", "settings", "label"),
    [
        ("poisson", {}, "poisson-32"),
        ("helmholtz", {"n": 16}, "helmholtz-16"),
        ("helmholtz", {"k": 2.5}, "helmholtz-k2.5-32"),
        ("darcy", {}, "darcy-two_valued-32"),
        ("darcy", {"law": "lognormal", "n": 16}, "darcy-lognormal-16"),
        ("darcy", {"faces": "harmonic", "low": 0.1, "high": 1.0}, "darcy-two_valued-low0.1-high1-harmonic-32"),
        ("burgers", {"nu": 0.02}, "burgers-nu0.02-32"),
    ],
)
def test_labels_name_what_differs(name, settings, label):
    assert make_pde(name, settings).label == label


def test_resonant_wave_numbers_are_refused_with_the_value():
    make_pde("helmholtz", {"n": 64, "k": 4.44})
    with pytest.raises(UserError, match=r"k = 4\.5 .* resonance .* k = 4\.44"):
        make_pde("helmholtz", {"n": 64, "k": 4.5})
    with pytest.raises(UserError, match="zero or positive"):
        make_pde("helmholtz", {"k": -1.0})


@pytest.mark.parametrize(
    ("name", "settings"), [("burgers", {"nu": 0.0}), ("darcy", {"low": 13.0}), ("poisson", {"n": 3})]
)
def test_impossible_settings_are_refused(name, settings):
    with pytest.raises(UserError):
        make_pde(name, settings)


@pytest.mark.parametrize("settings", [{"law": "two-valued"}, {"faces": "harmonics"}, {"grid": "nodes"}, {"laws": "x"}])
def test_unknown_names_are_offered_the_nearest(settings):
    with pytest.raises(UnknownName, match="did you mean"):
        make_pde("darcy", settings)


def test_the_diffusion_solver_names_the_sample_that_it_cannot_solve(monkeypatch):
    pde = make_pde("darcy", {"n": 8})
    state = pde.generate(range(3), seed=0)
    state[1, 0, 2, 3] = -0.5
    with pytest.raises(UserError, match=r"sample 1 is not positive .*-0\.5"):
        pde.solve(state)
    monkeypatch.setattr("pdes._elliptic_solver.MAX_STEPS", 2)
    with pytest.raises(UserError, match="sample 0 did not converge in 2 steps"):
        pde.generate(range(3), seed=0)


def test_newton_names_the_sample_that_does_not_converge(monkeypatch):
    monkeypatch.setattr("pdes.burgers.NEWTON_STEPS", 1)
    with pytest.raises(UserError, match="sample 0"):
        make_pde("burgers", {"n": 8}).generate([0], seed=0)
