"""Convection: the moved profile, what the scheme keeps and delays, the exact prior, bad input."""

from itertools import pairwise
from math import pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.codec import Codec
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior
from pdes._linear_evolution import evolve

DATA = ("discrete", "continuous")


def make(**options):
    return make_pde("convection", options)


@settings(max_examples=25, deadline=None)
@given(st.integers(7, 24), st.integers(1, 3), st.floats(-40, 40).filter(bool), st.floats(0, 6))
def test_continuous_states_are_the_moved_profile(n, k, beta, phase):
    pde = make(n=n, beta=beta, data="continuous")
    t, x = pde.grid.mesh()
    found = pde._evolve(torch.sin(k * x[:1] + phase), "continuous")[0, 0]
    assert (found - torch.sin(k * (x - beta * t) + phase)).abs().max() < 1e-11


@settings(max_examples=15, deadline=None)
@given(st.integers(7, 24), st.sampled_from(DATA), st.integers(0, 1000))
def test_rows_keep_mean_and_energy(n, data, seed):
    rows = make(n=n, modes=3, data=data).generate([seed, seed + 1], seed=0)[:, 0]
    assert rows.mean(-1).abs().max() < 1e-14
    assert torch.allclose(rows.norm(dim=-1), rows.norm(dim=-1)[:, :1].expand(2, n), rtol=1e-12)


def test_discrete_states_converge_to_continuous_ones_at_second_order():
    gaps = []
    for n in (33, 65, 129):
        own, exact = (make(n=n, beta=3.0, modes=2, data=kind).generate(range(5), seed=3) for kind in DATA)
        assert torch.equal(own[:, :, 0], exact[:, :, 0])
        gaps.append(float((own - exact).norm() / exact.norm()))
    assert all(3.6 < coarse / fine < 4.4 for coarse, fine in pairwise(gaps)), gaps


def test_the_scheme_delays_a_wave_by_a_twelfth_of_its_phase_cubed():
    """On many points in space, 64 in time: two steps of the factor itself."""
    n, beta = 64, 30.0
    phase = beta / (n - 1)
    pde = make(n=n, beta=beta)
    first, second = torch.fft.rfft(pde.generate([0], seed=0)[0, 0, :2])[:, 1]
    turned = -float(torch.angle(second / first))
    in_space = phase * (1 - (2 * pi / n) ** 2 / 6)
    assert abs(turned - (in_space - phase**3 / 12)) < phase**5 / 60


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 20), st.integers(1, 6), st.integers(0, 1000))
def test_modes_of_factor_one_stand_still(n, times, seed):
    row = torch.randn(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = evolve(row, torch.ones(1, n // 2 + 1, dtype=torch.float64), times)
    assert (rows - row[:, None]).abs().max() < 1e-14 * (1 + row.abs().max())


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("modes", [1, 3])
def test_the_law_is_gaussian_with_unit_variance_everywhere(data, modes):
    pde = make(n=9, modes=modes, data=data)
    factor = pde.state_factor().flatten(1)
    assert torch.allclose(factor.square().sum(0), torch.ones(81, dtype=torch.float64), rtol=1e-12)
    states = pde.generate(range(40), seed=0)
    codec = Codec.fit(pde, states, power=1)
    x = codec.encode(states)
    assert pde.exact_prior() == "gaussian"
    assert (GaussianPrior.of_pde(pde, codec)(x, 1e-9) - x).abs().max() < 1e-6


def test_the_solver_is_differentiable_and_symmetries_are_distinct():
    pde = make(n=6)
    state = pde.generate([0], seed=0)
    assert torch.autograd.gradcheck(pde.solve, state.clone().requires_grad_(), fast_mode=True, rtol=1e-4)
    noisy = state + torch.randn(state.shape, generator=torch.Generator().manual_seed(0))
    seen = [move(noisy) for move in pde.symmetries()]
    assert len(seen) == 12
    assert all((a - b).abs().max() > 0 for i, a in enumerate(seen) for b in seen[:i])


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([0.0, float("nan"), float("inf"), -3.0, 30.0]), st.integers(-1, 10))
def test_impossible_settings_are_refused_by_name(beta, modes):
    if beta in (-3.0, 30.0) and 1 <= modes <= 7:
        assert make(n=16, beta=beta, modes=modes).label.startswith("convection")
    else:
        with pytest.raises(UserError, match=r"(beta|modes) = "):
            make(n=16, beta=beta, modes=modes)
