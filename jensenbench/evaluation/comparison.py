"""One metric of all methods on one (pde, prior, task): values, intervals, ties and ranks for a table."""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from jensenbench.evaluation.metrics import find_metric
from jensenbench.evaluation.statistics import Array, Estimate, Scale, estimate, from_replicates, tied, tied_sets

CONTROL = "control"
Key = tuple[str, str]


@dataclass(frozen=True)
class Compared:
    """A method's value of one metric.

    Attributes:
        value, low, high: mean and 95 % interval, back on the metric's own scale (the mean of a ``log``
            metric is geometric); NaN where there is none.
        n_ok, n: instances, over all seeds, that have a value, and that were asked for.
        best: not separated from the best method. Controls and methods with gaps are never best.
        rank: 1 for the least bad; methods with gaps share the last one. None for controls and unranked metrics.
        conditional: the interval holds for these training seeds only.
    """

    method: str
    variant: str
    value: float
    low: float
    high: float
    n_ok: int
    n: int
    best: bool
    rank: int | None
    conditional: bool


def compare(runs: pd.DataFrame, metrics: pd.DataFrame, name: str, *, floor: float = 0.0) -> dict[Key, Compared]:
    """Compare the (method, variant) pairs of ``runs`` on one metric.

    Args:
        runs: rows of one (pde, prior, task), all seeds.
        metrics: rows of the metrics table (of these runs; others are ignored).
        name: full name of the metric, for instance ``rel_l2_mean/u@solved``.
        floor: the data's residual, added before the logarithm of residuals (:func:`residual_floors`).
    """
    metric = find_metric(name)
    values = cast(pd.DataFrame, metrics[metrics["run_id"].isin(list(runs["run_id"]))])
    scale = Scale(metric, floor, _points(values, name) if metric.transform == "log_count" else 1.0)
    keys = sorted(set(zip(runs["method"], runs["variant"], strict=True)))
    tables = {key: _table(_of(runs, key), rows_of(values, metric=name), scale) for key in keys}
    replicates = (
        {key: _replicates(_of(runs, key), values, name, scale) for key in keys} if metric.scope == "set" else {}
    )
    rivals = {key: scale.badness(table) for key, table in tables.items() if key[0] != CONTROL}
    ranked = metric.direction is not None
    best = _best(rivals, replicates, metric.scope == "set") if ranked else set()
    ranks = _ranks(rivals) if ranked else {}
    return {
        key: _compared(key, table, scale, _estimate(table, replicates.get(key)), key in best, ranks.get(key))
        for key, table in tables.items()
    }


def residual_floors(runs: pd.DataFrame, metrics: pd.DataFrame) -> dict[tuple[str, str], tuple[float, float]]:
    """(pde, prior) to the data's own ``residual_rel`` as stored and rounded to float32."""
    labels = runs.set_index("run_id")[["pde", "prior", "variant"]]
    rows = rows_of(metrics, metric="residual_floor").join(labels, on="run_id")
    names = zip(rows["pde"], rows["prior"], rows["variant"], strict=True)
    found = dict(zip(names, rows["value"], strict=True))
    return {
        (pde, prior): (found.get((pde, prior, "data_floor"), 0.0), found.get((pde, prior, "float32_floor"), 0.0))
        for pde, prior in sorted({(pde, prior) for pde, prior, _ in found})
    }


def rows_of(frame: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """Rows whose columns have the wanted values."""
    keep = np.ones(len(frame), dtype=bool)
    for column, value in wanted.items():
        keep &= (frame[column] == value).to_numpy()
    return cast(pd.DataFrame, frame[keep])


def _of(runs: pd.DataFrame, key: Key) -> pd.DataFrame:
    return rows_of(runs, method=key[0], variant=key[1]).sort_values(by="seed")


def _table(runs: pd.DataFrame, values: pd.DataFrame, scale: Scale) -> Array:
    """(S, N) transformed values, averaged over draws; NaN where a run has none. Set metrics have N = 1."""
    size = 1 if scale.metric.scope == "set" else int(runs["n_instances"].to_numpy().max())
    table = np.full((len(runs), size), np.nan)
    for row, (run_id, draws) in enumerate(zip(runs["run_id"], runs["n_draws"], strict=True)):
        part = rows_of(values, run_id=run_id)
        index = part["instance"].fillna(0).to_numpy(dtype=int)
        count = np.bincount(index, minlength=size)
        total = np.bincount(index, scale.forward(part["value"].to_numpy()), minlength=size)
        whole = count == (draws if scale.metric.scope == "draw" else 1)
        table[row, whole] = total[whole] / count[whole]
    return table


def _points(values: pd.DataFrame, name: str) -> float:
    field = name.split("@")[0].partition("/")[2]
    found = rows_of(values, metric=f"points/{field}")["value"].to_numpy()
    return float(found[0]) if len(found) else 1.0


def _replicates(runs: pd.DataFrame, values: pd.DataFrame, name: str, scale: Scale) -> Array | None:
    """(S, B) resampled, transformed values of a set metric; None where a run has none."""
    rows = rows_of(values, metric=f"{name}@bootstrap").sort_values(by="draw")
    parts = [rows_of(rows, run_id=run_id)["value"].to_numpy() for run_id in runs["run_id"]]
    sizes = {len(part) for part in parts}
    return scale.forward(np.stack(parts)) if len(sizes) == 1 and 0 not in sizes else None


def _estimate(table: Array, replicates: Array | None) -> Estimate:
    return estimate(table) if replicates is None else from_replicates(table[:, 0], replicates)


def _best(rivals: dict[Key, Array], replicates: dict[Key, Array | None], is_set: bool) -> set[Key]:
    named = {"\n".join(key): key for key in rivals}
    values = {name: rivals[key] for name, key in named.items()}
    if is_set:
        resampled = {name: r for name, key in named.items() if (r := replicates.get(key)) is not None}
        return {named[name] for name in tied_sets({name: v[:, 0] for name, v in values.items()}, resampled)}
    return {named[name] for name in tied(values)}


def _ranks(rivals: dict[Key, Array]) -> dict[Key, int]:
    means = {key: float(values.mean()) for key, values in rivals.items()}
    order = sorted(value for value in means.values() if math.isfinite(value))
    last = len(order) + 1
    return {key: order.index(mean) + 1 if math.isfinite(mean) else last for key, mean in means.items()}


def _compared(key: Key, table: Array, scale: Scale, found: Estimate, best: bool, rank: int | None) -> Compared:
    low, high = found.interval()
    value, low, high = (scale.back(y) if math.isfinite(y) else math.nan for y in (found.mean, low, high))
    n_ok = int(np.isfinite(table).sum())
    return Compared(*key, value, low, high, n_ok, table.size, best, rank, found.conditional)
