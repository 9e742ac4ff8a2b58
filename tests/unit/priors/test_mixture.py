"""The mixture prior against its one-component limit, Bayes' rule and symmetry."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.denoiser import Denoiser
from jensenbench.errors import UserError
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.mixture import MixturePrior

SHAPE = (1, 3, 3)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_prior(count: int = 3, tau: float = 0.3) -> MixturePrior:
    return MixturePrior(normal(count, *SHAPE), torch.arange(1.0, count + 1), tau)


@settings(max_examples=25, deadline=None)
@given(sigma=st.floats(1e-3, 1e3), t=st.floats(0, 1))
def test_one_component_is_a_gaussian(sigma, t):
    mixture, gauss = make_prior(1), GaussianPrior.isotropic(SHAPE, 0.3)
    x, mean = normal(4, *SHAPE, seed=1), mixture.means[0]
    assert torch.allclose(mixture(x, sigma), mean + gauss(x - mean, sigma), atol=1e-10)
    assert torch.allclose(mixture.velocity(x, t), mean + gauss.velocity(x - t * mean, t), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(t=st.floats(0.01, 0.99))
def test_velocity_and_score_agree_with_the_denoiser(t):
    prior, x = make_prior(), normal(4, *SHAPE, seed=1)
    assert torch.allclose(prior.velocity(x, t), Denoiser.velocity(prior, x, t), rtol=1e-8, atol=1e-8)
    assert torch.allclose(prior.score(x, t, 1 - t), Denoiser.score(prior, x, t, 1 - t), rtol=1e-8, atol=1e-8)


def test_denoiser_follows_from_the_density():
    """Tweedie: D = x + sigma² grad log p, with p summed over the components and differentiated by autograd."""
    prior, sigma = make_prior(), 0.8
    x = normal(4, *SHAPE, seed=1).requires_grad_()
    spread = prior.tau**2 + sigma**2
    distance = (x[:, None] - prior.means).flatten(2).square().sum(-1)
    density = torch.logsumexp(prior.log_weights - distance / (2 * spread), 1).sum()
    (gradient,) = torch.autograd.grad(density, x)
    assert torch.allclose(prior(x, sigma), x + sigma**2 * gradient, atol=1e-10)


def test_far_states_stay_finite_and_choose_the_nearest_component():
    prior = make_prior(tau=1e-3)
    x = prior.means * 1e3
    assert torch.isfinite(prior(x, 1e-3)).all()
    answer = prior(prior.means + 1e-6, 1e-3)
    assert torch.allclose(answer, prior.means, atol=1e-5)


def test_mean_at_infinite_noise():
    prior = make_prior()
    mean = torch.tensordot(prior.log_weights.exp(), prior.means, 1)
    assert torch.allclose(prior(normal(2, *SHAPE), torch.inf), mean.expand(2, *SHAPE))


def test_bad_parameters_are_refused():
    with pytest.raises(UserError, match="must be positive"):
        make_prior(tau=0.0)
    with pytest.raises(UserError, match="one weight per mean"):
        MixturePrior(normal(2, *SHAPE), torch.ones(3), 0.1)
