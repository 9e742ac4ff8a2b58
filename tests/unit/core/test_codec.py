"""The codec is an exact, affine, invertible map that whitens by powers of the Laplacian."""

from dataclasses import dataclass
from math import pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.codec import POWERS, Codec, cosine_matrix, fourier_matrix, sine_matrix
from jensenbench.core.pde import PDE, Axis, Field, Grid
from jensenbench.errors import UserError
from jensenbench.io.sources import public_modules
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.io import BuiltPrior, load_prior, save_prior

BASES = {"pixels": "node", "sine": "node", "fourier": "periodic", "cosine_fourier": "periodic"}


@dataclass(frozen=True)
class Size:
    n: int
    m: int


class OneField(PDE):
    """A single field in a given basis on an n x m grid; no equation."""

    name = "one_field"
    Config = Size

    def __init__(self, n, m, basis):
        super().__init__(Size(n, m))
        self.fields = (Field("s", "solution", basis=basis),)
        self.grid = Grid((Axis("x", n, kind=BASES[basis]), Axis("y", m, kind=BASES[basis])))

    def draw(self, indices, *, seed):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(len(indices), *self.shape, generator=generator, dtype=torch.float64)

    def solve(self, state):
        return state

    def terms(self, state):
        return {"none": 0 * state[:, 0]}

    def conditions(self, state):
        return {}

    def affine(self):
        return True

    def manufactured(self, batch):
        return self.draw(range(batch), seed=0), {}


@st.composite
def _cases(draw):
    basis, power = draw(st.sampled_from(sorted(BASES))), draw(st.sampled_from(POWERS))
    pde = OneField(draw(st.integers(4, 19)), draw(st.integers(4, 19)), basis)
    return pde, power, pde.draw(range(3), seed=draw(st.integers(0, 10**6)))


@settings(max_examples=60, deadline=None)
@given(_cases(), st.floats(-3, 3), st.floats(0.1, 5))
def test_decoding_inverts_encoding(case, shift, scale):
    pde, power, states = case
    codec = Codec(pde, shift=[shift], scale=[scale], power=power)
    encoded = codec.encode(states)
    assert encoded.shape == states.shape
    largest = max(float(states.abs().max()), abs(shift))
    assert (codec.decode(encoded) - states).abs().max() <= 1e-12 * largest
    assert (codec.encode(codec.decode(states)) - states).abs().max() <= 1e-12 * largest * max(1, 1 / scale)


@settings(max_examples=40, deadline=None)
@given(_cases(), st.floats(-2, 2))
def test_the_linear_part_is_linear_and_symmetric_and_powers_add(case, weight):
    pde, power, states = case
    raised = Codec(pde, shift=[0.0], scale=[1.0], power=power)
    x, y, _ = states.split(1)
    norm = float(raised.encode(x).norm() + raised.encode(y).norm())
    mixed = raised.encode(x + weight * y) - raised.encode(x) - weight * raised.encode(y)
    assert mixed.abs().max() <= 1e-12 * norm
    difference = (raised.encode(x) * y).sum() - (x * raised.encode(y)).sum()
    assert abs(float(difference)) <= 1e-12 * norm * float(x.norm() + y.norm())
    once, twice = (Codec(pde, shift=[0.0], scale=[1.0], power=p) for p in (1, 2))
    assert torch.allclose(
        once.encode(once.encode(x)), twice.encode(x), rtol=0, atol=1e-12 * float(twice.encode(x).norm())
    )


@settings(max_examples=40, deadline=None)
@given(_cases(), st.floats(-3, 3), st.floats(0.1, 5))
def test_gradients_are_the_adjoints_of_the_linear_parts(case, shift, scale):
    """<A x, y> = <x, Aᵀy>, with A x by a difference and Aᵀ y by autograd, for encoding and for decoding."""
    pde, power, states = case
    codec = Codec(pde, shift=[shift], scale=[scale], power=power)
    x, y, base = states.split(1)
    for map_ in (codec.encode, codec.decode):
        forward = map_(base + x) - map_(base)
        point = base.clone().requires_grad_()
        (back,) = torch.autograd.grad(map_(point), point, y)
        bound = float(forward.norm() * y.norm() + x.norm() * back.norm() + map_(base).norm() * y.norm())
        assert abs(float((forward * y).sum() - (x * back).sum())) <= 1e-12 * bound


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 40))
def test_bases_are_orthonormal_so_energies_agree(n):
    for matrix, _ in (sine_matrix(Axis("x", n)), cosine_matrix(n), fourier_matrix(n)):
        assert torch.allclose(matrix @ matrix.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-13)
        values = torch.linspace(-1, 2, n, dtype=torch.float64) ** 3
        assert abs(float((matrix @ values).norm() - values.norm())) < 1e-12


