"""The Gaussian prior against linear algebra on full covariance matrices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import KeyedNoise
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior, principal_directions

SHAPE = (2, 3, 3)
SIZE = 18


def make_prior(rest: float, rank: int = 7) -> GaussianPrior:
    source = torch.Generator().manual_seed(rank)
    basis = torch.linalg.qr(torch.randn(SIZE, rank, generator=source, dtype=torch.float64)).Q
    std = torch.rand(rank, generator=source, dtype=torch.float64) + 0.1
    return GaussianPrior(torch.randn(SHAPE, generator=source, dtype=torch.float64), basis, std, rest)


def covariance(prior: GaussianPrior) -> torch.Tensor:
    inside = prior.directions @ prior.directions.T
    along = prior.directions @ prior.std.square().diag() @ prior.directions.T
    return along + prior.rest**2 * (torch.eye(SIZE, dtype=torch.float64) - inside)


def states(count: int = 4) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(sigma=st.floats(1e-3, 1e3), rest=st.sampled_from([0.0, 0.2, 3.0]), rank=st.integers(1, 12))
def test_denoiser_is_the_posterior_mean(sigma, rest, rank):
    prior, x = make_prior(rest, rank), states()
    total = covariance(prior) + sigma**2 * torch.eye(SIZE, dtype=torch.float64)
    gain = torch.linalg.solve(total, covariance(prior))
    expected = prior.mean + ((x - prior.mean).flatten(1) @ gain).reshape(x.shape)
    assert torch.allclose(prior(x, sigma), expected, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(t=st.floats(0.01, 0.99), rest=st.sampled_from([0.0, 0.2]))
def test_velocity_and_score_agree_with_the_denoiser(t, rest):
    prior, x = make_prior(rest), states()
    assert torch.allclose(prior.velocity(x, t), Denoiser.velocity(prior, x, t), rtol=1e-8, atol=1e-8)
    assert torch.allclose(prior.score(x, t, 1 - t), Denoiser.score(prior, x, t, 1 - t), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("rest", [0.0, 0.2])
def test_velocity_is_regular_at_both_ends(rest):
    prior = make_prior(rest)
    on_support = prior.sample(KeyedNoise([(i,) for i in range(4)]))
    assert torch.allclose(prior.velocity(states(), 0.0), prior.mean - states())
    # x1 stays, the flow arrives from x_t = (1 - t) 0 + t x1 with E[x1 - eps | x1] = x1
    assert torch.allclose(prior.velocity(on_support, 1.0), on_support, atol=1e-12)


def test_ends_of_sigma():
    prior = make_prior(0.0)
    on_support = prior.sample(KeyedNoise([(i,) for i in range(4)]))
    assert torch.allclose(prior(on_support, 0.0), on_support, atol=1e-12)
    assert torch.equal(prior(states(), torch.inf), prior.mean.expand(4, *SHAPE))


def test_transport_follows_the_probability_flow():
    prior, z, sigma, step = make_prior(0.3), states(), 0.7, 1e-5
    slope = (prior.transport(z, sigma + step) - prior.transport(z, sigma - step)) / (2 * step)
    x = prior.transport(z, sigma)
    assert torch.allclose(slope, (x - prior(x, sigma)) / sigma, atol=1e-8)


def test_answers_in_the_dtype_of_the_state():
    prior, x = make_prior(0.1), states()
    single = prior(x.float(), 0.5)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), prior(x, 0.5), atol=1e-5)


def covariance_of(directions: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return directions @ std.square().diag() @ directions.T


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 100), dead=st.booleans())
def test_principal_directions_of_orthogonal_groups_in_any_order(sizes, seed, dead):
    source = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=source, dtype=torch.float64)).Q
    mixed = [torch.randn(size, size, generator=source, dtype=torch.float64) for size in sizes]
    columns = torch.block_diag(*mixed) @ basis[: sum(sizes)]
    columns = torch.cat([columns, 0 * columns[:1]]) if dead else columns
    columns = columns[torch.randperm(len(columns), generator=source)]
    directions, std = principal_directions(columns)
    assert torch.allclose(covariance_of(directions, std), columns.T @ columns, atol=1e-10)
    assert torch.allclose(directions.T @ directions, torch.eye(len(std), dtype=torch.float64), atol=1e-10)
    assert bool((std.diff() <= 0).all())


def test_a_degenerate_direction_is_left_out():
    row = torch.randn(1, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    directions, std = principal_directions(torch.cat([row, 2 * row]))
    assert directions.shape == (SIZE, 1)
    assert float(std[0]) == pytest.approx(float(row.norm()) * 5**0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poisson", "helmholtz"])
def test_states_of_the_exact_prior_at_64_squared_meet_the_equation(name):
    pde = make_pde(name, {"n": 64})
    data = pde.generate(range(200), seed=0)
    codec = Codec.fit(pde, data, power=1)
    prior = GaussianPrior.of_pde(pde, codec)
    drawn = codec.decode(prior.sample(KeyedNoise([(i,) for i in range(8)])))
    assert float(pde.residual(drawn)["interior"].abs().max()) < 1e-9 * term_scale(pde, data)
    assert torch.allclose(prior(codec.encode(data[:8]), 1e-9), codec.encode(data[:8]), atol=1e-6)


@pytest.mark.parametrize("name", ["poisson", "helmholtz"])
def test_prior_of_an_affine_pde_is_the_law_of_its_data(name):
    pde = make_pde(name, {"n": 8})
    data = pde.generate(range(4000), seed=0)
    codec = Codec.fit(pde, data, power=1)
    prior = GaussianPrior.of_pde(pde, codec)
    drawn = codec.decode(prior.sample(KeyedNoise([(i,) for i in range(200)])))
    largest = max(float(term.abs().max()) for term in pde.terms(drawn).values())
    assert float(pde.residual(drawn)["interior"].abs().max()) < 1e-10 * largest
    encoded = codec.encode(data).flatten(1)
    whitened = (encoded - prior.mean.flatten()) @ prior.directions / prior.std
    assert float((whitened.T @ whitened / len(data) - torch.eye(len(prior.std))).abs().max()) < 0.15
    off = encoded - prior.mean.flatten() - (whitened * prior.std) @ prior.directions.T
    assert float(off.abs().max()) < 1e-9


def test_pde_without_a_gaussian_law_is_refused():
    pde = make_pde("darcy", {"n": 8})
    codec = Codec(pde, shift=[0.0, 0.0], scale=[1.0, 1.0])
    with pytest.raises(UserError, match="network prior"):
        GaussianPrior.of_pde(pde, codec)
