"""Plug-ins by file name: ``methods/dps.py`` holds the method ``dps``, ``pdes/darcy.py`` the PDE ``darcy``."""

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor

from jensenbench.core.method import Method
from jensenbench.core.pde import PDE
from jensenbench.core.settings import configure
from jensenbench.errors import UnknownName, UserError
from jensenbench.io.provenance import ROOT
from jensenbench.io.sources import public_modules

HIGH_ORDER = "pdes._high_order"  # stencils that judge samples: no method may be guided by them


def load_method(name: str) -> type[Method]:
    """The class of ``methods/{name}.py``."""
    return _load("methods", "method", name, Method)


def load_pde(name: str) -> type[PDE]:
    """The class of ``pdes/{name}.py``."""
    return _load("pdes", "PDE", name, PDE)


def make_pde(name: str, settings: Mapping[str, Any]) -> PDE:
    """A PDE with checked settings; raises UserError where the plug-in lacks what every stage needs."""
    kind = load_pde(name)
    pde = kind(configure(f"{name} setting", kind.Config(), settings))
    if not pde.symmetries():
        raise UserError(f"pdes/{name}.py: `symmetries` returns no map; let it return (lambda state: state,) or more")
    return pde


def high_order_residual(pde: PDE, state: Tensor) -> Tensor | None:
    """(b, *points) residual of states (b, C, *grid) by a stencil of fourth order, None where the PDE has none."""
    return _module(HIGH_ORDER).high_order_residual(pde, state)


def method_config(method: type[Method], variant: str, *overrides: Mapping[str, Any]) -> Any:
    """Settings of a variant with overrides, for instance the tuned settings and then the tier's."""
    if variant not in method.variants:
        raise UnknownName(f"variant of {method.name}", variant, method.variants)
    config = method.variants[variant]
    for settings in overrides:
        config = configure(f"{method.name} setting", config, settings)
    return config


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
    module = _module(f"{package}.{name}")
    found = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, base)]
    own = [value for value in found if value.__module__ == module.__name__ and not inspect.isabstract(value)]
    if len(own) != 1 or vars(own[0]).get("name") != name:
        raise UserError(
            f"{package}/{name}.py must define one {kind} class with name = {name!r}, found {[c.__name__ for c in own]}"
        )
    return own[0]


def _module(name: str) -> ModuleType:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(name)
