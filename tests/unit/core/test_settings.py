"""Settings are checked against their annotations: right values stay as they are, wrong ones are refused in one line."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import pytest
import yaml
from annotated_types import Ge, Le, MultipleOf
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.annotations import Count, Positive, Share, arms, bare, fits, words, written
from jensenbench.core.settings import annotations, build, check_settings, configure
from jensenbench.errors import UserError
from jensenbench.io.sources import public_modules
from jensenbench.jensen.settings import JensenSettings
from jensenbench.plugins.registry import load_method, load_pde
from jensenbench.priors.backbones.build import BACKBONES
from jensenbench.priors.build import EXACT_SETTINGS
from jensenbench.priors.loop import LoopSettings
from jensenbench.priors.pairs import PairSettings
from jensenbench.priors.training import TrainingSettings


@dataclass(frozen=True)
class Inner:
    count: Count = 3


@dataclass(frozen=True)
class Sample:
    n: int = 32
    beta: float = 2.0
    switch: bool = True
    name: str = "own"
    target: float | None = None
    weights: float | tuple[float, ...] = 1.0
    axes: tuple[int, ...] = ()
    rule: Literal["heun", "euler"] = "heun"
    even: Annotated[int, Ge(2), MultipleOf(2)] = 4
    share: Share = 0.5
    inner: Inner = field(default_factory=Inner)
    more: Mapping[str, Any] = field(default_factory=dict)


def refusal(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        configure("sample setting", Sample(), changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 8.5}, "sample setting n = 8.5: expected a whole number, for instance 32"),
        ({"n": 8.0}, "sample setting n = 8.0: expected a whole number; write 8"),
        ({"n": [16, 16]}, "sample setting n = [16, 16]: expected a whole number; write 16"),
        ({"n": [16, 32]}, "sample setting n = [16, 32]: expected a whole number, for instance 32"),
        ({"n": True}, "sample setting n = true: expected a whole number, for instance 32"),
        ({"n": "8"}, "sample setting n = '8': expected a whole number; write 8"),
        ({"n": None}, "sample setting n = null: expected a whole number, for instance 32"),
        ({"beta": [0.005]}, "sample setting beta = [0.005]: expected a number; write 0.005"),
        ({"beta": False}, "sample setting beta = false: expected a number, for instance 2.0"),
        ({"beta": math.nan}, "sample setting beta = nan: expected a number, finite, for instance 2.0"),
        ({"beta": -math.inf}, "sample setting beta = -inf: expected a number, finite, for instance 2.0"),
        ({"switch": "false"}, "sample setting switch = 'false': expected true or false; write false"),
        ({"switch": 1}, "sample setting switch = 1: expected true or false, for instance true"),
        ({"name": 3}, "sample setting name = 3: expected text, for instance 'own'"),
        ({"target": "x"}, "sample setting target = 'x': expected a number or null"),
        ({"weights": [1, "x"]}, "sample setting weights[1] = 'x': expected a number"),
        ({"axes": 1}, "sample setting axes = 1: expected a list of whole numbers; write [1]"),
        ({"even": 3}, "expected a whole number of at least 2, in multiples of 2, for instance 4"),
        ({"share": 1.5}, "sample setting share = 1.5: expected a number from 0 to 1, for instance 0.5"),
        ({"inner": 3}, "sample setting inner = 3: expected a block of settings"),
        ({"inner": {"count": 0}}, "sample setting inner.count = 0: expected a positive whole number, for instance 3"),
        ({"more": [1]}, "sample setting more = [1]: expected a block of settings"),
        ({"name": {"a": "b" * 999}}, "…: expected text"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected_and_what_to_write(changes, message):
    assert message in refusal(**changes)


@pytest.mark.parametrize("text", ["5e-3", "5E-3", "1e9", "5e-300"])
def test_a_power_that_yaml_reads_as_text_comes_with_a_number_that_it_reads(text):
    value = yaml.safe_load(text)
    assert value == text
    message = refusal(beta=value)
    assert "YAML 1.1" in message
    (meant,) = [part.split(" (")[0] for part in message.split("; write ")[1:]]
    assert yaml.safe_load(meant) == float(text)


def test_unknown_names_come_with_the_nearest_known_one():
    assert "unknown value of sample setting rule 'huen'; did you mean 'heun'?" in refusal(rule="huen")
    assert "unknown sample setting 'bta'; did you mean 'beta'?" in refusal(bta=1)
    assert "unknown sample setting 'inner.cuont'; did you mean 'inner.count'?" in refusal(inner={"cuont": 1})
    with pytest.raises(UserError, match="sample setting = 3: expected a block of settings"):
        configure("sample setting", Sample(), 3)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"beta": 3}, {"beta": 3}),
        ({"weights": [1, 2.0]}, {"weights": (1, 2.0)}),
        ({"target": 1}, {"target": 1}),
        ({"axes": []}, {"axes": ()}),
        ({"inner": {"count": 5}}, {"inner": Inner(5)}),
        ({"more": {"periodic": [1]}}, {"more": {"periodic": [1]}}),
    ],
)
def test_right_values_are_kept_as_they_are(changes, expected):
    found = configure("sample setting", Sample(), changes)
    assert found == replace(Sample(), **expected)
    assert all(type(getattr(found, key)) is type(value) for key, value in expected.items())


def test_a_block_is_read_into_its_dataclass_and_lacks_nothing():
    @dataclass(frozen=True, kw_only=True)
    class Required:
        file: str
        many: tuple[Inner, ...] = ()
        named: Mapping[str, Inner | None] = field(default_factory=dict)

    found = build("key", Required, {"file": "a", "many": [{"count": 1}, {}], "named": {"x": {"count": 2}, "y": None}})
    assert found == Required(file="a", many=(Inner(1), Inner()), named={"x": Inner(2), "y": None})
    with pytest.raises(UserError, match=r"key 'file' is missing: expected text"):
        build("key", Required, {})
    with pytest.raises(UserError, match=r"key many\[1\].count = 0: expected a positive whole number"):
        build("key", Required, {"file": "a", "many": [{}, {"count": 0}]})
    with pytest.raises(UserError, match=r"key named: name = 3: expected text"):
        build("key", Required, {"file": "a", "named": {3: {}}})


def test_settings_that_check_themselves_refuse_what_configure_refuses():
    check_settings(Sample(beta=1))
    with pytest.raises(UserError, match=r"^share = 2: expected a number from 0 to 1"):
        check_settings(Sample(share=2))
    for wrong in (LoopSettings, TrainingSettings):
        with pytest.raises(UserError, match=r"^lr = 0: expected a positive number"):
            wrong(lr=0)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Positive, "a positive number"),
        (tuple[Count, ...], "a list of positive whole numbers"),
        (Annotated[int, Ge(0), Le(0)], "0"),
        (int | None, "a whole number or null"),
        (Literal["cpu", "cuda"], "one of cpu, cuda"),
    ],
)
def test_annotations_in_words(annotation, expected):
    assert words(annotation) == expected


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | st.none())
def test_values_are_written_as_yaml_reads_them_back(value):
    text = written(value)
    assert yaml.safe_load(text) == value or text.endswith("…")


SETTINGS = {
    **{f"pdes.{name}": load_pde(name).Config() for name in public_modules("pdes")},
    **{
        f"methods.{name}.{type(config).__name__}": config
        for name in public_modules("methods")
        for config in load_method(name).variants.values()
    },
    **{f"backbone.{name}": backbone.settings for name, backbone in BACKBONES.items()},
    **{f"prior.{kind}": settings() for kind, settings in EXACT_SETTINGS.items()},
    "training": TrainingSettings(),
    "pairs": PairSettings(),
    "jensen": JensenSettings(),
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["5e-3", "8", "1e400"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def is_number(annotation: Any) -> bool:
    return any(bare(arm) in (int, float) for arm in arms(annotation))


NUMBERS = [
    (name, own.name)
    for name, config in SETTINGS.items()
    for own in dataclasses.fields(config)
    if is_number(annotations(type(config))[own.name])
]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_default_fits_its_annotation(name):
    config = SETTINGS[name]
    for own in dataclasses.fields(config):
        assert annotations(type(config))[own.name] is not Any
        assert fits(annotations(type(config))[own.name], getattr(config, own.name)), own.name


def configured(name: str, key: str, value: Any) -> tuple[Any, str]:
    """The changed value, or None and the message with which it is refused."""
    try:
        return getattr(configure(f"{name} setting", SETTINGS[name], {key: value}), key), ""
    except UserError as error:
        return None, str(error)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NUMBERS), JSON)
def test_any_value_of_a_number_is_of_the_right_type_or_refused_in_one_line(setting, value):
    found, message = configured(*setting, value)
    assert "\n" not in message
    assert message or fits(annotations(type(SETTINGS[setting[0]]))[setting[1]], found)
    assert message or found == (tuple(value) if isinstance(value, list) else value)
