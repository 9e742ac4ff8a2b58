"""Exact priors obey every law of a posterior mean, and the checks catch priors that do not."""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from jensenbench.checks.prior import LAWS, PriorCase, check_prior
from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import KeyedNoise
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.backbones.build import build_backbone, find_backbone
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.mixture import MixturePrior
from jensenbench.priors.network import NetworkPrior
from jensenbench.priors.training import Trainer, TrainingData, parse_settings


@cache
def gaussian_case(name: str) -> tuple[Denoiser, Tensor]:
    pde = make_pde(name, {"n": 8})
    data = pde.generate(range(600), seed=0)
    codec = Codec.fit(pde, data[:300], power=1)
    return GaussianPrior.of_pde(pde, codec), codec.encode(data[300:])


@cache
def mixture_case() -> tuple[Denoiser, Tensor]:
    source = torch.Generator().manual_seed(0)
    means = torch.randn(4, 2, 5, 5, generator=source, dtype=torch.float64)
    prior = MixturePrior(means, torch.tensor([0.1, 0.2, 0.3, 0.4]), 0.05)
    component = torch.multinomial(prior.log_weights.exp(), 300, replacement=True, generator=source)
    noise = KeyedNoise([("mixture", i) for i in range(300)])((2, 5, 5))
    return prior, means[component] + prior.tau * noise


def exact_prior(name: str) -> tuple[Denoiser, Tensor]:
    return mixture_case() if name == "mixture" else gaussian_case(name)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", ["poisson", "helmholtz", "mixture"])
def test_exact_priors_obey(name, law):
    failures = [str(check) for check in LAWS[law](PriorCase.of(*exact_prior(name), exact=True)) if not check.passed]
    assert not failures


class Wrong(Denoiser):
    """A prior spoilt on purpose."""

    def __init__(self, inner: Denoiser):
        self.inner, self.shape, self.sigma_data = inner, inner.shape, inner.sigma_data
        self.sigma_min, self.sigma_max = inner.sigma_min, inner.sigma_max


class Shrunk(Wrong):
    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return 0.9 * self.inner.denoise(x, sigma)


class Double(Wrong):
    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.inner.denoise(x.double(), sigma.double()).double()


class Coupled(Wrong):
    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.inner.denoise(x, sigma) + 1e-3 * (x.mean(0) - x)


class Skewed(Wrong):
    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.inner.denoise(x, sigma) + 1e-3 * (torch.roll(x, 1, -1) - x)


class Identity(Wrong):
    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x


class Slow(Wrong):
    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.inner.denoise(x, sigma)

    def velocity(self, x: Tensor, t: Tensor | float) -> Tensor:
        return super().velocity(x, 0.99 * torch.as_tensor(t))


@pytest.mark.parametrize(
    ("spoil", "law", "name"),
    [
        (Shrunk, "posterior mean at sigma = 0.5", "scaling by .98 or 1.02 does not help"),
        (Shrunk, "identity as sigma -> 0", ""),
        (Double, "dtype kept", ""),
        (Coupled, "rows independent", ""),
        (Skewed, "Jacobian", "Jacobian symmetric"),
        (Slow, "flow from t = 0 to 1", ""),
        (Identity, "mean as sigma -> inf", ""),
        (Identity, "posterior mean at sigma = 2", "error orthogonal to x_t"),
    ],
)
def test_spoilt_priors_are_caught(spoil, law, name):
    prior, states = gaussian_case("poisson")
    checks = LAWS[law](PriorCase.of(spoil(prior), states, exact=True))
    failed = [check.name for check in checks if not check.passed]
    assert any(found.startswith(name) for found in failed), failed


def test_an_untrained_network_is_caught():
    _, states = gaussian_case("poisson")
    settings = find_backbone("unet").settings
    untrained = NetworkPrior(build_backbone("unet", *shape_of(states), settings), states.shape[1:])
    checks = LAWS["posterior mean at sigma = 0.5"](PriorCase.of(untrained, states, exact=False))
    failed = [check.name for check in checks if not check.passed]
    assert any(name.startswith("better than a multiple of x_t") for name in failed), failed


def shape_of(states: Tensor) -> tuple[int, tuple[int, ...]]:
    """Channels and grid, as backbones want them."""
    return states.shape[1], tuple(states.shape[2:])


def train_network(folder: Path) -> tuple[NetworkPrior, Tensor]:
    pde = make_pde("darcy", {"n": 8})
    data = pde.generate(range(1200), seed=0)
    codec = Codec.fit(pde, data[:800], power=1)
    settings, backbone = parse_settings({"steps": 400, "width": 32})
    parts = TrainingData(pde, codec, data[:800], data[800:900], "darcy")
    trainer = Trainer(settings, backbone, parts, seed=0, state_dir=folder, device=torch.device("cpu"))
    return trainer.run(), codec.encode(data[900:])


@pytest.mark.slow
def test_a_trained_network_passes_and_a_shrunk_one_does_not(tmp_path):
    prior, states = train_network(tmp_path)
    report = check_prior(prior, states, exact=False)
    assert report.passed, str(report)
    failed = [check.name for check in check_prior(Shrunk(prior), states, exact=False).failures]
    assert any(name.startswith("scaling") for name in failed), failed
    assert any(name.startswith("error orthogonal to D") for name in failed), failed
