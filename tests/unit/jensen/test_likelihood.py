"""The likelihood's gap on PDEs: it dies out with the noise, and both priors meet brute force and each other."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal

from jensenbench.core.codec import Codec
from jensenbench.jensen.bounds import likelihood_gap, total_variance
from jensenbench.jensen.curves import Subject
from jensenbench.jensen.estimators.analytic import posterior
from jensenbench.jensen.likelihood import Sensors, denoising_posterior, empirical_likelihood, likelihood_rows
from jensenbench.jensen.settings import JensenSettings
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.empirical import EmpiricalPrior
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.mixture import MixturePrior

SETTINGS = JensenSettings(levels=4, lowest=0.01, highest=10.0, states=8)


def subject_of(name, settings, count, power=1):
    pde = make_pde(name, settings)
    states = pde.generate(range(count), seed=0)
    clean = pde.generate(range(10**6, 10**6 + SETTINGS.states), seed=0)
    return Subject(pde, Codec.fit(pde, states, power=power), 1.0, states, clean)


def sensors_of(subject):
    return Sensors(subject, subject.train.transpose(0, 1).flatten(1).std(1), subject.clean)


def likelihood_of(law, x, sigma, sensors, std):
    at = denoising_posterior(law, x, sigma)
    found, ess = empirical_likelihood(at, sensors.of_states(law), sensors.values(std), std)
    return found, at.variance, ess


@pytest.fixture(scope="module")
def poisson():
    return subject_of("poisson", {"n": 8}, 40)


def test_the_gap_of_a_gaussian_dies_out_with_the_noise(poisson):
    """At sigma = 0 the posterior is a point; at high noise the likelihood of a mean is not a mean likelihood."""
    prior = GaussianPrior.of_pde(poisson.pde, poisson.codec)
    rows = list(likelihood_rows(poisson, SETTINGS, sensors_of(poisson).field_std, prior, "exact"))
    for noise in (0.1, 0.5):
        curve = [row for row in rows if row["law"] == "exact" and row["noise"] == noise]
        assert [row["sigma"] for row in curve] == SETTINGS.sigmas()
        assert abs(curve[0]["difference"]) < 0.01
        assert abs(curve[-1]["difference"]) > 0.1
        assert all(row["points"] == 8 and row["usable"] and row["lipschitz"] <= 1 for row in curve)


def test_closed_form_and_draws_of_a_gaussian_posterior_agree(poisson):
    prior, sensors = GaussianPrior.of_pde(poisson.pde, poisson.codec), sensors_of(poisson)
    sigma, std = 1.0, 0.5
    law = posterior(prior, poisson.noisy(sigma, SETTINGS), sigma)
    values = sensors.values(std)
    found = likelihood_gap(law, sensors.predict, values, std)
    z = torch.randn(20000, len(law.factor), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = sensors.predict((z @ law.factor.flatten(1)).unflatten(1, law.factor.shape[1:])) - sensors.predict(
        torch.zeros_like(law.factor[:1])
    )
    for mean, seen, expected in zip(sensors.predict(law.mean), values, found.expected, strict=True):
        density = Normal(mean + moved, std).log_prob(seen).sum(1).exp()
        assert (density.mean() - expected.exp()).abs() <= 4 * density.std() / len(density) ** 0.5


def test_an_empirical_law_of_the_mixture_has_its_closed_form():
    """20 000 states of the law itself: differences are of the order of their number's root."""
    toy = subject_of("mixture", {}, 20000, power=0)
    toy = replace(toy, codec=Codec(toy.pde, shift=[0.0, 0.0], scale=[1.0, 1.0]))
    sensors = sensors_of(toy)
    exact = MixturePrior.of_pde(toy.pde, toy.codec)
    for sigma in (0.3, 1.0, 5.0):
        x, law = toy.noisy(sigma, SETTINGS), posterior(exact, toy.noisy(sigma, SETTINGS), sigma)
        closed = likelihood_gap(law, sensors.predict, sensors.values(0.5), 0.5)
        found, variance, ess = likelihood_of(toy.empirical, x, sigma, sensors, 0.5)
        assert ess.min() > 50
        assert torch.allclose(found.expected, closed.expected, atol=0.15)
        assert torch.allclose(found.at_mean, closed.at_mean, rtol=0.02, atol=0.05)
        assert torch.allclose(variance, total_variance(law), rtol=0.2)


def test_the_sum_over_states_is_the_definition(poisson):
    """A handful of states, every density by itself; the mean and its spread state by state."""
    law, sensors = EmpiricalPrior(poisson.empirical.states[:5]), sensors_of(poisson)
    sigma, std = 4.0, 0.5
    x, values = poisson.noisy(sigma, SETTINGS), sensors.values(std)
    found, variance, _ = likelihood_of(law, x, sigma, sensors, std)
    states, weights = law.states.double(), law.weights(x, sigma)
    for i in range(len(x)):
        densities = [Normal(sensors.predict(s[None])[0], std).log_prob(values[i]).sum().exp() for s in states]
        assert float(found.expected[i]) == pytest.approx(math.log(weights[i] @ torch.stack(densities)))
        mean = torch.einsum("n,nchw->chw", weights[i], states)
        centred = Normal(sensors.predict(mean[None])[0], std).log_prob(values[i]).sum()
        assert torch.allclose(found.at_mean[i], centred)
        assert torch.allclose(variance[i], weights[i] @ (states - mean).flatten(1).square().sum(1))


def test_a_state_whose_prior_weight_underflows_still_counts(poisson):
    """exp(log w) of a far state is 0 in double precision; data that fit it alone bring it back."""
    law, sensors = EmpiricalPrior(poisson.empirical.states[:2]), sensors_of(poisson)
    x = law.states[:1].double()
    far = law.logits(x, 0.01)[0, 1]
    assert float(far.exp()) == 0.0
    one = Sensors(poisson, sensors.field_std, poisson.codec.decode(law.states[1:2].double()))
    found, _, _ = likelihood_of(law, x, 0.01, one, 1e-4)
    alone = Normal(one.predict(law.states[1:2].double()), 1e-4).log_prob(one.values(1e-4)).sum()
    other = Normal(one.predict(x), 1e-4).log_prob(one.values(1e-4)).sum()
    assert other < -745
    assert torch.allclose(found.expected, torch.logaddexp(alone + far, other))


def test_few_states_behind_the_data_are_said_unusable(poisson):
    rows = list(likelihood_rows(poisson, SETTINGS, sensors_of(poisson).field_std))
    assert {row["law"] for row in rows} == {"empirical"}
    assert not any(row["usable"] for row in rows if row["sigma"] < 0.1)
    assert all(row["ess"] <= 40 for row in rows)
