"""Whatever the settings of a PDE: sound data, or one line that names the setting and says what to do."""

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.pde import PDE
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UserError
from jensenbench.io.sources import public_modules
from jensenbench.plugins.registry import load_pde, make_pde

NAMES = public_modules("pdes")
SMALL = {name: {"n": max(9, load_pde(name).least_n)} for name in NAMES} | {"circle": {"n": 1}, "mixture": {"n": 1}}
SMALL["navier_stokes"] |= {"snapshots": 3}
SETTINGS = [
    (name, field.name, getattr(load_pde(name).Config(), field.name))
    for name in NAMES
    for field in dataclasses.fields(load_pde(name).Config)
    if field.name != "n"
]
NUMBERS = [(name, key) for name, key, value in SETTINGS if isinstance(value, float)]
WORDS = [(name, key) for name, key, value in SETTINGS if isinstance(value, str)]
COUNTS = [(name, key) for name, key, value in SETTINGS if isinstance(value, int)]
POSITIVE = {"nu", "low", "width", "length", "k_low", "omega_low", "m_low", "shock_low", "horizon", "alpha", "tau", "dt"}


def refusal(name: str, **changed: Any) -> str:
    """The message with which settings are refused; empty where they give finite states that are what they should be."""
    try:
        pde = make_pde(name, {**SMALL[name], **changed})
        check_sound(pde)
    except UserError as error:
        return str(error)
    return ""


def built(name: str, **changed: Any) -> str:
    """The message with which a PDE of these settings is refused before it draws anything."""
    try:
        make_pde(name, changed)
    except UserError as error:
        return str(error)
    return ""


def check_sound(pde: PDE) -> None:
    states = pde.check(pde.generate(range(2), seed=0))
    parts = pde.residual(states)
    assert all(torch.isfinite(part).all() for part in parts.values())


def assert_one_line(message: str, name: str, value: object) -> None:
    assert "\n" not in message
    assert len(message) < 250
    assert name.split("_")[0] in message or "sample" in message or str(value) in message, message


@pytest.mark.parametrize(("name", "key"), NUMBERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused_by_name(name, key, value):
    message = refusal(name, **{key: value})
    assert_one_line(message, name, value)
    assert key in message
    assert str(value) in message


@pytest.mark.parametrize(("name", "key"), [pair for pair in NUMBERS if pair[1] in POSITIVE])
@pytest.mark.parametrize("value", [0.0, -0.3])
def test_constants_that_must_be_positive_are(name, key, value):
    message = refusal(name, **{key: value})
    assert_one_line(message, name, value)
    assert key in message


@pytest.mark.parametrize(("name", "key"), WORDS)
def test_unknown_words_are_refused_with_the_known_ones(name, key):
    message = refusal(name, **{key: "nonsense"})
    assert "'nonsense'" in message
    assert "known" in message


@pytest.mark.parametrize(("name", "key"), COUNTS)
def test_counts_beyond_what_there_is_are_refused_by_name(name, key):
    for value in (-3, 10**6 if key == "modes" else 1):
        assert key in refusal(name, **{key: value})


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NUMBERS), st.floats(-12, 12), st.booleans())
def test_any_size_of_a_constant_gives_sound_data_or_one_line(pair, exponent, negative):
    (name, key), value = pair, (-1 if negative else 1) * 10**exponent
    message = refusal(name, **{key: value})
    if message:
        assert_one_line(message, name, value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", range(-2, 21))
def test_a_grid_odd_or_tiny_gives_data_at_their_floor_or_is_refused(name, n):
    message = built(name, n=n)
    if message:
        assert "n = " in message
        assert any(word in message for word in ("use", "must")), message
        return
    pde = make_pde(name, {"n": n})
    states = pde.check(pde.generate(range(2), seed=0))
    residual = pde.residual(states)["interior"].square().mean().sqrt()
    unit = max(term_scale(pde, states), float(states.abs().max()))  # wells may lie in edge nodes alone
    assert float(residual) <= pde.data_floor * unit


@pytest.mark.parametrize("n", [8, 9, 33])
def test_no_wave_number_at_or_above_the_first_resonance_is_solved(n):
    resonance = make_pde("helmholtz", {"n": n}).solver.first_eigenvalue ** 0.5
    for k in (resonance, 1.001 * resonance, 7.3, 1e200):
        with pytest.raises(UserError, match=r"first resonance of the .*; choose a smaller k"):
            make_pde("helmholtz", {"n": n, "k": k})
    check_sound(make_pde("helmholtz", {"n": n, "k": 0.999 * resonance}))


def test_time_steps_that_the_flow_is_too_fast_for_are_refused():
    inviscid = make_pde("burgers_inviscid", {"n": 9})
    fast = inviscid.draw(range(2), seed=0)
    fast[1] *= 3
    with pytest.raises(UserError, match=r"sample 1 .* than the time step dt = h allows"):
        inviscid.solve(fast)
    with pytest.raises(UserError, match=r"left_high = 1\.5"):
        make_pde("burgers_inviscid", {"left_high": 1.5})
    violent = {"n": 16, "arm": "end_points", "data": "published", "dt": 1.0, "horizon": 50.0, "forcing": 10.0}
    with pytest.raises(UserError, match="sample 0 overflows"):
        make_pde("navier_stokes", violent).generate([0], seed=0)
    with pytest.raises(UserError, match="sample 0 did not converge with time step"):
        make_pde("navier_stokes", {"n": 9, "snapshots": 2, "forcing": 50.0}).generate([0], seed=0)
