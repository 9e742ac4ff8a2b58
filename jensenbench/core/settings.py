"""Settings: frozen dataclasses whose values are checked one by one, each refusal one line with the remedy."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any

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


def configure(kind: str, preset: Any, overrides: Mapping[str, Any]) -> Any:
    """``preset`` (a frozen dataclass) with some fields replaced, nested ones too; unknown names are refused."""
    known = {field.name for field in dataclasses.fields(preset)}
    for key in overrides:
        if key not in known:
            raise UnknownName(kind, key, known)
    values = {key: _value(kind, key, getattr(preset, key), value) for key, value in overrides.items()}
    return dataclasses.replace(preset, **values)


def _value(kind: str, key: str, default: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
        return configure(f"{kind} {key}", default, value)
    value = tuple(value) if isinstance(value, list) else value
    _check_type(kind, key, default, value)
    return value


def _check_type(kind: str, key: str, default: object, value: object) -> None:
    number = isinstance(default, int | float) and not isinstance(default, bool)
    accepted = (int, float) if number else (type(default),)
    if default is not None and not isinstance(value, (*accepted, tuple)):
        raise UserError(
            f"{kind} {key!r}: {value!r} is a {type(value).__name__}, "
            f"expected a {type(default).__name__} like {default!r}"
        )


def tunable(default: Any, low: float, high: float) -> Any:
    """A setting of a ``Config`` that tuning may choose, log-uniformly between two positive numbers."""
    if not 0 < low < high:
        raise UserError(f"range {low} to {high} of a tunable setting: need 0 < low < high")
    return field(default=default, metadata={"range": (low, high)})


def ranges(config: Any) -> dict[str, tuple[float, float]]:
    """Ranges of the tunable settings of a ``Config`` by name."""
    return {setting.name: setting.metadata["range"] for setting in fields(config) if "range" in setting.metadata}
