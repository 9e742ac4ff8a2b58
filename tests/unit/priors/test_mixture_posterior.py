"""The posterior of a mixture against quadrature, its limits, and its own draws."""

import pytest
import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.mixture import MixturePrior
from jensenbench.priors.mixture_posterior import MixturePosterior

PDE = make_pde("mixture", {})
STATES = PDE.generate(range(200), seed=0)
SCALE = STATES.transpose(0, 1).flatten(1).std(1)
CODEC = Codec(PDE, shift=(0.1, -0.2), scale=(0.7, 0.7))
PRIOR = MixturePrior.of_pde(PDE, CODEC)


def posterior(values: Tensor, noise_std: float) -> MixturePosterior:
    """Given the first field of each row."""
    mask = torch.zeros(len(values), *PDE.shape, dtype=torch.bool)
    mask[:, 0] = True
    seen = torch.where(mask, values.reshape(-1, 1, *[1] * (len(PDE.shape) - 1)), 0.0)
    data = MaskObservation(mask, seen, noise_std)
    return MixturePosterior(Problem(PDE, "t", CODEC, observation=data, scale=SCALE), PRIOR)


@pytest.mark.parametrize("noise_std", [0.05, 0.5])
def test_moments_are_those_of_quadrature(noise_std):
    values = torch.tensor([0.3, -0.8], dtype=torch.float64)
    found = posterior(values, noise_std)
    means, weights, width = PDE.mixture()
    line = torch.linspace(-2.5, 2.5, 1501, dtype=torch.float64)
    x, y = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([x, y], -1).reshape(-1, 1, 2)
    density = (weights * torch.exp(-(points - means.flatten(1)).square().sum(-1) / (2 * width**2))).sum(-1)
    for row, value in enumerate(values):
        seen = density * torch.exp(-((points[:, 0, 0] - value) / (noise_std * SCALE[0])).square() / 2)
        shares = seen / seen.sum()
        mean = shares @ points[:, 0]
        std = (shares @ (points[:, 0] - mean).square()).sqrt()
        assert torch.allclose(found.mean[row].flatten(), mean, atol=1e-5)
        assert torch.allclose(found.std[row].flatten(), std, atol=1e-5)


def test_exact_data_are_met_exactly():
    found = posterior(torch.tensor([0.3]), 0.0)
    draws = found.sample(KeyedNoise([(0,)]))
    assert float(draws[0, 0]) == pytest.approx(0.3)
    assert float(found.std[0, 0]) == 0


def test_draws_have_the_posterior_moments():
    count = 4000
    found = posterior(torch.full((count,), 0.1, dtype=torch.float64), 0.3)
    draws = found.sample(KeyedNoise([(i,) for i in range(count)]))
    assert float(((draws.mean(0) - found.mean[0]) / found.std[0]).abs().max()) < 5 / count**0.5
    assert torch.allclose(draws.std(0), found.std[0], rtol=0.1)


def test_without_data_there_is_no_posterior():
    with pytest.raises(UserError, match="mask"):
        MixturePosterior(Problem(PDE, "t", CODEC, scale=SCALE), PRIOR)
