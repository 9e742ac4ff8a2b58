"""The posterior of an empirical law against Bayes' rule, its collapse, and its own draws."""

import pytest
import torch

from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.empirical import EmpiricalPrior
from jensenbench.priors.empirical_posterior import EmpiricalPosterior

PDE = make_pde("circle", {})
STATES = PDE.generate(range(300), seed=0).double()
SCALE = STATES.transpose(0, 1).flatten(1).std(1)
CODEC = Codec(PDE, shift=(0.1, -0.2), scale=(0.7, 0.5))
PRIOR = EmpiricalPrior(CODEC.encode(STATES))


def posterior(*values: float, noise_std: float = 0.2) -> EmpiricalPosterior:
    """Given the first field of each row."""
    seen = torch.zeros(len(values), *PDE.shape, dtype=torch.float64)
    seen[:, 0] = torch.tensor(values, dtype=torch.float64).reshape(-1, *[1] * (len(PDE.shape) - 1))
    mask = torch.zeros_like(seen, dtype=torch.bool)
    mask[:, 0] = True
    return EmpiricalPosterior(
        Problem(PDE, "t", CODEC, observation=MaskObservation(mask, seen, noise_std), scale=SCALE), PRIOR
    )


def test_weights_are_those_of_bayes_rule():
    found = posterior(0.3, -0.8)
    for row, value in enumerate((0.3, -0.8)):
        density = torch.exp(-((STATES[:, 0].flatten() - value) / (0.2 * SCALE[0])).square() / 2)
        share = density / density.sum()
        mean = torch.einsum("n,n...->...", share, STATES)
        spread = torch.einsum("n,n...->...", share, (STATES - mean).square()).sqrt()
        assert torch.allclose(found.weights[row], share, rtol=1e-4)
        assert torch.allclose(found.mean[row], mean, atol=1e-5)
        assert torch.allclose(found.std[row], spread, atol=1e-5)
    assert not found.note


def test_draws_have_the_posterior_moments():
    count = 4000
    found = posterior(*[0.1] * count)
    draws = found.sample(KeyedNoise([(i,) for i in range(count)]))
    assert float(((draws.mean(0) - found.mean[0]) / found.std[0]).abs().max()) < 5 / count**0.5
    assert torch.allclose(draws.std(0), found.std[0], rtol=0.1)


def test_without_data_noise_to_speak_of_all_states_weigh_the_same():
    assert torch.allclose(posterior(0.1, noise_std=1e6).effective, torch.tensor([300.0]).double())


def test_a_posterior_of_few_states_is_unusable_and_named():
    found = posterior(0.1, 200.0)
    assert torch.isfinite(found.mean[0]).all()
    for values in (found.mean[1], found.std[1], found.sample(KeyedNoise([(0,), (1,)]))[1]):
        assert values.isnan().all()
    assert "instance 1 with" in found.note
    assert "instance 0" not in found.note


def test_exact_data_leave_no_state():
    found = posterior(0.1, noise_std=0.0)
    assert found.mean.isnan().all()
    assert "0.0 effective states" in found.note


def test_without_data_there_is_no_posterior():
    with pytest.raises(UserError, match="mask"):
        EmpiricalPosterior(Problem(PDE, "t", CODEC, scale=SCALE), PRIOR)