@pytest.mark.parametrize("n", [9, 12])
def test_power_two_is_the_negative_laplacian_of_the_scheme(n):
    """Sine basis: -∇² by central differences of a field that vanishes on the edge."""
    pde = make_pde("poisson", {"n": n})
    data = pde.generate([0, 1], seed=0)
    raised = Codec(pde, shift=[0.0] * 2, scale=[1.0] * 2, power=2).encode(data)
    assert torch.allclose(raised[:, 1, 1:-1, 1:-1], -pde.terms(data)["laplacian"], rtol=1e-10, atol=1e-12)
    assert torch.equal(raised[:, 0], data[:, 0])


@pytest.mark.parametrize("n", [9, 16, 33])
@pytest.mark.parametrize("power", [1, 2])
def test_an_error_on_the_edge_costs_no_more_residual_than_one_inside(n, power):
    pde = make_pde("poisson", {"n": n})
    codec = Codec(pde, shift=[0.0] * 2, scale=[1.0] * 2, power=power)
    edge = torch.ones(n, n, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    noise = torch.randn(64, 2, n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise[:, 0] = 0
    cost = [pde.terms(codec.decode(noise * where))["laplacian"].square().mean() for where in (edge, ~edge)]
    assert cost[0] <= cost[1]


@pytest.mark.parametrize(("basis", "period"), [("fourier", 1), ("cosine_fourier", 2)])
def test_a_harmonic_is_multiplied_by_one_plus_its_squared_wave_number(basis, period):
    n, m, p, q = 12, 11, 4, 3
    rows = (torch.arange(n, dtype=torch.float64) + (0.5 if period == 2 else 0.0)) / n
    wave = torch.cos(2 * pi * p / period * rows)[:, None] * torch.sin(2 * pi * q * torch.arange(m) / m)
    encoded = Codec(OneField(n, m, basis), shift=[0.0], scale=[1.0], power=2).encode(wave[None, None].double())
    assert torch.allclose(encoded[0, 0], (1 + (p / period) ** 2 + q**2) * wave, rtol=0, atol=1e-5)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("name", public_modules("pdes"))
def test_fitted_channels_have_mean_zero_and_the_priors_std(name, power):
    pde = make_pde(name, {"n": 9})
    states = pde.generate(range(40), seed=0)
    codec = Codec.fit(pde, states, power=power)
    channels = codec.encode(states).transpose(0, 1).flatten(1)
    assert torch.allclose(channels.mean(1), torch.zeros(len(channels), dtype=torch.float64), atol=1e-12)
    assert torch.allclose(channels.std(1), torch.full((len(channels),), 0.5, dtype=torch.float64), rtol=1e-12)
    rebuilt = Codec(pde, **codec.state())
    assert torch.equal(rebuilt.encode(states), codec.encode(states))


@pytest.mark.parametrize(("name", "power"), [("helmholtz", 2), ("burgers", 1)])
def test_a_prior_file_keeps_the_fitted_codec_bit_by_bit(tmp_path, name, power):
    pde = make_pde(name, {"n": 8})
    states = pde.generate(range(20), seed=0)
    codec = Codec.fit(pde, states, power=power)
    built = BuiltPrior(GaussianPrior.isotropic(pde.shape, 0.5), codec, {"power": power})
    save_prior(tmp_path / "prior.safetensors", built, pde=pde, label="any", seed=0, data_digest="none")
    loaded = load_prior(tmp_path / "prior.safetensors", pde).codec
    assert loaded.state() == codec.state()
    assert torch.equal(loaded.encode(states), codec.encode(states))


def test_rows_and_precision_are_kept():
    pde = make_pde("burgers", {"n": 8})
    states = pde.generate(range(4), seed=0)
    codec = Codec.fit(pde, states, power=1)
    assert torch.allclose(codec.encode(states[2:3]), codec.encode(states)[2:3], rtol=1e-13, atol=1e-13)
    assert codec.encode(states.float()).dtype == codec.decode(states.float()).dtype == torch.float32


def test_decoding_is_differentiable():
    pde = make_pde("poisson", {"n": 6})
    states = pde.generate([0, 1], seed=0)
    codec = Codec.fit(pde, states, power=1)
    x = codec.encode(states[:1]).requires_grad_()
    assert torch.autograd.gradcheck(codec.decode, x, fast_mode=True)


@pytest.mark.parametrize(
    ("shift", "scale", "power", "message"),
    [
        ([0.0], [1.0], 3, "power 3"),
        ([0.0, 0.0], [1.0], 0, "2 and 1 entries"),
        ([0.0], [0.0], 1, "without variance"),
    ],
)
def test_impossible_codecs_are_refused(shift, scale, power, message):
    with pytest.raises(UserError, match=message):
        Codec(OneField(5, 5, "pixels"), shift=shift, scale=scale, power=power)
