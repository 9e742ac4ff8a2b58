"""Plug-ins by file name: ``methods/dps.py`` holds the method ``dps``, ``pdes/darcy.py`` the PDE ``darcy``."""

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Mapping
from typing import Any

from jensenbench.errors import UnknownName, UserError
from jensenbench.method import Method
from jensenbench.pde import PDE
from jensenbench.provenance import ROOT, public_modules


def load_method(name: str) -> type[Method]:
    """The class of ``methods/{name}.py``."""
    return _load("methods", "method", name, Method)


def load_pde(name: str) -> type[PDE]:
    """The class of ``pdes/{name}.py``."""
    return _load("pdes", "PDE", name, PDE)


def make_pde(name: str, settings: Mapping[str, Any]) -> PDE:
    """A PDE with checked settings."""
    pde = load_pde(name)
    return pde(configure(f"{name} setting", pde.Config(), settings))


def method_config(method: type[Method], variant: str, *overrides: Mapping[str, Any]) -> Any:
    """Settings of a variant with overrides, for instance the tuned settings and then the tier's."""
    if variant not in method.variants:
        raise UnknownName(f"variant of {method.name}", variant, method.variants)
    config = method.variants[variant]
    for settings in overrides:
        config = configure(f"{method.name} setting", config, settings)
    return config


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


def catalog() -> dict[str, dict[str, Any]]:
    """Metadata of all plug-ins as plain values."""
    methods = {name: describe_method(load_method(name)) for name in public_modules("methods")}
    pdes = {name: describe_pde(load_pde(name)) for name in public_modules("pdes")}
    return {"methods": methods, "pdes": pdes}


def describe_method(method: type[Method]) -> dict[str, Any]:
    """What the reports and the workflow say about a method."""
    return {
        "version": method.version,
        "summary": (inspect.getdoc(method) or "").split("\n")[0],
        "variants": {name: dataclasses.asdict(config) for name, config in method.variants.items()},
        "capabilities": dataclasses.asdict(method.capabilities),
        "reduces_to": method.reduces_to,
        "references": list(method.references),
        "deviations": list(method.deviations),
    }


def describe_pde(pde: type[PDE]) -> dict[str, Any]:
    """What the reports and the workflow say about a PDE."""
    return {
        "version": pde.version,
        "summary": (inspect.getdoc(pde) or "").split("\n")[0],
        "settings": dataclasses.asdict(pde.Config()),
        "schemes": list(pde().schemes),
        "references": list(pde.references),
    }


def _load(package: str, kind: str, name: str, base: type) -> Any:
    if name not in public_modules(package):
        raise UnknownName(kind, name, public_modules(package))
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    module = importlib.import_module(f"{package}.{name}")
    found = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, base)]
    own = [value for value in found if value.__module__ == module.__name__ and not inspect.isabstract(value)]
    if len(own) != 1 or vars(own[0]).get("name") != name:
        raise UserError(
            f"{package}/{name}.py must define one {kind} class with name = {name!r}, found {[c.__name__ for c in own]}"
        )
    return own[0]
