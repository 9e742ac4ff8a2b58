"""Closed forms and invariances of the guided samplers."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import LinearObservation, MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError
from jensenbench.experiment.tuned import split_tasks, tuned_settings
from jensenbench.io.sources import public_modules
from jensenbench.plugins.registry import load_method, make_pde, method_config
from jensenbench.priors.gaussian import GaussianPrior

PDE = make_pde("poisson", {"n": 6})
STD = 0.5
PRIOR = GaussianPrior.isotropic(PDE.shape, STD)
DPS, DIFFUSIONPDE = load_method("dps"), load_method("diffusionpde")
VARIANTS = [(method, variant) for method in (DPS, DIFFUSIONPDE) for variant in method.variants]
SEED = st.integers(0, 10**6)


def normal(seed, rows=3):
    return KeyedNoise([(seed, row) for row in range(rows)])(PDE.shape)


def problem(seed=0, *, rows=3, share=0.4, unit=(1.0, 1.0), noise_std=0.0):
    """Entries of an isotropic distribution observed at random, in physical units ``unit`` of the prior's std."""
    slope = torch.tensor(unit, dtype=torch.float64).reshape(2, 1, 1)
    mask = torch.rand(rows, *PDE.shape, generator=torch.Generator().manual_seed(seed)) < share
    values = normal(("truth", seed), rows) * slope * mask
    codec = Codec(PDE, shift=[0, 0], scale=[u / STD for u in unit])
    data = MaskObservation(mask, values, noise_std)
    return Problem(PDE, "test", codec, observation=data, scale=slope.flatten())


def few(method, variant, **overrides):
    steps = 12 if "steps" not in overrides else overrides.pop("steps")
    preset = method.variants[variant]
    quiet = {"zeta_pde": 0.0} if hasattr(preset, "zeta_pde") else {}
    return method(dataclasses.replace(preset, steps=steps, **quiet, **overrides))


