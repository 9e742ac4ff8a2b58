"""Closed forms and laws of the methods that walk along the prior's flow."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.codec import Codec
from jensenbench.constraints import Conserved
from jensenbench.errors import UnknownName, UserError
from jensenbench.noise import KeyedNoise
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.problem import MaskObservation, Problem
from jensenbench.registry import load_method, make_pde
from jensenbench.samplers import extrapolate, interpolate
from jensenbench.schedules import FlowGrid

PDE = make_pde("poisson", {"n": 6})
STATES = PDE.generate(range(60), seed=0)
CODEC = Codec.fit(PDE, STATES, power=1)
PRIOR = GaussianPrior.of_pde(PDE, CODEC)
SCALE = STATES.transpose(0, 1).flatten(1).std(1)
ECI = load_method("eci")
SEED = st.integers(0, 10**6)


def latents(rows=3, seed=0):
    return KeyedNoise([(seed, row) for row in range(rows)])


def problem(share=0.4, *, rows=3, noise_std=0.0, seed=0, constraints=()):
    mask = torch.rand(rows, *PDE.shape, generator=torch.Generator().manual_seed(seed)) < share
    data = MaskObservation(mask, STATES[:rows] * mask, noise_std)
    return Problem(PDE, "test", CODEC, observation=data, constraints=constraints, scale=SCALE)


def short(method, variant, **overrides):
    overrides = {"steps": 8, **overrides}
    return method(dataclasses.replace(method.variants[variant], **overrides))


@pytest.mark.parametrize("times", ["uniform", "edm"])
def test_times_run_from_noise_to_states(times):
    grid = FlowGrid(steps=7, times=times).grid()
    assert grid[0] == 0
    assert grid[-1] == 1
    assert (grid.diff() > 0).all()
    assert len(grid) == 8


def test_unknown_times_are_refused():
    with pytest.raises(UnknownName, match="did you mean 'uniform'"):
        FlowGrid(times="unifrom")


@given(t=st.floats(0, 0.99))
def test_straight_paths_lead_to_both_ends(t):
    eps, x1 = latents()(PDE.shape), latents(seed=1)(PDE.shape)
    x, velocity = interpolate(eps, x1, t), x1 - eps
    assert torch.allclose(extrapolate(x, velocity, t), x1)
    assert torch.allclose(extrapolate(x, velocity, t, end=0.0), eps)


@pytest.mark.parametrize("variant", ECI.variants)
def test_eci_with_a_full_mask_returns_it(variant):
    task = problem(share=1.1)
    sample = short(ECI, variant).sample(PRIOR, task, latents())
    assert torch.allclose(task.decode(sample), STATES[:3], rtol=0, atol=1e-11)


@pytest.mark.parametrize("variant", ECI.variants)
@settings(deadline=None, max_examples=3)
@given(seed=SEED, share=st.floats(0.05, 0.9))
def test_constraints_of_eci_hold_to_rounding(variant, seed, share):
    task = problem(share, seed=seed)
    sample = short(ECI, variant).sample(PRIOR, task, latents(seed=seed))
    assert task.violation(sample).abs().max() < 1e-11


def test_joint_projection_lets_eci_meet_laws_that_cross():
    weights = torch.full((), 1 / 36)
    mass = Conserved("mass", weights, (STATES[:3] / 36).sum((2, 3)), kept=None)
    task = problem(0.3, constraints=(mass,))
    crossed, met = (short(ECI, name).sample(PRIOR, task, latents()) for name in ("published", "corrected"))
    assert task.violation(met).abs().max() < 1e-11
    assert task.violation(crossed).abs().max() > 1e-4


def test_eci_without_constraints_and_with_the_noise_of_the_flow_is_the_flow():
    free = Problem(PDE, "free", CODEC)
    sample = ECI(dataclasses.replace(ECI.variants["corrected"], steps=300, mixing=1)).sample(PRIOR, free, latents())
    assert torch.allclose(sample, PRIOR.transport(latents()(PDE.shape), 0.0), atol=0.03)


def test_eci_draws_noise_as_often_as_it_says():
    class Counting:
        calls = 0

        def __call__(self, shape):
            self.calls += 1
            return latents(seed=self.calls)(shape)

    for overrides, draws in (({"resample": None}, 1), ({"resample": 3}, 1 + 8), ({"resample": 1}, 1 + 24)):
        noise = Counting()
        short(ECI, "published", mixing=3, **overrides).sample(PRIOR, problem(), noise)
        assert noise.calls == draws


def test_noisy_data_are_no_constraint_for_eci():
    assert ECI().skip(problem(noise_std=0.1)) == "noisy data are no hard constraint"
    assert ECI().skip(problem()) is None


def test_settings_of_eci_out_of_range_are_refused():
    for name, value in (("mixing", 0), ("resample", 0), ("source", "drawm"), ("projection", "both"), ("steps", 1)):
        with pytest.raises(UserError, match=str(value)):
            ECI.Config(**{name: value})
