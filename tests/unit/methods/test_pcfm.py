"""PCFM: constraints met by the sample, the equation as one of them, settings that change nothing, bad settings."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior
from methods.pcfm import PCFM, Config

PDE = make_pde("poisson", {"n": 6})
STATES = PDE.generate(range(40), seed=0)
CODEC = Codec.fit(PDE, STATES, power=1)
PRIOR = GaussianPrior.of_pde(PDE, CODEC)
ROWS = 3


def problem(share, noise_std=0.0):
    mask = torch.rand(ROWS, *PDE.shape, generator=torch.Generator().manual_seed(1)) < share
    data = MaskObservation(mask, STATES[:ROWS] * mask, noise_std) if share else None
    scale = STATES.transpose(0, 1).flatten(1).std(1)
    return Problem(PDE, "any", CODEC, observation=data, scale=scale, term_scale=term_scale(PDE, STATES))


def sample(config, share):
    return PCFM(config).sample(PRIOR, problem(share), KeyedNoise([("pcfm", row) for row in range(ROWS)]))


def shortened(variant, **changes):
    return dataclasses.replace(PCFM.variants[variant], steps=6, **changes)


@pytest.mark.parametrize("variant", ["corrected", "published", "equation"])
def test_samples_meet_the_data(variant):
    found = sample(shortened(variant), 0.3)
    unit = problem(0.3).scale.reshape(-1, 1, 1)
    assert (problem(0.3).misfit(found) / unit).abs().max() < (1e-9 if variant == "corrected" else 1e-5)


def test_everything_observed_is_returned():
    found = CODEC.decode(sample(shortened("corrected"), 1.1))
    assert (found - STATES[:ROWS]).abs().max() < 1e-9 * STATES.abs().max()


def test_the_equation_may_be_one_of_the_constraints():
    """Wrong noise levels of a coarse trajectory leave a residual that the projection removes."""
    residual = {}
    for equation in (False, True):
        found = sample(shortened("equation", equation=equation), 0.3)
        residual[equation] = float(problem(0.3).residual(found)["interior"].square().mean().sqrt())
    assert residual[True] < 1e-4 * problem(0.3).term_scale
    assert residual[True] < 0.1 * residual[False]


def test_settings_that_should_change_nothing():
    plain = sample(shortened("published"), 0.3)
    for changes in ({"mode": "least_squares"}, {"relax": 5, "weight": 0.0}, {"relax": 5, "step_size": 1e-14}):
        assert torch.allclose(sample(shortened("published", **changes), 0.3), plain, atol=1e-10)


def test_noisy_data_are_skipped_with_a_reason():
    assert "noisy" in str(PCFM().skip(problem(0.3, noise_std=0.1)))
    assert PCFM().skip(problem(0.3)) is None


@settings(max_examples=30, deadline=None)
@given(
    st.one_of(
        st.fixed_dictionaries({"newton": st.integers(-3, 0)}),
        st.fixed_dictionaries({"iterations": st.integers(-3, 0)}),
        st.fixed_dictionaries({"relax": st.integers(-9, -1)}),
        st.fixed_dictionaries({"final": st.integers(-9, -1)}),
        st.fixed_dictionaries({"damping": st.floats(-1, -1e-9)}),
        st.fixed_dictionaries({"weight": st.floats(-1, -1e-9)}),
        st.fixed_dictionaries({"step_size": st.floats(-1, 0)}),
        st.fixed_dictionaries({"tolerance": st.just(float("nan"))}),
        st.fixed_dictionaries({"mode": st.just("roots")}),
        st.fixed_dictionaries({"source": st.just("draw")}),
    )
)
def test_impossible_settings_are_refused_by_value(options):
    (value,) = options.values()
    with pytest.raises(UserError) as refused:
        Config(**options)
    assert str(value) in str(refused.value)
