"""The network prior: preconditioning, dtypes, sizes."""

import pytest
import torch
from torch import Tensor, nn

from jensenbench.errors import UnknownName, UserError
from jensenbench.priors.backbones.build import UNetSettings, build_backbone
from jensenbench.priors.network import NetworkPrior


class Recorder(nn.Module):
    """A backbone that remembers what it was asked and answers with a constant."""

    def __init__(self, answer: float = 0.0):
        super().__init__()
        self.answer, self.calls = answer, []

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        self.calls.append((x, label))
        return torch.full_like(x, self.answer)


def states(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_network_sees_unit_variance_and_a_quarter_of_log_sigma():
    backbone = Recorder()
    prior = NetworkPrior(backbone, (1, 64, 64))
    clean = 0.5 * states(4, 1, 64, 64)
    for sigma in (0.01, 0.5, 50.0):
        prior(clean + sigma * states(4, 1, 64, 64).flip(0), sigma)
        inputs, label = backbone.calls[-1]
        assert inputs.dtype == torch.float32
        assert float(inputs.std()) == pytest.approx(1, abs=0.03)
        assert torch.allclose(label, torch.full((4,), sigma).log() / 4)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 20.0])
def test_a_silent_network_is_the_best_linear_denoiser(sigma):
    x = states(2, 1, 4, 4)
    answer = NetworkPrior(Recorder(), (1, 4, 4))(x, sigma)
    assert torch.allclose(answer, x * 0.25 / (0.25 + sigma**2), atol=1e-12)


def test_the_error_of_the_network_vanishes_with_sigma():
    x, prior = states(2, 1, 4, 4), NetworkPrior(Recorder(answer=1.0), (1, 4, 4))
    assert float((prior(x, 0.0) - x).abs().max()) < 2 * prior.sigma_min
    assert torch.equal(prior(x, 0.0), prior(x, prior.sigma_min))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2, 16, 16), (1, 9, 9), (2, 7, 10)])
def test_backbone_keeps_shape_and_dtype(shape, dtype):
    prior = NetworkPrior(build_backbone("unet", shape[0], shape[1:], UNetSettings(width=8)), shape)
    x = states(3, *shape).to(dtype)
    answer = prior(x, torch.tensor([0.1, 1.0, 10.0], dtype=dtype))
    assert answer.shape == x.shape
    assert answer.dtype == dtype


class Linear(nn.Module):
    """A backbone that is no best linear denoiser: the flow sees that of the network, not of its skip."""

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return 0.3 * x + 0.1 * label[:, None, None, None]


def test_the_flow_of_a_network_is_continuous_from_noise_to_states():
    prior, x = NetworkPrior(Linear(), (1, 4, 4)), states(3, 1, 4, 4)
    ends = [(0.0, 1e-9), (1 / 81, 1 / 81 - 1e-9), (1 / 81, 1 / 81 + 1e-9)]
    for end, near in ends:
        assert torch.allclose(prior.velocity(x, end), prior.velocity(x, near), atol=1e-4)
    assert torch.allclose(prior.velocity(x, 0.0), prior(80 * x, 80.0) - x)
    assert torch.equal(prior.velocity(x, 1.0), x)
    at_once = prior.velocity(x, torch.tensor([0.0, 0.4, 1.0]))
    assert torch.allclose(at_once, torch.stack([prior.velocity(x, t)[i] for i, t in enumerate((0.0, 0.4, 1.0))]))
    t = 0.4
    assert torch.allclose(x + (1 - t) * prior.velocity(x, t), prior(x / t, (1 - t) / t))


def test_bfloat16_stays_inside_the_network():
    torch.manual_seed(0)
    backbone = build_backbone("unet", 1, (8, 8), UNetSettings(width=8))
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.1)
    exact, rounded = (NetworkPrior(backbone, (1, 8, 8), precision=p) for p in ("float32", "bfloat16"))
    x = states(2, 1, 8, 8)
    with torch.no_grad():
        gap = (exact(x, 0.01) - rounded(x, 0.01)).abs().max()
    assert 0 < float(gap) < 0.01 * 0.02


def test_bad_backbones_are_refused():
    with pytest.raises(UnknownName, match="backbone"):
        build_backbone("unett", 1, (8, 8))
    with pytest.raises(UserError, match="two grid axes"):
        build_backbone("unet", 1, (8,))
    with pytest.raises(UserError, match="multiples of 8"):
        build_backbone("unet", 1, (8, 8), UNetSettings(width=12))
