"""Settings: frozen dataclasses whose annotations declare types and limits, read from plain values with their checks."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass, replace
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from jensenbench.core.annotations import arms, bare, require, words, written, written_key
from jensenbench.errors import UnknownName, UserError


def require_steps(steps: int) -> None:
    """Refuse grids that have no step to take."""
    if steps != int(steps) or steps < 2:
        raise UserError(f"steps = {steps}: a sampler needs at least 2 whole steps")


def require_nonnegative(name: str, value: float | tuple[float, ...]) -> None:
    """Refuse negative or undefined guidance weights, one number or one for each group of data."""
    for weight in value if isinstance(value, tuple) else (value,):
        if not 0 <= weight < math.inf:
            raise UserError(f"{name} = {value}: weights must be finite and not negative")


def configure(kind: str, preset: Any, overrides: Mapping[str, Any], *, path: str = "") -> Any:
    """``preset`` (a frozen dataclass) with some fields replaced, those of nested dataclasses too.

    Values are kept as they are, an int for a float too; lists become tuples. Unknown names, and values that do not fit
    the annotation of their field, raise UserError, whose line names the key below ``path``.
    """
    return replace(preset, **_read(kind, type(preset), overrides, path, preset))


def build(kind: str, settings: type, values: Mapping[str, Any], *, path: str = "") -> Any:
    """A dataclass of settings from plain values, as :func:`configure`; fields without a default must be given."""
    found = _read(kind, settings, values, path, None)
    for key, own in keys(settings).items():
        if own.name not in found and own.default is MISSING and own.default_factory is MISSING:
            raise UserError(f"{kind} '{path}{key}' is missing: expected {words(annotations(settings)[own.name])}")
    return settings(**found)


def check_settings(settings: Any, kind: str = "") -> None:
    """Hold every field of a dataclass against its annotation: the first line of a ``__post_init__``."""
    for own in fields(settings):
        require(
            f"{kind} {own.name}".lstrip(),
            annotations(type(settings))[own.name],
            getattr(settings, own.name),
            default(own),
        )


@cache
def annotations(settings: type) -> dict[str, Any]:
    """Annotations of the fields of a dataclass, limits included."""
    return get_type_hints(settings, include_extras=True)


def keys(settings: type) -> dict[str, Field[Any]]:
    """Fields of a dataclass by the key that stands for them in a configuration: ``import_`` is ``import`` there."""
    return {own.name.removesuffix("_"): own for own in fields(settings)}


def default(own: Field[Any]) -> Any:
    """Default of a field, None where it has none."""
    if own.default_factory is not MISSING:
        return own.default_factory()
    return None if own.default is MISSING else own.default


def tunable(default: Any, low: float, high: float) -> Any:
    """A setting of a ``Config`` that tuning may choose, log-uniformly between two positive numbers."""
    if not 0 < low < high:
        raise UserError(f"range {low} to {high} of a tunable setting: need 0 < low < high")
    return field(default=default, metadata={"range": (low, high)})


def ranges(config: Any) -> dict[str, tuple[float, float]]:
    """Ranges of the tunable settings of a ``Config`` by name."""
    return {setting.name: setting.metadata["range"] for setting in fields(config) if "range" in setting.metadata}


def _read(kind: str, settings: type, values: Any, path: str, preset: Any) -> dict[str, Any]:
    """Checked values of the fields that are given, by the field's name."""
    if not isinstance(values, Mapping):
        place = f"{kind} {path}".rstrip(". ")
        raise UserError(f"{place} = {written(values)}: expected a block of settings, `key: value`")
    known, types = keys(settings), annotations(settings)
    found = {}
    for key, value in values.items():
        if key not in known:
            raise UnknownName(kind, f"{path}{key}", [f"{path}{name}" for name in known])
        name = known[key].name
        current = default(known[key]) if preset is None else getattr(preset, name)
        found[name] = _value(kind, f"{path}{key}", types[name], value, current)
    return found


def _value(kind: str, path: str, annotation: Any, value: Any, current: Any) -> Any:
    """A checked value: a block of settings becomes its dataclass, a list a tuple."""
    value = tuple(value) if isinstance(value, list) else value
    for arm in map(bare, arms(annotation)):
        origin, inner = get_origin(arm), get_args(arm)
        if is_dataclass(arm) and isinstance(arm, type) and isinstance(value, Mapping):
            if isinstance(current, arm):
                return configure(kind, current, value, path=f"{path}.")
            return build(kind, arm, value, path=f"{path}.")
        if origin is tuple and isinstance(value, tuple):
            value = tuple(_value(kind, f"{path}[{i}]", inner[0], item, None) for i, item in enumerate(value))
        if origin is Mapping and isinstance(value, Mapping) and inner[1] is not Any:
            for key in value:
                require(f"{kind} {path}: name", inner[0], key)
            value = {
                key: _value(kind, f"{path}.{written_key(key)}", inner[1], item, None) for key, item in value.items()
            }
    require(f"{kind} {path}", annotation, value, current)
    return value
