"""Annotations of settings: which values fit them, what they admit in words, what a wrong value probably meant."""

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf
from pydantic import ConfigDict, TypeAdapter, ValidationError

from jensenbench.errors import UnknownName, UserError

Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]

LONGEST = 80  # characters of a refused value that a message shows
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_NOUNS: Mapping[Any, tuple[str, str]] = {  # one, several
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    str: ("text", "texts"),
    NoneType: ("null", "null"),
}
_LIMITS = {Ge: ("ge", "of at least"), Gt: ("gt", "above"), Le: ("le", "of at most"), Lt: ("lt", "below")}


@dataclass(frozen=True)
class Words:
    """What an annotation admits where its limits do not say it: ``Annotated[str, ..., Words("a name", "names")]``."""

    one: str
    several: str


def require(name: str, annotation: Any, value: Any, example: Any = None) -> None:
    """Refuse a value that does not fit an annotation; the line says what is expected and what to write instead."""
    if fits(annotation, value):
        return
    choices = [get_args(arm) for arm in arms(annotation) if get_origin(arm) is Literal]
    if choices and isinstance(value, str):
        raise UnknownName(f"value of {name}", value, map(str, choices[0]))
    finite = ", finite" if isinstance(value, float) and not math.isfinite(value) else ""
    raise UserError(
        f"{name} = {written(value)}: expected {words(annotation)}{finite}{_remedy(annotation, value, example)}"
    )


def fits(annotation: Any, value: Any) -> bool:
    """Whether a value is of the annotated type and within its limits: an int is a float, a bool is no int."""
    if is_dataclass(annotation) and isinstance(annotation, type):
        return isinstance(value, annotation)
    try:
        _adapter(annotation).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=_STRICT)


def arms(annotation: Any) -> tuple[Any, ...]:
    """Alternatives of a union, or the annotation itself."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def bare(annotation: Any) -> Any:
    """An annotation without its limits."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def words(annotation: Any) -> str:
    """What an annotation admits: ``a positive whole number``, ``a list of numbers``, ``one of cpu, cuda``."""
    return " or ".join(_noun(arm, 0) for arm in arms(annotation))


def _noun(annotation: Any, plural: int) -> str:
    limits = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    for limit in limits:
        if isinstance(limit, Words):
            return (limit.one, limit.several)[plural]
    plain = bare(annotation)
    origin, inner = get_origin(plain), get_args(plain)
    some = "a non-empty " if MinLen(1) in limits else "a "
    if origin is Literal:
        choices = ", ".join(map(str, inner))
        return f"one of {choices}" if len(inner) > 1 else choices
    if origin is tuple:
        start = f"{some}list of " if not plural else "lists of "
        return start + " or ".join(_noun(arm, 1) for arm in arms(inner[0]))
    if origin is Mapping or is_dataclass(plain):
        return f"{some}block of settings" if not plural else "blocks of settings"
    return _limited(_NOUNS.get(plain, ("a value", "values"))[plural], limits)


def _limited(noun: str, limits: tuple[Any, ...]) -> str:
    """A noun with its limits: ``a number of at least 0, below 1``."""
    if limits in ((Ge(1),), (Gt(0),)):
        return noun.replace("a ", "a positive ", 1) if noun.startswith("a ") else f"positive {noun}"
    match limits:
        case (Ge(low), Le(high)):
            return f"{noun} from {low} to {high}" if low != high else str(low)
    known = [(limit, *_LIMITS[type(limit)]) for limit in limits if type(limit) in _LIMITS]
    parts = [f"{text} {getattr(limit, name)}" for limit, name, text in known]
    parts += [f"in multiples of {limit.multiple_of}" for limit in limits if isinstance(limit, MultipleOf)]
    return f"{noun} {', '.join(parts)}".strip()


def _remedy(annotation: Any, value: Any, example: Any) -> str:
    """What to write: the value that was probably meant, else an example."""
    for meant in _meant(value):
        if fits(annotation, meant):
            power = isinstance(value, str) and "e" in value.lower()
            reason = " (YAML 1.1 reads a power of ten as text unless it looks like 5.0e-3)" if power else ""
            return f"; write {written(meant)}{reason}"
    return "" if example is None or is_dataclass(example) else f", for instance {written(example)}"


def _meant(value: Any) -> Iterator[Any]:
    """Values that are easily confused with this one: a number in quotes, a number in a list, 8.0 for 8."""
    if isinstance(value, str):
        for number in (int, float):
            with suppress(ValueError):
                yield number(value)
        yield {"true": True, "false": False}.get(value.lower(), value)
        with suppress(ValueError):
            yield from _meant(float(value))
    if isinstance(value, float) and value.is_integer():
        yield int(value)
    if isinstance(value, tuple) and value and all(item == value[0] for item in value):
        yield value[0]
        yield from _meant(value[0])
    if not isinstance(value, tuple | Mapping):
        yield (value,)


def written(value: Any) -> str:
    """A plain value as YAML 1.1 reads it back, on one line, cut where it is long."""
    text = _yaml(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def written_key(key: Any) -> str:
    """A key of a configuration on one line, in quotes only where it holds more than a name."""
    return key if isinstance(key, str) and key.isprintable() else _yaml(key)


def _yaml(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{written_key(key)}: {_yaml(item)}" for key, item in value.items()) + "}"
    text = repr(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text
