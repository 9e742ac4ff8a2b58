"""Heat: closed forms, the latent diffusivity, the exact prior of the affine law, bad input."""

from itertools import pairwise
from math import pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.codec import Codec
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UnknownName, UserError
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior
from pdes._parameter_fits import fitted_ratio


def make(**options):
    return make_pde("heat", options)


@settings(max_examples=25, deadline=None)
@given(st.integers(6, 24), st.floats(1.0, 5.0), st.floats(0.0, 3.1))
def test_continuous_states_of_the_eci_law_are_its_closed_form_and_solve_finds_their_decay(n, nu, phi):
    pde = make(n=n, law="eci", data="continuous")
    t, x = pde.grid.mesh()
    row = torch.sin(x[:1] + phi)
    state = pde._evolve(row, torch.tensor([nu], dtype=torch.float64), "continuous")
    exact = torch.sin(x + phi) * torch.exp(-nu * t)
    assert (state[0, 0] - exact).abs().max() < 1e-12
    assert pde.residual(state)["initial"].abs().max() < 1e-12
    assert pde.residual(state)["interior"].abs().max() < 1e-11 * term_scale(pde, state)


@pytest.mark.parametrize("law", ["gaussian", "eci"])
def test_discrete_states_converge_to_continuous_ones_at_second_order(law):
    gaps = []
    for n in (32, 64, 128):
        own, exact = (make(n=n, law=law, nu=0.01, data=kind).generate(range(5), seed=3) for kind in DATA)
        gaps.append(float((own - exact).norm() / exact.norm()))
    assert all(2.6 < coarse / fine < 5.6 for coarse, fine in pairwise(gaps)), gaps


DATA = ("discrete", "continuous")


def test_the_fitted_diffusivity_is_the_one_that_leaves_least():
    pde = make(n=12, law="eci")
    state = pde.generate([0, 1], seed=0) + 0.1 * torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    rate, curvature = pde._slopes(state)
    best = fitted_ratio(rate, curvature)[:, None, None]
    least = (rate - best * curvature).square().sum((1, 2))
    for factor in (0.9, 1.1):
        assert (least < (rate - factor * best * curvature).square().sum((1, 2))).all()
    assert torch.allclose(pde.residual(state)["interior"].square().sum((1, 2)), least)


def test_eci_draws_are_uniform_in_phase_and_diffusivity():
    pde = make(n=8, law="eci")
    rows, nu = pde._draw(range(4000), 1)
    phase = torch.atan2(rows[:, 0], rows[:, 2])
    for values, low, high in ((phase, 0, pi), (nu, 1, 5)):
        assert values.min() >= low
        assert values.max() <= high
        share = (values - low) / (high - low)
        assert (share.sort().values - torch.arange(4000) / 4000).abs().max() < 1.7 / 4000**0.5


def test_a_state_without_curvature_is_solved_with_the_least_diffusivity():
    pde = make(n=8, law="eci")
    state = pde.draw([0], seed=0)
    flat = torch.zeros_like(state)
    assert pde.solve(flat).abs().max() == 0
    assert torch.isfinite(pde.solve(state)).all()


@pytest.mark.parametrize("data", DATA)
def test_the_gaussian_law_has_an_exact_prior_for_both_kinds_of_data(data):
    pde = make(n=8, data=data)
    states = pde.generate(range(40), seed=0)
    codec = Codec.fit(pde, states, power=1)
    x = codec.encode(states)
    assert (GaussianPrior.of_pde(pde, codec)(x, 1e-9) - x).abs().max() < 1e-6
    assert pde.exact_prior() == "gaussian"


def test_the_eci_law_has_no_exact_prior():
    pde = make(n=8, law="eci")
    assert pde.exact_prior() is None
    with pytest.raises(UserError, match="no exact"):
        GaussianPrior.of_pde(pde, Codec(pde, shift=[0.0], scale=[1.0]))


@pytest.mark.parametrize("law", ["gaussian", "eci"])
def test_solver_is_differentiable_and_symmetries_are_distinct(law):
    pde = make(n=6, law=law)
    state = pde.generate([0], seed=0)
    assert torch.autograd.gradcheck(pde.solve, state.clone().requires_grad_(), fast_mode=True, rtol=1e-4)
    seen = [move(state) for move in pde.symmetries()]
    assert len(seen) == (2 if law == "eci" else 24)
    assert all((a - b).abs().max() > 0 for i, a in enumerate(seen) for b in seen[:i])


@pytest.mark.parametrize("options", [{"nu": 0.0}, {"nu_low": 5.0}, {"n": 3}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(UserError):
        make(**options)


def test_labels_and_unknown_laws():
    assert make().label == "heat-gaussian-32"
    assert make(law="eci", data="continuous", n=16).label == "heat-eci-continuous-16"
    with pytest.raises(UnknownName, match="gaussian"):
        make(law="gausian")
