"""CoCoGen: what its corrections move and how far, what it does with data, and refusals."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import LinearObservation, MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import find_task
from jensenbench.errors import UnknownName, UserError
from jensenbench.plugins.registry import load_method, make_pde
from jensenbench.priors.gaussian import GaussianPrior
from methods.cocogen import Corrected, Published

COCOGEN = load_method("cocogen")
PDES = ["poisson", "darcy", "burgers", "darcy_corner"]
SETTINGS = {"darcy_corner": {"modes": 9}}
SEED = st.integers(0, 10**6)


def states(pde, rows, seed):
    return pde.generate(range(rows), seed=seed)


def problem(name, *, n=8, share=0.3, power=1, noise_std=0.0, seed=0, rows=3):
    """Some entries of states of a PDE."""
    pde = make_pde(name, {"n": n, **SETTINGS.get(name, {})})
    data = states(pde, 30, seed)
    scale = data.transpose(0, 1).flatten(1).std(1)
    task = dataclasses.replace(find_task("reconstruction_30", noise_std=noise_std), coefficient=share, solution=share)
    seen = [task.observe(data[row], pde, scale, seed=seed, index=row) for row in range(rows)]
    observation = MaskObservation(torch.cat([o.mask for o in seen]), torch.cat([o.values for o in seen]), noise_std)
    return Problem(pde, task.label, Codec.fit(pde, data, power=power), observation=observation, scale=scale)


def noisy(task, seed, rows=3):
    data = task.encode(states(task.pde, rows, seed))
    return data + 0.3 * KeyedNoise([(seed, row) for row in range(rows)])(task.pde.shape)


def corrector(task, rule):
    config = Corrected() if rule == "full" else Published()
    return config.corrector(task, task.observation.mask)


def size(task, x):
    return task.residual(x)["interior"].square().flatten(1).sum(1)


@pytest.mark.parametrize("rule", ["full", "published"])
@pytest.mark.parametrize("name", PDES)
def test_corrections_move_nothing_but_the_unseen_solution(name, rule):
    task = problem(name)
    x = noisy(task, 5)
    change = task.decode(corrector(task, rule)(x, 1e-3)) - task.decode(x)
    free = task.pde.role_mask("solution") & ~task.observation.mask
    largest = change.abs().max()
    assert largest > 0
    assert (change * ~free).abs().max() < 1e-9 * task.decode(x).abs().max()
    assert ((change * free).flatten(1) != 0).any(1).all()


@settings(max_examples=10, deadline=None)
@given(seed=SEED, step=st.floats(1e-4, 1e3), power=st.sampled_from([0, 1]))
def test_a_gradient_step_never_raises_an_affine_residual(seed, step, power):
    task = problem("poisson", power=power)
    x = noisy(task, seed)
    after = corrector(task, "full")(x, step)
    assert (size(task, after) < size(task, x)).all()


@settings(max_examples=10, deadline=None)
@given(seed=SEED)
def test_a_long_gradient_step_ends_at_the_minimum_along_it(seed):
    task = problem("poisson")
    x = noisy(task, seed)
    after = corrector(task, "full")(x, 1e9)
    for share in (0.9, 1.1):
        assert (size(task, x + share * (after - x)) > size(task, after)).all()


@pytest.mark.parametrize("name", PDES)
def test_steps_have_the_length_that_they_are_given(name):
    """The published rule moves the entry of the largest gradient by the step; the full one moves none by more."""
    task, step = problem(name, power=0), 1e-7
    x, unit = noisy(task, 2), float(task.scale[-1]) / Published().unit
    down = task.decode(x) - task.decode(corrector(task, "published")(x, step))
    assert torch.allclose(down.flatten(1).amax(1), torch.tensor(step * unit, dtype=torch.float64), rtol=1e-6)
    change = (task.decode(corrector(task, "full")(x, step)) - task.decode(x)).abs()
    assert torch.allclose(change.flatten(1).amax(1), torch.tensor(step * unit, dtype=torch.float64), rtol=1e-6)


@pytest.mark.parametrize("rule", ["full", "published"])
def test_a_solution_that_is_seen_wholly_stays(rule):
    task = problem("poisson", share=1.0)
    x = noisy(task, 1)
    assert torch.allclose(corrector(task, rule)(x, 1e-3), x, atol=1e-12)


def sample(task, config, rows=3):
    noise = KeyedNoise([("cocogen", row) for row in range(rows)])
    return COCOGEN(config).sample(GaussianPrior.of_pde(task.pde, task.codec), task, noise)


@pytest.mark.parametrize("variant", ["corrected", "pfode"])
def test_noise_free_observations_are_met_exactly(variant):
    task = problem("poisson")
    preset = COCOGEN.variants[variant]
    x = sample(task, dataclasses.replace(preset, steps=min(60, preset.steps)))
    assert (task.misfit(x).flatten(2).abs().amax(2) < 1e-9 * task.scale).all()


def test_noisy_data_are_taken_for_noise_free_as_published_and_not_where_corrected():
    task = problem("poisson", noise_std=0.1)
    exact = sample(task, dataclasses.replace(Corrected(), heed_noise=False))
    heeded = sample(task, Corrected())
    assert task.misfit(exact).abs().max() < 1e-9 * task.scale.max()
    seen = task.observation.mask
    error = [(task.misfit(x) / task.scale.reshape(2, 1, 1))[seen].square().mean().sqrt() for x in (exact, heeded)]
    assert 0.03 < error[1] < 0.5
    assert size(task, heeded).max() < 0.01 * size(task, exact).min()


def test_corrections_lower_the_residual_of_samples():
    task = problem("poisson")
    config = Corrected()
    without = sample(task, dataclasses.replace(config, last=0, extra=0))
    assert (size(task, sample(task, config)) < size(task, without)).all()


def test_unconditional_states_are_corrected_where_set():
    task = problem("poisson")
    task.observation = None
    config = dataclasses.replace(Published(), steps=12, last=3, extra=1)
    plain = sample(task, config)
    assert torch.equal(plain, sample(task, dataclasses.replace(config, last=0, extra=0)))
    assert not torch.equal(plain, sample(task, dataclasses.replace(config, unconditional=True)))


def test_unconditional_samples_have_the_distribution_of_the_prior():
    task = problem("poisson", n=6, power=0)
    task.observation = None
    x = sample(task, dataclasses.replace(Corrected(), unconditional=False), rows=400)
    _, wanted = (states(task.pde, 400, seed) for seed in (1, 2))
    ratio = task.decode(x).flatten(2).std(0).mean(1) / wanted.flatten(2).std(0).mean(1)
    assert torch.allclose(ratio, torch.ones(2, dtype=torch.float64), atol=0.1)


def factors(config):
    """By what each step multiplies a state off a distribution's subspace: its denoised state is zero."""
    rule, one = config.predictor(observed=True), torch.ones(1, 1, dtype=torch.float64)
    return [float(rule.step(one, 0 * one, i, lambda shape: 0 * one)) for i in rule.order]


def test_the_published_last_time_is_unstable_with_exact_scores_and_a_later_one_is_not():
    assert factors(COCOGEN.variants["published"])[-1] == pytest.approx(-65, abs=5)
    assert all(abs(factor) <= 1 for factor in factors(COCOGEN.variants["published_stable"]))


def test_data_of_an_operator_are_skipped_and_unknown_schemes_too():
    task = problem("poisson")
    operator = torch.ones(1, 2 * 64, dtype=torch.float64)
    blurred = Problem(
        task.pde, "blurred", task.codec, observation=LinearObservation(operator, torch.zeros(3, 1, dtype=torch.float64))
    )
    assert "entries" in COCOGEN().skip(blurred)
    assert COCOGEN().skip(task) is None
    assert "cocogen" in COCOGEN(Published(scheme="cocogen")).skip(task)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resample": 0}, "resample = 0"),
        ({"step": -1.0}, "step = -1"),
        ({"unit": 0.0}, "unit = 0"),
        ({"beta_min": 20.0}, "beta_min = 20"),
        ({"steps": 1}, "steps = 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Published(**settings)


def test_unknown_rules_are_offered_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'full'"):
        Corrected(rule="ful")
