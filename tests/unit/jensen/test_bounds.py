"""The likelihood's gap against draws, its bounds, and the implicit equation of the regularised optimum."""

import pytest
import torch

from jensenbench.core.noise import KeyedNoise
from jensenbench.errors import UserError
from jensenbench.jensen.bounds import likelihood_gap, regularised_optimum, theorem_one, total_variance
from jensenbench.jensen.estimators.analytic import posterior
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.mixture import MixturePrior

KEYS = [("bounds", i) for i in range(6)]
MEANS = torch.tensor([[0.7, 0.7], [-0.7, 0.7], [-0.7, -0.7], [0.7, -0.7]], dtype=torch.float64)[:, :, None]


def prior() -> MixturePrior:
    return MixturePrior(MEANS, torch.tensor([4.0, 3.0, 2.0, 1.0]), 0.1)


def first(x: torch.Tensor) -> torch.Tensor:
    """The first coordinate, an affine map of a state to one datum."""
    return 2 * x[:, 0] + 1


def circle(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum(1) - 1


def noisy(sigma: float) -> torch.Tensor:
    return MEANS[[0, 1, 2, 3, 0, 1]] + sigma * KeyedNoise(KEYS)((2, 1))


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_the_expected_likelihood_is_the_mean_over_posterior_draws(sigma):
    law, values, std = posterior(prior(), noisy(sigma), sigma), torch.full((6, 1), 1.5, dtype=torch.float64), 0.5
    found = likelihood_gap(law, first, values, std)
    component = torch.multinomial(law.weights, 20000, True, generator=torch.Generator().manual_seed(0))
    z = KeyedNoise(KEYS)((20000, 2))
    draws = law.means[torch.arange(6)[:, None], component] + (z @ law.factor.flatten(1))[..., None]
    density = (
        torch.distributions.Normal(first(draws.flatten(0, 1)), std).log_prob(values[0]).exp().unflatten(0, (6, -1))
    )
    error = density.std(1) / density.shape[1] ** 0.5
    assert ((density.mean(1) - found.expected.exp()[:, None]).abs() <= 4 * error).all()
    centred = torch.distributions.Normal(first(law.mean), std).log_prob(values)[:, 0]
    assert torch.allclose(found.at_mean, centred)
    assert torch.allclose(total_variance(law), draws.var(1).sum((1, 2)), rtol=0.1)


@pytest.mark.parametrize("std", [0.05, 0.2, 1.0])
def test_the_lipschitz_bound_holds_and_the_printed_one_fails_at_small_noise(std):
    for sigma in (0.05, 0.3, 1.0, 5.0):
        law = posterior(prior(), noisy(sigma), sigma)
        found = theorem_one(law, first, first(MEANS[[0, 1, 2, 3, 0, 1]]), std)
        assert (found.gap <= found.lipschitz * (1 + 1e-12)).all()
        assert std > 0.1 or (found.gap > found.printed).any()


def test_an_affine_optimum_is_the_closed_form():
    law = GaussianPrior.isotropic((1, 3, 3), 1.0)
    mean, matrix = law(KeyedNoise(KEYS)((1, 3, 3)), 0.5), KeyedNoise([("matrix",)])((4, 9))[0]
    found = regularised_optimum(lambda x: x.flatten(1) @ matrix.T - 1, mean, 0.7)
    system = torch.eye(9, dtype=torch.float64) + 0.7 * matrix.T @ matrix
    expected = torch.linalg.solve(system, (mean.flatten(1) + 0.7 * matrix.sum(0)).T).T
    assert torch.allclose(found.flatten(1), expected, atol=1e-10)


def test_a_quadratic_optimum_meets_its_equation_and_lowers_the_residual():
    mean = prior()(noisy(1.0), 1.0)
    found = regularised_optimum(circle, mean, 0.3)
    gradient = 2 * found * circle(found)[:, None]
    assert torch.allclose(found, mean - 0.3 * gradient, atol=1e-8)
    assert (circle(found).abs() < circle(mean).abs()).all()


def test_exact_data_and_negative_weights_are_refused():
    law = posterior(prior(), noisy(1.0), 1.0)
    with pytest.raises(UserError, match="no density"):
        likelihood_gap(law, first, torch.zeros(6, 1, dtype=torch.float64), 0.0)
    with pytest.raises(UserError, match="weight = -1"):
        regularised_optimum(circle, law.mean, -1.0)
