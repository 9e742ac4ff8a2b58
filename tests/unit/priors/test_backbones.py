"""Backbones: shapes, dtypes, seeds, zero initial output, independence in the batch, resolution, sizes, refusals."""

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor, nn

from jensenbench.errors import UserError
from jensenbench.priors.backbones.build import (
    BACKBONES,
    EDMUNetSettings,
    FNOSettings,
    MLPSettings,
    SpectralSettings,
    UNetSettings,
    build_backbone,
)
from jensenbench.priors.backbones.fno import FourierMap
from jensenbench.priors.backbones.spectral import ModeMixing
from jensenbench.priors.network import NetworkPrior
from jensenbench.priors.training import TrainingSettings, denoising_loss

SMALL = {
    "unet": UNetSettings(width=8, embedding=16),
    "spectral": SpectralSettings(width=4, layers=2, modes=4, embedding=16),
    "fno": FNOSettings(width=4, layers=2, modes=3, embedding=16),
    "mlp": MLPSettings(width=16, blocks=2, embedding=16),
    "edm_unet": EDMUNetSettings(width=8, multipliers=(1, 2), blocks=1, attention=(8,), labels=3),
}
PERIODIC = SpectralSettings(width=4, layers=2, modes=4, periodic=(0, 1), embedding=16)
GRIDS = [(name, shape) for name in SMALL for shape in [(16, 16), (9, 9), (7, 10)]]
GRIDS += [(name, shape) for name in ("spectral", "fno", "mlp") for shape in [(12,), (5,), (2, 3), (4, 5, 6)]]


def states(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def build(name: str, channels: int, shape: tuple[int, ...], settings: object = None, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_backbone(name, channels, shape, SMALL[name] if settings is None else settings).eval()


def awake(module: nn.Module) -> nn.Module:
    """The same network with noise on every weight, as if it had been trained."""
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return module


def test_every_backbone_is_tested():
    assert set(SMALL) == set(BACKBONES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "grid"), GRIDS)
def test_any_grid_keeps_shape_and_dtype(name, grid, dtype):
    prior, x = NetworkPrior(awake(build(name, 2, grid)), (2, *grid)), states(3, 2, *grid).to(dtype)
    answer = prior(x, torch.tensor([0.1, 1.0, 10.0], dtype=dtype))
    assert answer.shape == x.shape
    assert answer.dtype == dtype
    assert answer.isfinite().all()


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_stays_inside_the_network(name):
    module, x = awake(build(name, 1, (8, 8))), states(2, 1, 8, 8)
    exact, rounded = (NetworkPrior(module, (1, 8, 8), precision=p) for p in ("float32", "bfloat16"))
    with torch.no_grad():
        scale = (exact(x, 0.01) - x).abs().max()
        gap = (exact(x, 0.01) - rounded(x, 0.01)).abs().max()
    assert 0 < float(gap) < 0.05 * float(scale)


@pytest.mark.parametrize("name", SMALL)
def test_an_untrained_prior_has_an_edm_loss_of_one(name):
    prior = NetworkPrior(build(name, 2, (8, 8)), (2, 8, 8))
    sigma, noise = torch.logspace(-2, 1, 4000, dtype=torch.float64), states(4000, 2, 8, 8)
    clean = prior.sigma_data * noise.flip(0)
    with torch.no_grad():
        loss = denoising_loss(prior, clean, sigma, noise).mean()
    assert float(loss) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", SMALL)
def test_equal_seeds_give_equal_weights(name):
    first, again, other = (build(name, 2, (8, 8), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], value) for key, value in again.items())
    assert any(not torch.equal(first[key], value) for key, value in other.items())