@settings(deadline=None, max_examples=30)
@given(seed=SEED, i=st.integers(0, 8), zeta_a=st.floats(0, 5), zeta_u=st.floats(0, 5), late=st.booleans())
def test_one_guided_heun_step_in_closed_form(seed, i, zeta_a, zeta_u, late):
    """For N(0, s² I) a step of DiffusionPDE is linear algebra with c = s²/(s² + sigma²)."""
    task = problem(seed, unit=(2.0, 0.3))
    method = few(
        DIFFUSIONPDE, "published", steps=10, zeta_obs=(zeta_a, zeta_u), switch=-0.0 if late else 1.0, late_obs=0.1
    )
    sigma, sigma_next = method.config.sigmas()[i : i + 2].tolist()
    x = sigma * normal(seed)
    c, c_next = (STD**2 / (STD**2 + s**2) for s in (sigma, sigma_next))
    k = 1 + (sigma_next - sigma) * (1 - c) / sigma
    heun = x * (1 + (sigma_next - sigma) * ((1 - c) / sigma + k * (1 - c_next) / sigma_next) / 2)
    slope = task.scale.reshape(2, 1, 1) / STD
    error = task.observation.mask * (slope * c_next * k * x) - task.observation.values
    direction = error / error.flatten(2).norm(dim=2)[..., None, None].clamp(min=1e-300)
    weight = torch.tensor([zeta_a, zeta_u], dtype=torch.float64).reshape(2, 1, 1)
    factor = 0.1 if late and i > 0 else 1.0
    expected = factor * weight * c_next * k * slope * direction
    stepped, gradient, length = method.guided(PRIOR, task, x, i)
    assert torch.allclose(stepped, heun, rtol=1e-10)
    assert torch.allclose(gradient, expected, rtol=1e-8, atol=1e-12)
    assert torch.equal(length, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("variant", ["corrected", "scaled"])
@settings(deadline=None, max_examples=30)
@given(seed=SEED, sigma=st.floats(0.01, 50), noise_std=st.sampled_from([0.0, 0.05, 1.0]))
def test_posterior_mean_is_exact_for_an_isotropic_law(variant, seed, sigma, noise_std):
    task = problem(seed, unit=(2.0, 0.3), noise_std=noise_std)
    x = normal(seed) * (sigma**2 + STD**2) ** 0.5
    variance = sigma**2 * STD**2 / (sigma**2 + STD**2)
    gain = variance / (variance + (STD * noise_std) ** 2)
    mean = PRIOR(x, sigma)
    expected = torch.where(task.observation.mask, mean + gain * (task.encode(task.observation.values) - mean), mean)
    assert torch.allclose(DPS(DPS.variants[variant]).posterior_mean(PRIOR, task, x, sigma), expected, atol=1e-10)


@settings(deadline=None, max_examples=20)
@given(seed=SEED)
def test_the_last_scaled_step_ends_in_the_posterior_mean_of_an_isotropic_law(seed):
    task = problem(seed, unit=(2.0, 0.3))
    method = few(DIFFUSIONPDE, "scaled", steps=10, zeta_obs=1.0)
    sigma = method.config.sigmas()[9].item()
    x = normal(seed) * (sigma**2 + STD**2) ** 0.5
    stepped, gradient, length = method.guided(PRIOR, task, x, 9)
    expected = torch.where(task.observation.mask, task.encode(task.observation.values), PRIOR(x, sigma))
    assert torch.allclose(stepped - length.reshape(-1, 1, 1, 1) * gradient, expected, atol=1e-9)


def test_scaled_losses_are_squared_ones():
    with pytest.raises(UserError, match="squared: true"):
        dataclasses.replace(DIFFUSIONPDE.variants["published"], scaled=True)


@pytest.mark.parametrize("noise_std", [0.0, 1.0])
def test_corrected_dps_samples_the_posterior_of_an_isotropic_law(noise_std):
    rows = 200
    task = problem(1, rows=1, noise_std=noise_std).subset([0] * rows)
    free, draws = Problem(PDE, "free", task.codec), [(row,) for row in range(rows)]
    guided, unguided = (few(DPS, "corrected", steps=100).sample(PRIOR, t, KeyedNoise(draws)) for t in (task, free))
    mask, shrink = task.observation.mask[0], 1 / (1 + noise_std**2)
    assert torch.allclose(guided[:, ~mask], unguided[:, ~mask])
    fields = task.decode(guided)[:, mask]
    expected, standard_error = shrink * task.observation.values[0][mask], ((1 - shrink) / rows) ** 0.5
    assert torch.allclose(fields.mean(0), expected, atol=5 * standard_error + 0.01)
    assert float(fields.std(0).mean()) == pytest.approx((1 - shrink) ** 0.5, rel=0.1, abs=0.01)


@pytest.mark.parametrize("power_of_ten", [-3, 4])
@pytest.mark.parametrize(("method", "variant"), [v for v in VARIANTS if v != (DIFFUSIONPDE, "published")])
def test_physical_units_do_not_matter(method, variant, power_of_ten):
    here, there = problem(unit=(1.0, 1.0)), problem(unit=(1.0, 10.0**power_of_ten))
    noise = [(row,) for row in range(3)]
    samples = [few(method, variant).sample(PRIOR, task, KeyedNoise(noise)) for task in (here, there)]
    assert torch.allclose(*samples, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("method", "variant"), VARIANTS)
def test_empty_masks_do_not_guide(method, variant):
    task, free = problem(share=0.0), Problem(PDE, "free", problem().codec)
    draws = [(row,) for row in range(3)]
    guided, unguided = (few(method, variant).sample(PRIOR, t, KeyedNoise(draws)) for t in (task, free))
    assert torch.allclose(guided, unguided, rtol=1e-9)


@pytest.mark.parametrize(("method", "variant"), VARIANTS)
def test_data_met_exactly_do_not_guide(method, variant):
    """An un-squared norm has no gradient at zero: the step must be zero there, not NaN."""
    task = problem()
    task.observation.values.zero_()
    zeros = lambda shape: torch.zeros(3, *shape, dtype=torch.float64)  # noqa: E731
    assert torch.equal(few(method, variant).sample(PRIOR, task, zeros), torch.zeros(3, *PDE.shape, dtype=torch.float64))


@pytest.mark.parametrize("variant", ["published", "inversebench"])
def test_coupled_batch_shows(variant):
    task, draws = problem(), [(row,) for row in range(3)]
    coupled = few(DPS, variant, couple_batch=True)
    together = coupled.sample(PRIOR, task, KeyedNoise(draws))
    alone = coupled.sample(PRIOR, task.subset([0]), KeyedNoise(draws[:1]))
    assert not torch.allclose(together[:1], alone, rtol=1e-3)


@pytest.mark.parametrize(("method", "variant"), VARIANTS)
def test_dense_operators_are_accepted(method, variant):
    matrix = torch.randn(5, 72, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = LinearObservation(matrix, torch.zeros(3, 5, dtype=torch.float64))
    task = Problem(PDE, "linear", problem().codec, observation=data)
    x = few(method, variant).sample(PRIOR, task, KeyedNoise([(row,) for row in range(3)]))
    assert x.shape == (3, *PDE.shape)


def test_one_weight_too_many_is_refused():
    method = few(DIFFUSIONPDE, "published", zeta_obs=(1.0, 2.0, 3.0))
    with pytest.raises(UserError, match=r"\(1\.0, 2\.0, 3\.0\) for 2 groups"):
        method.sample(PRIOR, problem(), KeyedNoise([(row,) for row in range(3)]))


@settings(deadline=None, max_examples=20)
@given(seed=SEED, zeta=st.floats(1e-3, 1e6))
def test_corrected_step_stops_at_zero_loss(seed, zeta):
    """The last step of a linear model, however large the weight, meets the data and goes no further."""
    task = problem(seed)
    method = few(DIFFUSIONPDE, "corrected", steps=10, zeta_obs=zeta, switch=1.0)
    x = normal(seed)
    stepped, gradient, length = method.guided(PRIOR, task, x, 9)
    moved = stepped - length.reshape(-1, 1, 1, 1) * gradient
    before, after = (task.misfit(state).flatten(1).norm(dim=1) for state in (stepped, moved))
    assert (after <= before * (1 + 1e-9)).all()
    assert (length <= 1).all()


def test_noise_of_the_data_does_not_guide():
    task = problem(noise_std=0.5)
    task.observation.values.copy_(task.observation.mask * 0.3)
    method = few(DIFFUSIONPDE, "corrected")
    assert torch.equal(
        method.data_loss(task, torch.zeros(3, *PDE.shape, dtype=torch.float64)), torch.zeros(3, 2).double()
    )


def test_missing_scheme_is_a_reason_to_skip():
    config = dataclasses.replace(DIFFUSIONPDE.variants["published"], scheme="other")
    assert DIFFUSIONPDE(config).skip(problem()) == "poisson has no residual of scheme 'other'"
    assert DIFFUSIONPDE(dataclasses.replace(config, zeta_pde=0.0)).skip(problem()) is None


def test_equation_guides_after_the_switch_only():
    method = DIFFUSIONPDE(dataclasses.replace(DIFFUSIONPDE.variants["published"], steps=10))
    free = Problem(PDE, "free", problem().codec)
    assert [method.guides(free, i) for i in range(10)] == [False] * 9 + [True]


@pytest.mark.parametrize("name", public_modules("methods"))
def test_tuned_settings_fit_their_methods(name):
    method, tuned = load_method(name), tuned_settings(name)
    for variant, by_pde in tuned.get("settings", {}).items():
        for pde, overrides in by_pde.items():
            assert pde in public_modules("pdes")
            shared, by_task = split_tasks(overrides)
            for own in ({}, *by_task.values()):
                method(method_config(method, variant, {**shared, **own}))
    assert set(tuned.get("trials", {})) <= set(method.variants)


def test_the_detached_gradient_passes_through_no_network_and_depends_on_the_number_of_data():
    task, estimate = problem(unit=(2.0, 0.3)), normal(5)
    data = task.observation
    error = (task.decode(estimate) - data.values) * data.mask / task.scale.reshape(2, 1, 1)
    expected = 2 / STD * error / data.mask.flatten(1).sum(1).reshape(-1, 1, 1, 1)
    assert torch.allclose(DIFFUSIONPDE(DIFFUSIONPDE.variants["detached"]).detached_gradient(task, estimate), expected)


def test_detached_baseline_diverges_on_few_data_only():
    """An observed entry is multiplied by 1 - 2 zeta/n each step beside what the flow does."""
    worst = [
        float(few(DIFFUSIONPDE, "detached", zeta_obs=40.0).sample(PRIOR, task, KeyedNoise([(0,)])).abs().max())
        for task in (problem(rows=1, share=0.1), problem(rows=1, share=1.0))
    ]
    assert worst[0] > 1e3
    assert worst[1] < 10


def test_the_coupled_detached_gradient_is_divided_by_the_batch():
    task, estimate = problem(), normal(5)
    methods = (few(DIFFUSIONPDE, "detached", couple_batch=couple) for couple in (False, True))
    alone, coupled = (method.detached_gradient(task, estimate) for method in methods)
    assert torch.allclose(alone, 3 * coupled)
