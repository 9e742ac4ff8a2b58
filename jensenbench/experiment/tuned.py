"""Tuned settings: what ``config/methods/{method}.yaml`` says of a variant on a PDE."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jensenbench.evaluation.tuning import distribution_name
from jensenbench.io.files import read_yaml
from jensenbench.io.provenance import ROOT


@dataclass(frozen=True)
class Tuned:
    """Settings that replace a variant's preset on a PDE, and those of single tasks.

    Attributes:
        trials: number of trials of which the settings of a task are the best, by the task's label; only on data of the
            distribution that the trials saw.
    """

    shared: Mapping[str, Any] = field(default_factory=dict)
    by_task: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trials: Mapping[str, int] = field(default_factory=dict)


def find_tuned(method: str, variant: str, pde: str, label: str) -> Tuned:
    """The tuned settings of a variant on a PDE, by the PDE's module name; empty ones where it was not tuned.

    ``label`` names the data: trials count where they saw the same distribution, on whatever grid.
    """
    content = tuned_settings(method)

    def of_pde(key: str) -> Any:
        return content.get(key, {}).get(variant, {}).get(pde)

    shared, by_task = split_tasks(of_pde("settings") or {})
    origin = of_pde("provenance") or {}
    seen = distribution_name(label) in origin.get("data", [])
    trials = dict.fromkeys(origin.get("won_by", {}), of_pde("trials") or 0) if seen else {}
    return Tuned(shared, by_task, trials)


def tuned_settings(method: str) -> dict[str, Any]:
    """Content of ``config/methods/{method}.yaml``, empty where there is no such file."""
    path = ROOT / "config" / "methods" / f"{method}.yaml"
    return read_yaml(path) if path.exists() else {}


def split_tasks(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Settings for all tasks, and what ``tasks:`` among them changes for each."""
    shared = {key: value for key, value in settings.items() if key != "tasks"}
    return shared, {task: dict(own) for task, own in settings.get("tasks", {}).items()}
