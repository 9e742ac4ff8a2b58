"""Coefficient laws: spectrum, streams, symmetry, and the statistics of the released DiffusionPDE data."""

from math import pi

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde
from pdes._grf import draw_normals, grf_coefficients, grf_field, periodic_profile, sample_grf


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 21), st.floats(1.2, 3.0), st.floats(1.0, 8.0))
def test_the_transform_is_orthonormal_and_has_no_mean(n, alpha, tau):
    coefficients = grf_coefficients(np.random.default_rng(n).standard_normal((3, n, n)), alpha=alpha, tau=tau)
    field = grf_field(coefficients)
    assert np.allclose((field**2).sum((1, 2)), (coefficients**2).sum((1, 2)), rtol=1e-12)
    assert np.abs(field.mean((1, 2))).max() < 1e-12 * np.abs(field).max()


def test_one_mode_is_a_cosine_on_cell_centres_whatever_the_grid():
    for n in (8, 13):
        noise = np.zeros((1, n, n))
        noise[0, 1, 2] = 1.0
        x = (np.arange(n) + 0.5) / n
        wave = 2 * np.outer(np.cos(pi * x), np.cos(2 * pi * x)) * 3 / (5 * pi**2 + 9)
        assert np.allclose(grf_field(grf_coefficients(noise, alpha=2.0, tau=3.0))[0], wave, atol=1e-14)


def test_entries_come_from_their_own_streams():
    together = draw_normals([4, 0, 7], (5, 5), seed=11)
    assert np.array_equal(together[1:], draw_normals([0, 7], (5, 5), seed=11))
    assert not np.array_equal(together, draw_normals([4, 0, 7], (5, 5), seed=12))
    assert abs(np.corrcoef(draw_normals([0, 1], (4000,), seed=0))[0, 1]) < 0.1


@pytest.mark.parametrize(("indices", "seed"), [([-1], 0), ([0], -3)])
def test_negative_keys_are_refused(indices, seed):
    with pytest.raises(UserError, match="negative"):
        draw_normals(indices, (2,), seed=seed)


def test_the_law_is_invariant_under_the_squares_symmetries():
    """Covariances of the field and of its images agree exactly: the factor's products do."""
    pde = make_pde("poisson", {"n": 6})
    factor = pde.state_factor()
    covariance = torch.einsum("ri,rj->ij", *[factor[:, 0].flatten(1)] * 2)
    for move in pde.symmetries():
        moved = move(factor)[:, 0].flatten(1)
        assert torch.allclose(moved.T @ moved, covariance, rtol=0, atol=1e-12 * float(covariance.max()))


def test_the_factor_has_the_covariance_of_the_draws():
    pde, count = make_pde("helmholtz", {"n": 6}), 6000
    factor = pde.state_factor()[:, 0].flatten(1)
    draws = pde.draw(range(count), seed=5)[:, 0].flatten(1)
    exact, found = factor.T @ factor, draws.T @ draws / count
    assert (found - exact).abs().max() < 6 * exact.diagonal().max() * (2 / count) ** 0.5


def test_two_valued_and_lognormal_coefficients():
    for law, expected in (("two_valued", None), ("lognormal", np.exp(sample_grf(range(3), 9, seed=2)))):
        a = make_pde("darcy", {"n": 9, "law": law}).draw(range(3), seed=2)[:, 0]
        if expected is None:
            assert set(a.unique().tolist()) == {3.0, 12.0}
            assert np.array_equal(a.numpy() == 12.0, sample_grf(range(3), 9, seed=2) >= 0)
        else:
            assert np.allclose(a.numpy(), expected, rtol=1e-14, atol=0)  # libraries round exp differently


@pytest.mark.parametrize("modes", [3, 8])
def test_profiles_have_the_stated_variance(modes):
    xi = np.random.default_rng(0).standard_normal((2, 20000, modes))
    found = periodic_profile(xi[0], xi[1], np.array([0.0, 0.37])).var(0)
    k = 2 * pi * np.arange(1, modes + 1)
    assert np.allclose(found, (2 * 49.0**2 * (k**2 + 49) ** -2.5).sum(), rtol=0.05)


RELEASED = [  # PDE, settings, states, part, published std over all entries (the fields have mean zero)
    ("poisson", {}, 400, (slice(None), 0), 0.29195),
    ("poisson", {}, 400, (slice(None), 1), 0.0041748),
    ("helmholtz", {}, 400, (slice(None), 0), 0.28445),
    ("helmholtz", {}, 400, (slice(None), 1), 0.00428),
    ("burgers", {}, 600, (slice(None), 0, 0), 0.27367),
    ("burgers", {}, 600, (slice(None), 0), 0.20088),
    ("burgers", {"data": "continuous"}, 600, (slice(None), 0), 0.20088),
    ("navier_stokes", {"arm": "end_points"}, 60, (slice(None), 0), 0.26211),
    ("navier_stokes", {"arm": "end_points"}, 60, (slice(None), 1), 0.25613),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "count", "part", "published"), RELEASED)
def test_std_of_the_released_data_at_their_size(name, options, count, part, published):
    values = make_pde(name, {"n": 128, **options}).generate(range(count), seed=0)[part].flatten(1)
    energy = values.square().mean(1)
    std = float(energy.mean().sqrt())
    sampling = float(energy.std()) / count**0.5 / (2 * std)
    assert abs(std - published) < 4 * sampling


@pytest.mark.slow
def test_moments_of_the_released_darcy_data():
    """Released: a 7.5 and 4.5, u 5.692e-3 and 3.790e-3 (mean and std).

    Released pixels are cell centres, so their averages are integrals by the midpoint rule; nodes with
    u = 0 on the edge give integrals as sums over (n-1)² points. The released coefficient was interpolated
    by splines that overshoot, with a few outliers of u (-0.287 to 0.118, regular values 0 to 0.016);
    nodal coefficients have none.
    """
    count, n = 200, 64
    states = make_pde("darcy", {"n": n}).generate(range(count), seed=0)
    a, u = states[:, 0].flatten(1), states[:, 1].flatten(1)
    assert abs(float(a.mean()) - 7.5) < 4 * float(a.mean(1).std()) / count**0.5
    assert abs(float(a.std()) - 4.5) < 0.01
    assert float(u.min()) >= 0
    for power, published in ((1, 5.692e-3), (2, 5.692e-3**2 + 3.790e-3**2)):
        integrals = u.pow(power).sum(1) / (n - 1) ** 2
        sampling = float(integrals.std()) / count**0.5
        assert abs(float(integrals.mean()) - published) < 4 * sampling + 0.01 * published
