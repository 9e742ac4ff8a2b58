"""Numbers of one (pde, prior, task): estimates with intervals, ties, ranks, and the marks that go with them."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jensenbench.core.tasks import TASKS, Task
from jensenbench.evaluation.metrics import BOOTSTRAP, find_metric, ranking_metric
from jensenbench.evaluation.statistics import (
    MIN_SEEDS,
    Array,
    Scale,
    Separation,
    estimate,
    estimate_skewed,
    from_replicates,
    separate,
    separate_sets,
)
from jensenbench.reporting.render import Block, Cell, Rank, Row
from jensenbench.reporting.results import CONTROL, Results

LARGE_FLOOR = 0.01  # of the equation's largest term: a residual says nothing where the data miss it by more
OPEN = ("residual", "constraint_error")  # metrics whose parts are no fields
NEVER_BOLD = (
    "rel_l2",  # of single draws: √2 worse for a perfect sampler than of the mean
    "coverage_50", "coverage_90",  # nominal values, right on average only
    "residual_rms", "residual_mae", "residual_max", "residual",  # physical units: residual_rel in another scale
)  # fmt: skip
FIT_WEIGHTS = ("residual_weight", "c_residual")  # settings of a fit that learns with the equation
FLOORED = ("residual_rel", "residual_own", "residual_thresholded")  # in units of the equation's terms, as floors are


@dataclass(frozen=True)
class Candidate:
    """All seeds of one method and variant, or of a control.

    Attributes:
        run_ids: run of each seed of the group, None where it is missing.
        states: instances of each seed; residual_aware: whether it used the residual while sampling or in its fit.
    """

    method: str
    variant: str
    run_ids: tuple[str | None, ...]
    states: int
    status: str
    reason: str
    nfe: float
    residual_aware: bool

    @property
    def name(self) -> str:
        return f"{self.method}/{self.variant}"

    @property
    def control(self) -> bool:
        return self.method == CONTROL

    @property
    def total(self) -> int:
        return self.states * len(self.run_ids)


class Group:
    """The runs of one (pde, prior, task) and their metrics."""

    def __init__(self, results: Results, pde: str, prior: str, task: str):
        self.pde, self.prior, self.task = pde, prior, task
        self.exact = results.exact(prior)
        self.dataset = results.dataset(pde)
        runs = results.select(pde, prior, task)
        self.seeds = sorted(runs["seed"].unique())
        self.candidates = tuple(_candidate(part, self.seeds) for _, part in runs.groupby(["method", "variant"]))
        metrics = results.metrics[results.metrics["run_id"].isin(set(runs["run_id"]))]
        indices = metrics.groupby(["run_id", "metric"]).indices
        self._positions = cast(Mapping[tuple[str | None, str], NDArray[np.int_]], indices)
        self._value, self._instance, self._draw = (
            metrics[name].to_numpy(dtype=float, na_value=math.nan) for name in ("value", "instance", "draw")
        )

    @property
    def meaningless(self) -> bool:
        """Whether the data themselves miss the equation by so much that no residual says anything."""
        return self.dataset.floor > LARGE_FLOOR

    @cached_property
    def names(self) -> set[str]:
        """Full names of all metrics that any run has."""
        return {name for _, name in self._positions}

    def columns(self, patterns: Iterable[str]) -> list[str]:
        """Metrics present; ``name/*`` stands for every unknown field or other part."""
        chosen: list[str] = []
        for pattern in patterns:
            base, _, part = pattern.rpartition("/") if pattern.endswith("/*") else (pattern, "", "")
            fields = [f"{base}/{field}" for field in self.unknown_fields]
            others = sorted(n for n in self.names if n.startswith(f"{base}/") and "@" not in n and base in OPEN)
            chosen += [name for name in (fields + others if part == "*" else [pattern]) if name in self.names]
        return chosen

    @property
    def _task(self) -> Task | None:
        return TASKS.get(self.task.split("_noise")[0])

    @property
    def observes_region(self) -> bool:
        """Whether the task observes a region of the evolution: its start, its ends, sensors."""
        return self._task is not None and bool(self._task.region)

    @property
    def unknown_fields(self) -> list[str]:
        """Fields of which the task leaves something to find."""
        task = self._task
        known = {role for role in ("coefficient", "solution") if task is not None and task.knows(role)}
        return [field.name for field in self.dataset.pde.fields if field.role not in known]

    def values(self, candidate: Candidate, metric: str) -> Array:
        """(S, N) means over draws, or (S,) of a set metric; NaN where there is nothing."""
        rows = [self._positions.get((run_id, metric), np.array([], dtype=int)) for run_id in candidate.run_ids]
        if find_metric(metric).scope == "set":
            return np.array([self._value[row[0]] if len(row) else math.nan for row in rows])
        return np.array([self._means(row, candidate.states) for row in rows])

    def _means(self, rows: NDArray[np.int_], states: int) -> Array:
        """Mean over the draws of each instance, NaN where there is none."""
        instance = self._instance[rows].astype(int)
        count = np.bincount(instance, minlength=states)
        total = np.bincount(instance, weights=self._value[rows], minlength=states)
        return np.divide(total, count, out=np.full(len(count), math.nan), where=count > 0)

    def replicates(self, candidate: Candidate, metric: str) -> Array | None:
        """(S, B) resampled values of a set metric, None unless every seed has them."""
        rows = [self._positions.get((run_id, f"{metric}@{BOOTSTRAP}")) for run_id in candidate.run_ids]
        found = [self._value[row[np.argsort(self._draw[row])]] for row in rows if row is not None]
        return np.array(found) if len(found) == len(rows) else None

    def scale(self, metric: str) -> Scale:
        declared, field = find_metric(metric), metric.split("@")[0].partition("/")[2]
        points = [rows[0] for (_, name), rows in self._positions.items() if name == f"points/{field}"]
        return Scale(declared, floor=self.dataset.floor, count=float(self._value[points[0]]) if points else 1.0)

    def cell(self, candidate: Candidate, metric: str, *, bold: bool = False) -> Cell:
        """The printed number: mean and interval on the metric's own scale, brought back."""
        scale, values = self.scale(metric), self.values(candidate, metric)
        n_ok = int(np.isfinite(values).sum()) * (candidate.states if values.ndim == 1 else 1)
        if not n_ok:
            return Cell(n=candidate.total)
        if values.ndim == 1:
            replicates = self.replicates(candidate, metric)
            found = from_replicates(scale.forward(values), None if replicates is None else scale.forward(replicates))
        elif scale.metric.transform == "identity":
            found = estimate_skewed(values)
        else:
            found = estimate(scale.forward(values))
        least = -math.inf if scale.metric.scope == "set" and scale.metric.transform == "identity" else 0.0
        low, high = (max(scale.back(end), least) if math.isfinite(end) else math.nan for end in found.interval())
        value = scale.back(found.mean)
        return Cell(value, low, high, n_ok, candidate.total, bold, self._mark(metric, value))

    def _mark(self, metric: str, value: float) -> str:
        base = metric.split("@")[0]
        if not base.startswith("residual"):
            return ""
        if self.meaningless:
            return "†"
        if base not in FLOORED:
            return ""
        floors = {"≤ floor": self.dataset.floor, "≤ float32 floor": self.dataset.floor_float32}
        return next((mark for mark, floor in floors.items() if value <= floor), "")

    def best(self, metric: str, candidates: Sequence[Candidate] | None = None) -> set[str]:
        """Names of the methods not separated from the best in one metric: what the table prints bold."""
        if find_metric(metric).name in NEVER_BOLD or find_metric(metric).direction is None:
            return set()
        if self.meaningless and metric.startswith("residual"):
            return set()
        return self.ties({c.name: (c, metric) for c in candidates or self.candidates})

    def ties(self, entries: dict[str, tuple[Candidate, str]]) -> set[str]:
        """Entries not separated from the best; controls and failures are left out."""
        return self.separation(entries).best

    def separation(self, entries: dict[str, tuple[Candidate, str]]) -> Separation:
        """Which entries Holm's test over all pairs separates; controls and failures are left out."""
        entries = {name: (c, m) for name, (c, m) in entries.items() if not c.control and self._complete(c, m)}
        cost = {name: self.cost(c, m) for name, (c, m) in entries.items()}
        if all(values.ndim == 2 for values in cost.values()):
            return separate(cost)
        resampled = {name: self.replicates(c, m) for name, (c, m) in entries.items()}
        if len(self.seeds) < MIN_SEEDS and any(values is None for values in resampled.values()):
            return Separation({}, {})  # nothing is known about the spread: no test, no bold
        known = {n: self._as_cost(entries[n][1], values) for n, values in resampled.items() if values is not None}
        return separate_sets(cost, known)

    def _complete(self, candidate: Candidate, metric: str) -> bool:
        return candidate.status == "ok" and bool(np.isfinite(self.values(candidate, metric)).all())

    def cost(self, candidate: Candidate, metric: str) -> Array:
        """Values (S, N) or (S,) turned so that less is better, as tests see them."""
        return self._as_cost(metric, self.values(candidate, metric))

    def _as_cost(self, metric: str, values: Array) -> Array:
        """Values as costs; residuals below what single precision can hold count as equal."""
        scale = self.scale(metric)
        if metric.split("@")[0] in FLOORED:
            values = np.maximum(values, self.dataset.floor_float32)
        return scale.cost(scale.forward(values))

    def block(self, title: str, metrics: Sequence[str], post_processing: str = "") -> Block:
        """All candidates over ``metrics`` after post-processing, by :func:`ranking_metric`; failures, then controls."""
        full = {metric: f"{metric}@{post_processing}" if post_processing else metric for metric in metrics}
        best = {metric: self.best(name) for metric, name in full.items()}
        by = ranking_metric(self.task)
        ranks = self.ranks(f"{by}@{post_processing}" if post_processing else by)
        rows = []
        for candidate in self.candidates:
            cells = {m: self.cell(candidate, name, bold=candidate.name in best[m]) for m, name in full.items()}
            shown = {m: cell for m, cell in cells.items() if cell.n_ok or candidate.status == "ok"}
            if not candidate.control or any(cell.n_ok for cell in cells.values()):
                rows.append(_row(candidate, shown, ranks.get(candidate.name)))
        return Block(title, tuple(sorted(rows, key=_order)))

    def ranks(self, metric: str) -> dict[str, Rank]:
        """Rank of each method; every failed or incomplete one has the worst; skipped ones have none."""
        running = [c for c in self.candidates if not c.control and c.status != "skipped"]
        found = self.separation({c.name: (c, metric) for c in running})
        worst = Rank(len(running), len(running), math.inf)
        ranks = {name: Rank(*ends, found.means[name]) for name, ends in found.ranks.items()}
        return {c.name: ranks.get(c.name, worst) for c in running} if ranks else {}


def _candidate(runs: pd.DataFrame, seeds: Sequence[int]) -> Candidate:
    """Merge the seeds of one method; the worst status stands for all of them."""
    by_seed = runs.set_index("seed")
    failed = runs[runs["status"] != "ok"]
    missing = [seed for seed in seeds if seed not in by_seed.index]
    status = failed["status"].iloc[0] if len(failed) else "failed" if missing else "ok"
    said = (failed if len(failed) else runs)["reason"]
    reason = next((text for text in said if text), f"no run of seeds {missing}" if missing else "")
    if len(failed) and len(seeds) > 1:
        reason = f"{len(failed)} of {len(seeds)} seeds: {reason}"
    return Candidate(
        method=runs["method"].iloc[0],
        variant=runs["variant"].iloc[0],
        run_ids=tuple(by_seed["run_id"].get(seed) for seed in seeds),
        states=int(runs["n_instances"].max()),
        status=status,
        reason=str(reason),
        nfe=float(runs.loc[runs["status"] != "skipped", "nfe"].mean()),
        residual_aware=bool((runs["residual_calls"].fillna(0) > 0).any()) or trained_with_residual(runs),
    )


def trained_with_residual(runs: pd.DataFrame) -> bool:
    """Whether the settings of a method's fit give the residual a weight."""
    fit = method_settings(runs).get("fit") or {}
    return any(fit.get(name, 0) > 0 for name in FIT_WEIGHTS)


def method_settings(runs: pd.DataFrame) -> dict[str, Any]:
    """Settings of the method that some runs of one variant share; empty for a control."""
    return json.loads(runs["config_json"].iloc[0] or "{}").get("method", {})


def _row(candidate: Candidate, cells: dict[str, Cell], rank: Rank | None) -> Row:
    nfe = math.nan if candidate.control else candidate.nfe
    c = candidate
    return Row(c.method, c.variant, cells, c.control, c.status, c.reason, rank, nfe)


def _order(row: Row) -> tuple[bool, bool, bool, float, str]:
    """Methods by the mean that ranks them, failures, skipped ones, controls."""
    mean = math.inf if row.rank is None else row.rank.mean
    return (row.control, row.status == "skipped", row.status != "ok", mean, row.label)
