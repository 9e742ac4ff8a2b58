"""Tuning: the settings that are tried, the criterion by which they are compared, and the winners."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from jensenbench.core.method import Method
from jensenbench.core.settings import ranges
from jensenbench.evaluation.metrics import ranking_metric
from jensenbench.io.frames import groups, records
from jensenbench.numerics.random import seed_of
from jensenbench.plugins.registry import load_method

DIGITS = 3  # of a setting that is tried
PREFIX = "tune"
SPLIT = "validation"  # of the states that trials see

COLUMNS = (
    "pde", "prior", "method", "variant", "task", "trial", "status", "criterion", "value", "n", "settings", "run_id",
)  # fmt: skip


def tuned_ranges(method: type[Method], variant: str) -> dict[str, tuple[float, float]]:
    """Ranges of what tuning may choose for a variant; nothing for a published one."""
    return ranges(method.variants[variant]) if variant in method.tunes else {}


def proposals(method: type[Method], variant: str, count: int) -> list[dict[str, float]]:
    """Changes of the preset that are tried: none first, then a Latin hypercube of the logarithms.

    A function of the names alone: every PDE, prior and task sees the same. One trial where nothing is tunable.
    """
    limits = tuned_ranges(method, variant)
    if not limits:
        return [{}]
    stream = np.random.default_rng(seed_of((PREFIX, method.name, variant, count)))
    columns = {name: _stratified(stream, low, high, count - 1) for name, (low, high) in limits.items()}
    return [{}, *({name: values[i] for name, values in columns.items()} for i in range(count - 1))]


def _stratified(stream: np.random.Generator, low: float, high: float, count: int) -> list[float]:
    """One value in each of ``count`` equal parts of the logarithm's range, in random order."""
    shares = (stream.permutation(count) + stream.random(count)) / max(count, 1)
    values = low * (high / low) ** shares
    return [min(max(float(f"{value:.{DIGITS}g}"), low), high) for value in values]


def trial_name(number: int, variant: str) -> str:
    """The variant under which a trial's runs are stored."""
    return f"{PREFIX}-{number:02d}-{variant}"


def parse_trial(name: str) -> tuple[int, str]:
    """Number and variant of a trial's name."""
    _, number, variant = name.split("-", 2)
    return int(number), variant


def trial_table(runs: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per trial and task: its value, a mean over instances (NaN unless it ended well)."""
    values = {(run, name): part["value"].to_numpy() for (run, name), part in groups(metrics, ["run_id", "metric"])}
    rows = [_trial(run, values) for run in records(runs)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(list(COLUMNS[:6]), ignore_index=True)


def _trial(run: Mapping[str, Any], values: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    number, variant = parse_trial(run["variant"])
    metric = ranking_metric(run["task"])
    found = values.get((run["run_id"], metric), np.array([]))
    mean = float(found.mean()) if len(found) and run["status"] == "ok" else math.nan
    names = tuned_ranges(load_method(run["method"]), variant)
    config = json.loads(run["config_json"])["method"]
    return {
        **{key: run[key] for key in ("pde", "prior", "method", "task", "status", "run_id")},
        "variant": variant, "trial": number, "criterion": metric, "value": mean, "n": len(found),
        "settings": json.dumps({name: config[name] for name in names}),
    }  # fmt: skip


def distribution_name(label: str) -> str:
    """The name of a PDE's data without the size of the grid: ``darcy-two_valued`` of ``darcy-two_valued-16``."""
    return re.sub(r"-\d+$", "", label)


@dataclass(frozen=True)
class Winner:
    """The settings with the smallest criterion, of a method's variant on one PDE and task, and the trials' ``data``."""

    method: str
    variant: str
    pde: str
    task: str
    trial: int
    trials: int
    settings: Mapping[str, float]
    data: tuple[str, ...]


def winners(table: pd.DataFrame, pde_names: Mapping[str, str]) -> list[Winner]:
    """Best trial by (method, variant, PDE, task): the smallest mean logarithm over the PDE's labels and priors.

    The preset wins a tie. A trial that failed anywhere cannot win; where all failed, nothing is chosen. Variants
    without tunable settings have no winner. ``pde_names``: the PDE of each label.
    """
    chosen = []
    tunable = table[table["settings"] != "{}"].assign(label=table["pde"], pde=table["pde"].map(pde_names))
    for (method, variant, pde, task), part in groups(tunable, ["method", "variant", "pde", "task"]):
        logs = part.assign(log=np.log(part["value"])).groupby("trial")["log"].agg(lambda log: log.mean(skipna=False))
        if logs.notna().any():
            best = int(str(logs.idxmin()))
            settings = json.loads(part.loc[part["trial"] == best, "settings"].iloc[0])
            data = tuple(sorted({distribution_name(label) for label in part["label"]}))
            chosen.append(Winner(method, variant, pde, task, best, len(logs), settings, data))
    return chosen


def merged(content: Mapping[str, Any], chosen: list[Winner], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Content of ``config/methods/{method}.yaml`` with the winners of that method put in, the rest kept."""
    result: dict[str, Any] = json.loads(json.dumps(content))
    for winner in chosen:
        settings = _inner(result, "settings", winner.variant, winner.pde, "tasks")
        settings[winner.task] = dict(winner.settings)
        _inner(result, "trials", winner.variant)[winner.pde] = winner.trials
        won = _inner(result, "provenance", winner.variant, winner.pde)
        won.update(provenance, data=list(winner.data))
        won.setdefault("won_by", {})[winner.task] = winner.trial
    return result


def _inner(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        content = content.setdefault(key, {})
    return content


def described(winner: Winner) -> str:
    """One line about a winner."""
    values = ", ".join(f"{name} = {value:g}" for name, value in winner.settings.items())
    labels = " ".join(str(value) for value in list(asdict(winner).values())[:4])
    return f"{labels}: trial {winner.trial} of {winner.trials}: {values}"
