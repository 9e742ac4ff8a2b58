"""The page ``cost.md``: seconds, memory, network evaluations, and break-even against a numerical solver."""

import json
import math
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from jensenbench.core.method import learns_denoiser
from jensenbench.data.dataset import Dataset
from jensenbench.errors import UserError
from jensenbench.evaluation.metrics import ranking_metric
from jensenbench.io.files import canonical_json, write_text
from jensenbench.io.frames import groups, listed, records
from jensenbench.io.provenance import digest_text
from jensenbench.io.schema import RUN_KEYS
from jensenbench.plugins.registry import load_method
from jensenbench.reporting.headings import CORRECTIONS
from jensenbench.reporting.render import grid
from jensenbench.reporting.results import CONTROL, Results
from jensenbench.reporting.style import MISSING, format_count, format_seconds, format_value

BEGIN, END = "<!-- times:begin -->", "<!-- times:end -->"
KEYS = list(RUN_KEYS)
COUNTS = ("nfe", "vjp", "jvp", "residual_calls")
SOLVED = 64  # states on which a solver is timed


def ledger(results: Results) -> str:
    """The whole page ``cost.md``."""
    parts = [
        f"# Cost of the tier `{results.tier}`",
        "All seconds are wall-clock seconds of one job on a machine that other jobs may share; MiB are the peak "
        "resident memory of the job. Network evaluations (NFE), vector-Jacobian products (VJP), Jacobian-vector "
        "products (JVP) and residual calls are metered per state by the runner.",
        "## Machine", machine(results.timings),
        "## Stages", stages(results.timings),
        "## Preparation", preparation(results.timings),
        "## Sampling", sampling(results),
        "## Post-processing", post_processing(results),
        "## Break-even against the numerical solver", break_even(results),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def times(results: Results) -> str:
    """The block of times and machine that the README shows."""
    return "\n\n".join([f"Tier `{results.tier}`.", machine(results.timings), stages(results.timings)]) + "\n"


def insert_times(readme: Path, block: str) -> None:
    """Put the block between the markers of a README; one without markers is refused."""
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UserError(f"{readme} must hold the markers {BEGIN} and {END} once, in this order")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    write_text(readme, f"{head}{BEGIN}\n{block.strip()}\n{END}{tail}")


def machine(timings: pd.DataFrame) -> str:
    """Where and when the jobs ran, and the processor that wrote this report."""
    finished = sorted(timings["finished"].dropna().astype(str).tolist())
    lines = [f"- Report written on {processor()}"]
    lines += [f"- Jobs ran on: {listed(timings['host'])} (devices: {listed(timings['device'])})"]
    lines += [f"- Jobs finished between {finished[0]} and {finished[-1]}"] * bool(finished)
    return "\n".join(lines)


def processor() -> str:
    """Model and number of cores of this machine."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores"


def stages(timings: pd.DataFrame) -> str:
    """Totals of each stage."""
    timings = timings[~timings["stage"].isin(CORRECTIONS)]  # these are parts of `evaluate`
    by_stage = timings.groupby("stage", sort=True)
    rows = [
        [str(stage), str(len(part)), format_seconds(part["seconds"].sum()), _mebibytes(part["peak_mib"].max())]
        for stage, part in by_stage
    ]
    everything = format_seconds(timings["seconds"].sum()), _mebibytes(timings["peak_mib"].max())
    rows.append(["**all**", str(len(timings)), *everything])
    missing = [stage for stage in ("generate", "train", "sample", "evaluate") if stage not in by_stage.groups]
    note = f"\n\nWithout recorded times: {', '.join(missing)}." if missing else ""
    return grid(["stage", "rows", "seconds, summed", "peak MiB"], rows) + note


def preparation(timings: pd.DataFrame) -> str:
    """Every row of the stages before and after sampling: data, training, evaluation."""
    chosen = timings[~timings["stage"].isin(["sample", *CORRECTIONS])].sort_values(["stage", *KEYS], kind="stable")
    rows = [
        [row["stage"], _label(row), format_seconds(row["seconds"]), _mebibytes(row["peak_mib"]), str(row["device"])]
        for row in records(chosen)
    ]
    return grid(["stage", "what", "seconds", "peak MiB", "device"], rows)


def _label(row: Mapping[str, Any]) -> str:
    parts = [row[key] for key in KEYS]
    return "/".join(str(part) for part in parts if not pd.isna(part) and part != "") or MISSING


def sampling(results: Results) -> str:
    """Seconds per state and metered counts of every run."""
    rows = [
        [
            row["pde"], row["prior"], f"{row['method']}/{row['variant']}", row["task"], str(row["seed"]), row["status"],
            format_seconds(row["per_state"]), *(format_count(row[count]) for count in COUNTS),
            _mebibytes(row["peak_mib"]), str(row["device"]),
        ]
        for row in records(timed_runs(results))
    ]  # fmt: skip
    heading = ["PDE", "prior", "method", "task", "seed", "status", "seconds per state", "NFE", "VJP", "JVP"]
    return grid([*heading, "residual calls", "peak MiB", "device"], rows)


def post_processing(results: Results) -> str:
    """Seconds per state of each post-processing, beside what is left of residual and error."""
    timings = results.timings[results.timings["stage"].isin(CORRECTIONS)]
    if timings.empty:
        return "No times of post-processing were recorded."
    runs = results.runs.drop(columns="seconds", errors="ignore")
    joined = timings[[*KEYS, "stage", "seconds"]].merge(runs[[*KEYS, "run_id", "n_instances", "n_draws"]], on=KEYS)
    joined["per_state"] = joined["seconds"] / (joined["n_instances"] * joined["n_draws"])
    means = results.metrics.groupby(["run_id", "metric"])["value"].mean()
    rows = []
    for (pde, task, stage), part in groups(joined, ["pde", "task", "stage"]):
        quality = ranking_metric(task)
        shown = [
            f"{format_value(_median(means, part, metric))} → {format_value(_median(means, part, f'{metric}@{stage}'))}"
            for metric in ("residual_rel", quality)
        ]
        rows.append([pde, task, stage, str(len(part)), format_seconds(part["per_state"].mean()), *shown])
    note = (
        "CPU seconds of post-processing, the mean over runs; it is part of the stage `evaluate` and of no method's "
        "sampling time. Residual and distance (sliced W2, or CRPS where data are observed) before → after: medians "
        "over runs. + newton3 includes the step of + newton1."
    )
    heading = ["PDE", "task", "post-processing", "runs", "CPU seconds per state", "residual", "distance"]
    return note + "\n\n" + grid(heading, rows)


def _median(means: pd.Series, part: pd.DataFrame, metric: str) -> float:
    """Median over runs of a metric's mean."""
    return float(means.reindex([(run, metric) for run in part["run_id"]]).median())


def timed_runs(results: Results) -> pd.DataFrame:
    """Runs of methods with their sampling time, and ``per_state`` seconds; NaN where no time was recorded."""
    runs = results.runs[results.runs["method"] != CONTROL]
    timed = results.timings[results.timings["stage"] == "sample"]
    columns = [*KEYS, "seconds", "peak_mib", "device"]
    joined = runs.merge(timed[columns], on=KEYS, how="left").sort_values(KEYS, kind="stable")
    states = (joined["n_instances"] * joined["n_draws"]).where(lambda count: count > 0)
    return joined.assign(per_state=joined["seconds"] / states)


def break_even(results: Results) -> str:
    """Number of states from which training and sampling cost less than solving."""
    solver = {pde: solver_seconds(results.dataset(pde)) for pde in sorted(set(results.runs["pde"]))}
    runs = timed_runs(results)
    rows = []
    for (pde, prior, method, variant), part in groups(runs[runs["status"] == "ok"], KEYS[:4]):
        if part["per_state"].notna().any():
            training, per_state = preparation_seconds(results.timings, records(part)[0]), part["per_state"].mean()
            count = crossing(training, per_state, solver[pde])
            text = "never" if math.isinf(count) else MISSING if math.isnan(count) else str(math.ceil(count))
            seconds = map(format_seconds, (training, per_state, solver[pde]))
            rows.append([pde, prior, f"{method}/{variant}", *seconds, text])
    note = (
        "Number of states from which preparing (the prior where the method calls it, and the method's own fit) and "
        "sampling cost less than the suite's numerical solver. "
        f"The solver was timed while this report was written: one batch of {SOLVED} states, {torch.get_num_threads()} "
        "threads. It needs a known coefficient: it cannot do inverse and reconstruction tasks."
    )
    heading = [
        "PDE",
        "prior",
        "method",
        "preparation, s",
        "sampling, s per state",
        "solver, s per state",
        "break-even states",
    ]
    return note + "\n\n" + grid(heading, rows)


def crossing(once: float, each: float, rival: float) -> float:
    """Smallest n with once + n each <= n rival; inf where there is none."""
    if each < rival:
        return once / (rival - each)
    return math.nan if math.isnan(each) else math.inf


def solver_seconds(dataset: Dataset) -> float:
    """Seconds per state of the PDE's own solver on a batch of reference states."""
    states = dataset.split("reference")[:SOLVED]
    dataset.pde.solve(states[:1])
    started = time.perf_counter()
    dataset.pde.solve(states)
    return (time.perf_counter() - started) / len(states)


def preparation_seconds(timings: pd.DataFrame, run: Mapping[str, Any]) -> float:
    """Mean seconds, over seeds, of the prior if the method calls it, and of its own fit and teacher pairs."""
    prior = {key: run[key] for key in ("pde", "prior")}
    seconds = _mean_seconds(timings, "train", prior) if needs_prior(run["method"]) else 0.0
    fit = json.loads(run["config_json"]).get("method", {}).get("fit")
    if fit is not None:
        labels = {**prior, "method": run["method"], "variant": digest_text(canonical_json(fit))}
        seconds += _mean_seconds(timings, "fit", labels)
    if fit is not None and "pairs" in fit:
        labels = {**prior, "variant": digest_text(canonical_json(fit["pairs"]))}
        seconds += _mean_seconds(timings, "pairs", labels)
    return seconds


def needs_prior(name: str) -> bool:
    """Whether a method calls the shared prior: not one without a prior, nor one that learns a denoiser of its own."""
    method = load_method(name)
    return method.capabilities.uses_prior and not learns_denoiser(method)


def _mean_seconds(timings: pd.DataFrame, stage: str, labels: Mapping[str, str]) -> float:
    chosen = timings["stage"] == stage
    for key, value in labels.items():
        chosen &= timings[key] == value
    return float(timings.loc[chosen, "seconds"].mean()) if chosen.any() else math.nan


def _mebibytes(value: float) -> str:
    return MISSING if pd.isna(value) or value <= 0 else f"{value:.0f}"
