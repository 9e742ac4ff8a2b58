"""Data of the continuous equation: the steppers that make them, what they share with discrete data, their floors."""

from itertools import pairwise
from math import exp, expm1, pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.codec import Codec
from jensenbench.core.pde import PDE
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UnknownName
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior
from pdes._grf import cosine_interpolate, grf_field
from pdes._steppers import ETDRK4, advance
from pdes.burgers import spectral_solution

CONTINUOUS = [("poisson", {}), ("helmholtz", {"k": 2.0}), ("burgers", {})]
ROUGH = [("darcy", {}), ("darcy", {"law": "lognormal"}), ("darcy", {"grid": "left_closed", "low": 0.1, "high": 1.0})]


def _pair(name, options, n) -> tuple[PDE, PDE]:
    return make_pde(name, {"n": n, **options}), make_pde(name, {"n": n, "data": "continuous", **options})


@settings(max_examples=30, deadline=None)
@given(st.floats(-1e4, -1e-9), st.floats(-2, 2), st.floats(1e-3, 1.0))
def test_etdrk4_is_exact_for_a_constant_forcing_whatever_the_stiffness(rate, forcing, dt):
    step = ETDRK4(torch.tensor([rate], dtype=torch.float64), lambda v: torch.full_like(v, forcing), dt)
    found = step(torch.ones(1, dtype=torch.float64))
    assert abs(float(found) - (exp(rate * dt) + forcing * expm1(rate * dt) / rate)) < 1e-13 * (1 + abs(forcing))


@pytest.mark.parametrize("rate", [-1.0, -10.0])
def test_etdrk4_is_of_fourth_order(rate):
    """v' = rate v + v², a Bernoulli equation."""
    exact = 1 / ((1 / 0.5 + 1 / rate) * exp(-rate) - 1 / rate)
    errors = []
    for count in (16, 32, 64):
        step = ETDRK4(torch.tensor([rate], dtype=torch.float64), torch.square, 1 / count)
        start = torch.full((1, 1), 0.5, dtype=torch.float64)
        errors.append(abs(float(advance(step, start, frames=2, substeps=count)[0, -1]) / exact - 1))
    assert all(11 < coarse / fine < 22 for coarse, fine in pairwise(errors)), errors


def test_spectral_burgers_is_the_cole_hopf_solution():
    nu, frames, points = 0.05, 5, 64
    t, x = torch.linspace(0, 1, frames, dtype=torch.float64)[:, None], torch.arange(points).double() / points
    decay = torch.exp(-4 * pi**2 * nu * t)
    exact = 4 * pi * nu * torch.sin(2 * pi * x) * decay / (2 + torch.cos(2 * pi * x) * decay)
    assert (spectral_solution(exact[:1], nu, frames=frames)[0] - exact).abs().max() < 1e-8


def test_spectral_burgers_converges_at_fourth_order_to_a_twice_refined_run(monkeypatch):
    pde = make_pde("burgers", {"n": 16})
    profile = pde._profile(range(4), 128, 0)
    monkeypatch.setattr("pdes.burgers.STEPS_PER_POINT", 1)
    coarse, fine, finest = (spectral_solution(profile, 0.02, frames=5, refine=2**level) for level in range(3))
    assert (fine - finest).abs().max() < 1e-6
    assert 11 < float((coarse - fine).norm() / (fine - finest).norm()) < 22


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 1000))
def test_the_interpolant_passes_through_the_points_and_reproduces_cosines(n, factor, seed):
    field = torch.randn(2, n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
    positions = torch.arange(factor * n).double().numpy() / factor
    fine = cosine_interpolate(field, positions)
    assert abs(fine[:, ::factor, ::factor] - field).max() < 1e-12
    mode = torch.zeros(1, n, n, dtype=torch.float64).numpy()
    mode[0, n - 1, 1] = 1.0
    wave = torch.cos(pi * (n - 1) * (torch.from_numpy(positions)[:, None] + 0.5) / n)
    wave = wave * torch.cos(pi * (torch.from_numpy(positions) + 0.5) / n) * 2 / n
    assert abs(cosine_interpolate(grf_field(mode), positions)[0] - wave.numpy()).max() < 1e-12


@pytest.mark.parametrize(("name", "options"), CONTINUOUS + ROUGH)
def test_both_kinds_of_data_share_their_coefficients_and_their_solver(name, options):
    discrete, continuous = _pair(name, options, 12)
    own, sampled = (pde.generate([0, 3], seed=7) for pde in (discrete, continuous))
    mask = discrete.role_mask("coefficient")
    assert torch.allclose(own[:, mask], sampled[:, mask], rtol=0, atol=1e-13)
    assert torch.allclose(continuous.solve(sampled), own, rtol=1e-9, atol=1e-12)
    assert continuous.label.split("-")[-2] == "continuous" or options


@pytest.mark.parametrize(("name", "options"), CONTINUOUS)
def test_discrete_solutions_converge_to_continuous_ones_at_second_order(name, options):
    gaps = []
    for n in (17, 33, 65):
        own, sampled = (pde.generate(range(6), seed=2)[:, -1] for pde in _pair(name, options, n))
        gaps.append(float((own - sampled).norm() / own.norm()))
    assert all(2.6 < coarse / fine < 5.6 for coarse, fine in pairwise(gaps)), gaps


@pytest.mark.parametrize("n", [12, 24])
@pytest.mark.parametrize(("name", "options"), CONTINUOUS + ROUGH)
def test_the_declared_floor_of_continuous_data_bounds_theirs_closely(name, options, n):
    _, pde = _pair(name, options, n)
    states = pde.generate(range(12), seed=5)
    found = float(pde.residual(states)["interior"].square().mean().sqrt()) / term_scale(pde, states)
    assert pde.data_floor / 6 < found < pde.data_floor
    assert pde.data_floor > 1e6 * pde.floor


def test_the_gaussian_prior_of_continuous_data_holds_them():
    _, pde = _pair("helmholtz", {}, 9)
    states = pde.generate(range(50), seed=0)
    codec = Codec.fit(pde, states, power=1)
    x = codec.encode(states)
    assert (GaussianPrior.of_pde(pde, codec)(x, 1e-9) - x).abs().max() < 1e-6
    wrong = GaussianPrior.of_pde(make_pde("helmholtz", {"n": 9}), codec)
    assert (wrong(x, 1e-9) - x).abs().max() > 1e-3


def test_unknown_kinds_of_data_are_refused():
    with pytest.raises(UnknownName, match="continuous"):
        make_pde("burgers", {"data": "continous"})