@pytest.mark.parametrize(("name", "settings"), [*SMALL.items(), ("spectral", PERIODIC)])
def test_rows_are_independent(name, settings):
    module, x, label = awake(build(name, 2, (8, 8), settings)).double(), states(3, 2, 8, 8), states(3)
    with torch.no_grad():
        together = module(x, label)
        alone = torch.cat([module(x[i : i + 1], label[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, rtol=1e-10, atol=1e-12)
    assert float((together[0] - together[1]).abs().max()) > 1e-6


@pytest.mark.parametrize(("name", "settings"), [*SMALL.items(), ("spectral", PERIODIC)])
def test_a_gradient_reaches_every_parameter_and_the_state(name, settings):
    module, x = awake(build(name, 2, (8, 8), settings)).double(), states(2, 2, 8, 8).requires_grad_()
    extra = (states(2, 3),) if name == "edm_unet" else ()
    module(x, states(2), *extra).square().sum().backward()
    idle = [key for key, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert x.grad is not None
    assert (x.grad != 0).all()


@pytest.mark.parametrize("name", SMALL)
def test_weights_are_real_and_free_of_buffers(name):
    module = build(name, 1, (8, 8))
    assert {key for key, _ in module.named_parameters()} == set(module.state_dict())
    assert all(p.dtype == torch.float32 for p in module.parameters())


COUNTS = [
    ("unet", 32, 750_802),
    ("spectral", 32, 1_172_642),
    ("fno", 32, 2_459_042),
    ("mlp", 32, 1_551_744),
    ("edm_unet", 128, 54_412_034),
]


@pytest.mark.parametrize(("name", "n", "count"), COUNTS)
def test_sizes_of_the_defaults(name, n, count):
    with torch.device("meta"):
        module = build_backbone(name, 2, (n, n))
    assert sum(p.numel() for p in module.parameters()) == count


def waves(*counts: int) -> Tensor:
    """A field (1, 4, *counts) of frequencies 0 and 1 on periodic axes, with another phase in each channel."""
    phases = torch.arange(4.0, dtype=torch.float64).reshape(1, 4, *[1] * len(counts))
    for axis, n in enumerate(counts):
        angle = 2 * torch.pi * torch.arange(n, dtype=torch.float64) / n
        phases = phases + angle.reshape(n, *[1] * (len(counts) - 1 - axis))
    return 0.3 + phases.cos()


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", ["spectral", "fno"])
def test_mode_maps_are_one_operator_on_every_grid(kind, axes):
    def on(n: int) -> nn.Module:
        torch.manual_seed(0)
        shape = [n] * axes
        return (ModeMixing(4, shape, 4, range(axes)) if kind == "spectral" else FourierMap(4, shape, 2)).double()

    coarse, fine = on(8), on(16)
    assert all(torch.equal(a, b) for a, b in zip(coarse.parameters(), fine.parameters(), strict=True))
    with torch.no_grad():
        expected, actual = coarse(waves(*[8] * axes)), fine(waves(*[16] * axes))
    assert torch.allclose(actual[(..., *[slice(None, None, 2)] * axes)], expected, atol=1e-6)
    assert float(expected.std()) > 0.05


def test_a_whole_fno_converges_under_refinement():
    settings, label = FNOSettings(width=8, layers=2, modes=2, embedding=16), torch.zeros(1, dtype=torch.float64)
    with torch.no_grad():
        sizes = (17, 33, 65)
        answers = [
            awake(build("fno", 2, (n, n), settings)).double()(states(1, 2, 1, 1).expand(1, 2, n, n), label)
            for n in sizes
        ]
    first, second = ((fine[..., ::2, ::2] - coarse).abs().max() for coarse, fine in itertools.pairwise(answers))
    assert float(second) < 0.6 * float(first)
    assert float(answers[0].std()) > 0.01


def test_periodic_axes_commute_with_translations_and_others_do_not():
    label, x = torch.zeros(2, dtype=torch.float64), states(2, 2, 8, 9)
    for periodic in [(0, 1), (0,), (1,), ()]:
        settings = SpectralSettings(width=4, layers=2, modes=6, periodic=periodic, embedding=16)
        module = awake(build("spectral", 2, (8, 9), settings)).double()
        for axis in (0, 1):
            with torch.no_grad():
                gap = (module(x.roll(3, axis + 2), label) - module(x, label).roll(3, axis + 2)).abs().max()
            assert (float(gap) < 1e-6) == (axis in periodic)


def test_dropout_acts_in_training_only():
    module, x = awake(build("edm_unet", 2, (8, 8))), states(2, 2, 8, 8).float()
    label = torch.zeros(2)
    with torch.no_grad():
        assert torch.equal(module(x, label), module(x, label))
        module.train()
        assert not torch.equal(module(x, label), module(x, label))


@pytest.mark.parametrize("name", SMALL)
def test_settings_stand_beside_those_of_training_in_one_mapping(name):
    own, training = ({f.name for f in dataclasses.fields(settings)} for settings in (SMALL[name], TrainingSettings()))
    assert not own & training


REFUSED = [
    ("unet", (8,), {}, "two grid axes"),
    ("edm_unet", (8,), {}, "two grid axes"),
    ("spectral", (8,) * 4, {}, "one to three grid axes"),
    ("fno", (8,) * 4, {}, "one to three grid axes"),
    ("fno", (8, 1), {}, "2 points or more"),
    ("fno", (8, 8), {"modes": 0}, "modes = 0: expected a positive whole number"),
    ("unet", (8, 8), {"width": 12}, "multiples of 8"),
    ("spectral", (8, 8), {"modes": 5}, "modes = 5: .* in multiples of 2"),
    ("spectral", (8, 8), {"periodic": (2,)}, r"periodic axes among \[0, 1\]"),
    ("spectral", (8, 8), {"layers": 0}, "layers = 0: expected a positive whole number"),
    ("mlp", (8, 8), {"blocks": 0}, "blocks = 0: expected a positive whole number"),
    ("edm_unet", (8, 8), {"width": 6}, "multiples of 4"),
    ("edm_unet", (8, 8), {"multipliers": ()}, r"multipliers = \[\]: expected a non-empty list"),
    ("edm_unet", (8, 8), {"dropout": 1.0}, "dropout = 1.0: expected a number of at least 0, below 1"),
]


@pytest.mark.parametrize(("name", "shape", "settings", "message"), REFUSED)
def test_settings_that_do_not_fit_are_refused_in_one_line(name, shape, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        build_backbone(name, 1, shape, dataclasses.replace(SMALL[name], **settings))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
