"""Tuned settings: what ``config/methods/{method}.yaml`` says of a variant on a PDE."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jensenbench.io.files import read_yaml
from jensenbench.io.provenance import ROOT


@dataclass(frozen=True)
class Tuned:
    """Settings that replace a variant's preset on a PDE, those of single tasks, and the trials they come from."""

    shared: Mapping[str, Any] = field(default_factory=dict)
    by_task: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trials: int = 0


def find_tuned(method: str, variant: str, pde: str) -> Tuned:
    """The tuned settings of a variant on a PDE, by the PDE's module name; empty ones where it was not tuned."""
    content = tuned_settings(method)
    shared, by_task = split_tasks(content.get("settings", {}).get(variant, {}).get(pde, {}))
    return Tuned(shared, by_task, content.get("trials", {}).get(variant, {}).get(pde, 0))


def tuned_settings(method: str) -> dict[str, Any]:
    """Content of ``config/methods/{method}.yaml``, empty where there is no such file."""
    path = ROOT / "config" / "methods" / f"{method}.yaml"
    return read_yaml(path) if path.exists() else {}


def split_tasks(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Settings for all tasks, and what ``tasks:`` among them changes for each."""
    shared = {key: value for key, value in settings.items() if key != "tasks"}
    return shared, {task: dict(own) for task, own in settings.get("tasks", {}).items()}
