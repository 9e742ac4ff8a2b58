"""Samples of methods that evaluate the residual, beside those of the same prior that do not, and beside the gap."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jensenbench.evaluation.metrics import UNCONDITIONAL
from jensenbench.io.frames import record, records
from jensenbench.reporting.jensen import curves
from jensenbench.reporting.render import grid
from jensenbench.reporting.results import CONTROL, Results
from jensenbench.reporting.style import format_value

METRIC = "residual_rel"  # the residual in units of the equation's largest term
HEADING = ("PDE, prior", "sampler", "R calls per state", "residual", "/ best without R", "/ largest J")
SUMMARY_HEADING = (
    "PDE, prior", "best sampler without R", "its residual", "largest J", "samplers with R", "residual lower than it",
    "not lower", "residual below the largest J",
)  # fmt: skip
NOTHING = "No prior with a gap has samplers with and without the residual to compare in this tier."


def section(results: Results, groups: Sequence[pd.DataFrame]) -> str:
    """Counts and a table of every prior with a gap; a line where the tier has nothing to compare."""
    counts, lines = [], []
    for rows in groups:
        if curves.is_affine(rows):
            continue
        found = residuals(results, rows["pde"].iloc[0], rows["prior"].iloc[0])
        aware, plain = found[found["residual_calls"] > 0], found[found["residual_calls"] == 0]
        if len(aware) and len(plain):
            label, largest = curves.label(rows), float(curves.best(rows)["gap"].max())
            best = record(plain, plain[METRIC].idxmin())
            counts.append(_counts(label, aware, best, largest))
            lines += [_line(label, row, best[METRIC], largest) for row in records(aware)]
    return "\n\n".join([grid(SUMMARY_HEADING, counts), grid(HEADING, lines)]) if lines else NOTHING


def residuals(results: Results, pde: str, prior: str) -> pd.DataFrame:
    """Mean residual of every sampler that evaluates the residual while it samples, or that learns nothing."""
    runs = results.select(pde, prior, UNCONDITIONAL)
    runs = runs[(runs["status"] == "ok") & (runs["method"] != CONTROL)]
    values = results.metrics[results.metrics["metric"] == METRIC].groupby("run_id")["value"].mean()
    runs = runs.assign(**{METRIC: runs["run_id"].map(values)}).dropna(subset=[METRIC])
    learns = runs["config_json"].str.contains('"fit":')  # it may have seen the residual then
    runs = runs[(runs["residual_calls"] > 0) | ~learns]
    return runs.assign(label=runs["method"] + "/" + runs["variant"]).sort_values(METRIC)


def _counts(label: str, aware: pd.DataFrame, best: Mapping[str, Any], largest: float) -> list[str]:
    above = aware[aware[METRIC] > best[METRIC]]["label"].tolist()
    below = int((aware[METRIC] < largest).sum())
    numbers = [format_value(best[METRIC]), format_value(largest), str(len(aware))]
    lower = f"{len(aware) - len(above)} of {len(aware)}"
    return [label, best["label"], *numbers, lower, ", ".join(above) or "none", f"{below} of {len(aware)}"]


def _line(label: str, row: Mapping[str, Any], least: float, largest: float) -> list[str]:
    shares = [format_value(row[METRIC] / other) for other in (least, largest)]
    return [label, row["label"], f"{row['residual_calls']:g}", format_value(row[METRIC]), *shares]
