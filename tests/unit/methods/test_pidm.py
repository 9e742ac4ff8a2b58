"""PIDM: estimates, corrections, batches, averages, refusals."""

import dataclasses

import pytest
import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.problem import Problem
from jensenbench.data.dataset import term_scale
from jensenbench.diffusion.schedules import Ancestral, cosine_betas
from jensenbench.errors import UnknownName, UserError
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior
from methods.pidm import PIDM, PUBLISHED, Config, Fit, Objective, residual_parts

PDE = make_pde("poisson", {"n": 8})
STATES = PDE.generate(range(64), seed=0)
CODEC = Codec.fit(PDE, STATES, power=1)
PRIOR = GaussianPrior.of_pde(PDE, CODEC)
DATA = CODEC.encode(STATES)
PROBLEM = Problem(PDE, "unconditional", CODEC, term_scale=term_scale(PDE, STATES))
SMALL = {"backbone_settings": {"width": 8, "embedding": 16}}
CORNER = make_pde("darcy_corner", {"n": 9, "modes": 8})


def unit_noise(shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def parts_at(t: int, prior: GaussianPrior = PRIOR, **settings: object) -> dict[str, Tensor]:
    levels = torch.full((len(DATA),), t)
    return Objective(Fit(**settings), PROBLEM)(prior, DATA, levels, unit_noise(DATA.shape))[1]


def test_all_estimates_agree_at_the_last_level_only():
    ignorant = GaussianPrior.isotropic(PDE.shape, 0.5)  # its estimates do not solve the equation
    for t, equal in ((0, True), (60, False)):
        mean, sample, published = (
            parts_at(t, ignorant, estimate=kind)["mean_abs_residual"] for kind in ("mean", "sample", "sample_published")
        )
        assert torch.allclose(mean, sample, rtol=1e-6) == equal
        assert torch.allclose(mean, published, rtol=1e-6) == equal


def test_the_exact_denoiser_has_no_residual_and_the_least_data_loss():
    exact = parts_at(40)
    assert float(exact["mean_abs_residual"]) < 1e-9 * PROBLEM.term_scale
    for factor in (0.95, 1.05):
        scaled = GaussianPrior.of_pde(PDE, CODEC)
        scaled.denoise = lambda x, sigma, factor=factor: factor * PRIOR.denoise(x, sigma)
        loss = Objective(Fit(), PROBLEM)(scaled, DATA, torch.full((len(DATA),), 40), unit_noise(DATA.shape))[1]
        assert loss["data_loss"] > exact["data_loss"]


def test_the_relative_residual_has_no_units():
    x = DATA + 0.1 * unit_noise(DATA.shape)
    strong = make_pde("poisson", {"n": 8})
    louder = Problem(strong, "unconditional", CODEC, term_scale=10 * PROBLEM.term_scale)
    t, noise = torch.full((len(x),), 5), unit_noise(x.shape)
    for relative, ratio in ((True, 100.0), (False, 1.0)):
        losses = [
            Objective(Fit(relative=relative), p)(PRIOR, x, t, noise)[1]["residual_loss"] for p in (PROBLEM, louder)
        ]
        assert torch.allclose(losses[0], ratio * losses[1])


def test_levels_of_the_cosine_schedule():
    wide, narrow = (Ancestral(cosine_betas(100), wide=choice) for choice in (True, False))
    assert (narrow.alphas_bar.diff() < 0).all()
    assert float(narrow.alphas_bar[0]) > 0.999
    assert float(narrow.alphas_bar[-1]) < 1e-5
    spread = [torch.tensor(schedule.coefficients()["std"]) for schedule in (wide, narrow)]
    assert (spread[0] >= spread[1]).all()
    assert torch.allclose(spread[0][90:], spread[1][90:], rtol=0.02)


@pytest.fixture
def rough() -> tuple[Problem, Tensor]:
    """States of another PDE that do not solve it."""
    states = CORNER.generate(range(3), seed=0)
    codec = Codec.fit(CORNER, states, power=0)
    return Problem(CORNER, "unconditional", codec), codec.encode(states) + 0.1 * unit_noise(states.shape)


def squared(problem: Problem, x: Tensor) -> Tensor:
    return torch.stack(residual_parts(problem, x, PUBLISHED), 1).square().flatten(1).sum(1)


def test_corrections_lower_the_residual_by_the_solution_alone_and_rows_are_apart(rough):
    problem, x = rough
    correct = PIDM(Config(fit=PUBLISHED, length=1e-4)).correction(problem)
    moved = correct(x)
    assert (squared(problem, moved) < squared(problem, x)).all()
    assert torch.allclose(moved[:, 0], x[:, 0], atol=1e-12)
    alone = correct(x[1:2])
    assert torch.allclose(alone, moved[1:2], rtol=1e-12)
    assert torch.allclose(PIDM(Config(fit=PUBLISHED, length=0)).correction(problem)(x), x, atol=1e-12)


@pytest.mark.parametrize("correction", ["xt", "x0"])
def test_corrections_after_sampling_act_like_corrections_of_the_sample(rough, correction):
    problem, _ = rough
    prior = GaussianPrior.isotropic(CORNER.shape, 0.5)
    settings = {"fit": dataclasses.replace(PUBLISHED, levels=10), "correction": correction}
    noise = [KeyedNoise([("a", row) for row in range(2)]) for _ in range(2)]
    plain, more = (
        list(PIDM(Config(**settings, extra=extra)).steps(prior, problem, draws))
        for extra, draws in zip((0, 2), noise, strict=True)
    )
    assert len(more) == len(plain) + 2
    assert torch.equal(more[len(plain) - 1], plain[-1])
    again = PIDM(Config(**settings)).correction(problem)(plain[-1])
    assert torch.equal(more[len(plain)], again)


def test_batches_in_order_pass_over_all_states():
    settings = Fit(batch=24, shuffle=False, augment=False)
    seen = torch.cat([settings.batches(PROBLEM, DATA, 0)(step)[0] for step in range(8)])
    assert torch.equal(seen, DATA.float().repeat(3, 1, 1, 1))


def test_batches_are_functions_of_seed_and_step():
    settings = Fit(batch=8)
    keys = ((3, 0), (3, 0), (4, 0), (3, 1))
    first, again, later, other = (settings.batches(PROBLEM, DATA, seed)(step) for step, seed in keys)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for different in (later, other):
        assert not any(torch.equal(a, b) for a, b in zip(first, different, strict=True))


def test_the_published_average_follows_the_weights_and_then_lags():
    assert [PUBLISHED.decay(step) for step in (0, 999, 1000, 10**5)] == [0.0, 0.0, 0.99, 0.99]
    assert PUBLISHED.betas == (0.9, 0.999)
    assert PUBLISHED.rate(0) == PUBLISHED.rate(299_999) == 1e-4
    assert 0 < Fit().decay(0) < Fit().decay(999) < 1


@pytest.mark.parametrize("parametrisation", ["edm", "x0"])
def test_untrained_networks_predict_from_the_noise_level_alone(parametrisation):
    fit = Fit(parametrisation=parametrisation, **SMALL)
    model, x = fit.denoiser(fit.build(PDE.shape), PDE.shape), unit_noise(DATA.shape)
    expected = x * 0.25 / (0.25 + 9) if parametrisation == "edm" else torch.zeros_like(x)
    assert torch.allclose(model(x, 3.0), expected, atol=1e-12)


def test_equations_without_the_scheme_are_skipped():
    assert PIDM(Config(fit=PUBLISHED)).skip(PROBLEM) == "poisson has no residual of scheme 'pidm'"
    assert PIDM().skip(PROBLEM) is None
    corner = Problem(CORNER, "unconditional", Codec(CORNER, shift=[0.0, 0.0], scale=[1.0, 1.0]))
    assert PIDM(Config(fit=PUBLISHED)).skip(corner) is None


REFUSED = [
    ({"estimate": "median"}, "unknown estimate 'median'"),
    ({"parametrisation": "eps"}, "unknown parametrisation 'eps'"),
    ({"c_residual": -1.0}, "c_residual = -1.0"),
    ({"levels": 1}, "at least 2"),
    ({"steps": 0}, "steps = 0"),
    ({"backbone": "unett"}, "did you mean 'unet'"),
    ({"backbone": "unet", "backbone_settings": {"widht": 8}}, "did you mean 'width'"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_bad_settings_of_the_fit_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Fit(**settings)


def test_bad_settings_of_the_sampler_are_refused():
    with pytest.raises(UnknownName, match="unknown correction 'x1'"):
        Config(correction="x1")
    with pytest.raises(UserError, match="extra = -1"):
        Config(extra=-1)
    with pytest.raises(UserError, match="run the stage `fit` first"):
        PIDM().sample(PRIOR, PROBLEM, KeyedNoise([(0,)]))


def test_the_published_variant_trains_and_samples_where_its_residual_is(tmp_path):
    states = CORNER.generate(range(8), seed=0)
    codec = Codec.fit(CORNER, states, power=0)
    problem, data = Problem(CORNER, "unconditional", codec), codec.encode(states)
    settings = dataclasses.replace(PUBLISHED, steps=3, batch=4, levels=10, **SMALL)
    method, prior = PIDM(Config(fit=settings, late=1, extra=1)), GaussianPrior.isotropic(CORNER.shape, 0.5)
    module = method.fit(prior, problem, data, state_dir=tmp_path, seed=0)
    start = method.build(prior, problem).state_dict()
    assert any(not torch.equal(value, start[name]) for name, value in module.state_dict().items())
    sample = method.sample(prior, problem, KeyedNoise([(0,), (1,)]), fitted=module)
    assert sample.shape == (2, *CORNER.shape)
    assert sample.isfinite().all()


@pytest.mark.parametrize(("shape", "kind"), [((2, 8, 8), "UNet"), ((2, 1), "MLP"), ((1, 4, 4, 4), "MLP")])
def test_the_network_follows_the_grid_unless_it_is_named(shape, kind):
    assert type(Fit().build(shape)).__name__ == kind
    assert type(Fit(backbone="mlp").build(shape)).__name__ == "MLP"
