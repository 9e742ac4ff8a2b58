"""The empirical prior against Bayes' rule, its limits, and the suite's laws of a posterior mean."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.checks.prior import check_prior
from jensenbench.errors import UserError
from jensenbench.numerics.random import generator_of
from jensenbench.priors import empirical
from jensenbench.priors.empirical import EmpiricalPrior, effective_states

SHAPE = (2, 3, 3)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator_of((seed,)), dtype=torch.float64)


def make_prior(count: int = 7) -> EmpiricalPrior:
    return EmpiricalPrior(normal(count, *SHAPE))


@settings(max_examples=25, deadline=None)
@given(sigma=st.floats(0.3, 100))
def test_denoiser_is_the_posterior_mean_of_bayes_rule(sigma):
    prior, x = make_prior(), normal(4, *SHAPE, seed=1)
    states = prior.states.double()
    likelihood = torch.exp(-(x[:, None] - states).flatten(2).square().sum(2) / (2 * sigma**2))
    expected = torch.einsum("bn,n...->b...", likelihood / likelihood.sum(1, keepdim=True), states)
    assert torch.allclose(prior(x, sigma), expected, rtol=1e-6, atol=1e-9)


def test_chunks_do_not_change_the_answer(monkeypatch):
    prior, x = make_prior(), normal(4, *SHAPE, seed=1)
    whole = prior(x, 0.7)
    monkeypatch.setattr(empirical, "CHUNK", 2 * 18)
    assert torch.allclose(prior(x, 0.7), whole, rtol=1e-14)


def test_the_nearest_state_without_noise_and_the_mean_with_infinite_noise():
    prior, x = make_prior(), normal(4, *SHAPE, seed=1)
    nearest = (x[:, None] - prior.states).flatten(2).norm(dim=2).argmin(1)
    assert torch.equal(prior(x, 0.0), prior.states[nearest].double())
    assert torch.allclose(prior(x, torch.inf), prior.states.double().mean(0).expand_as(x))


def test_weights_are_normalised_and_collapse_without_underflow():
    prior = make_prior()
    for sigma in (1e-8, 1e-3, 1.0, 1e6):
        weights = prior.weights(1e3 * normal(4, *SHAPE, seed=1), sigma)
        assert torch.allclose(weights.sum(1), torch.ones(4, dtype=torch.float64))
        assert (effective_states(weights) >= 1 - 1e-12).all()
    assert torch.allclose(effective_states(prior.weights(normal(1, *SHAPE), 1e9)), torch.tensor(7.0).double())


def test_it_passes_the_laws_of_a_posterior_mean_on_its_own_states():
    prior = EmpiricalPrior(normal(200, 2, 1, 1))  # dense enough for a posterior that has not collapsed at any level
    report = check_prior(prior, prior.states.double(), exact=True)
    assert report.passed, str(report)


def test_it_comes_back_from_its_tensors_and_takes_a_part():
    prior, x = make_prior(), normal(4, *SHAPE, seed=1)
    assert torch.equal(EmpiricalPrior.from_tensors(prior.tensors())(x, 0.4), prior(x, 0.4))
    assert torch.equal(prior.first(3)(x, 0.4), EmpiricalPrior(normal(7, *SHAPE)[:3])(x, 0.4))


def test_one_state_and_too_many_are_refused():
    with pytest.raises(UserError, match="N = 1"):
        EmpiricalPrior(normal(1, *SHAPE))
    with pytest.raises(UserError, match="there are 7"):
        make_prior().first(8)
