"""Pareto fronts: error against network evaluations and against the residual, of every method and task."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jensenbench.evaluation.metrics import ranking_metric
from jensenbench.io.frames import groups, records
from jensenbench.reporting import style
from jensenbench.reporting.results import CONTROL, Results
from jensenbench.reporting.summary import Group

PANEL = 1.9  # inches, width of a panel
RESIDUALS = ("residual", "residual_low", "residual_high")
LABELS = {"crps": "CRPS [std]", "sliced_w2": "sliced W2 [std]"}


def write_figures(results: Results, out: Path) -> list[Path]:
    """Write the front of every (pde, prior) as PDF, PNG and CSV; returns their stems."""
    style.apply()
    return [draw_pareto(results, pde, prior, out) for pde, prior in results.pairs]


def draw_pareto(results: Results, pde: str, prior: str, out: Path) -> Path:
    """Write ``pareto_{pde}``: error against network evaluations and against the residual, a column per task."""
    compared = [Group(results, pde, prior, task) for task in results.tasks(pde, prior)]
    points = pareto_points(compared)
    figure = _pareto_figure(compared, points, f"{pde}, {prior}")
    stem = out / f"pareto_{results.suffix(pde, prior)}"
    style.save_figure(figure, stem, points)
    plt.close(figure)
    return stem


def pareto_points(compared: Sequence[Group]) -> pd.DataFrame:
    """One row per method, variant and task: evaluations, error and residual with their intervals."""
    records = []
    for group in compared:
        error = ranking_metric(group.task)
        for candidate in group.candidates:
            shown = {"error": error, "residual": "residual_rel"}
            cells = {name: group.cell(candidate, metric) for name, metric in shown.items()}
            if cells["error"].n_ok:
                values = {
                    f"{name}{end}": getattr(cell, field)
                    for name, cell in cells.items()
                    for end, field in (("", "value"), ("_low", "low"), ("_high", "high"))
                }
                labels = {"task": group.task, "method": candidate.method, "variant": candidate.variant}
                records.append(labels | {"metric": error, "nfe": candidate.nfe} | values)
    columns = ["task", "method", "variant", "metric", "nfe", "error", "error_low", "error_high", "residual"]
    return pd.DataFrame(records, columns=[*columns, "residual_low", "residual_high"])


def _pareto_figure(compared: Sequence[Group], points: pd.DataFrame, title: str) -> Figure:
    width = max(PANEL * len(compared), style.COLUMN_WIDTH)
    figure, axes = plt.subplots(
        2, len(compared), figsize=(width, 3.8), squeeze=False, sharey="col", layout="constrained"
    )
    methods = points[points["method"] != CONTROL]
    for column, group in zip(axes.T, compared, strict=True):
        here = methods[methods["task"] == group.task]
        shown = here.assign(**{name: here[name].clip(group.dataset.floor_float32) for name in RESIDUALS})
        for ax, x in zip(column, ("nfe", "residual"), strict=True):
            _scatter(ax, shown, methods, x, optimum(points[points["task"] == group.task]))
            ax.set_ylabel(LABELS[ranking_metric(group.task)])
        if at_floor(group, here):
            column[1].axvline(group.dataset.floor_float32, color="0.4", linewidth=0.8, linestyle=":", zorder=0)
        column[0].set(title=group.task.replace("_", " "), xlabel="network evaluations")
        column[1].set(xlabel="residual / largest term" + ("\n(meaningless)" if group.meaningless else ""))
    floored = any(at_floor(group, methods[methods["task"] == group.task]) for group in compared)
    _legend(figure, methods, points, floored=floored)
    figure.suptitle(title, fontsize=8)
    return figure


def _scatter(ax: Axes, here: pd.DataFrame, everywhere: pd.DataFrame, x: str, level: float) -> None:
    """Points with their 95 % intervals; colour is the method, marker the variant; later ones are smaller."""
    palette = style.colours(everywhere["method"].tolist())
    for row in records(here):
        variants = everywhere.loc[everywhere["method"] == row["method"], "variant"].tolist()
        ax.errorbar(
            row[x], row["error"], yerr=_bar(row, "error"), xerr=_bar(row, "residual") if x == "residual" else None,
            marker=style.markers(variants)[row["variant"]], color=palette[row["method"]],
            markersize=max(3.5, 6.5 - 0.7 * list(palette).index(row["method"])),
            markeredgecolor="white", markeredgewidth=0.4, elinewidth=0.8, linestyle="none",
        )  # fmt: skip
    if here.empty:
        ax.text(0.5, 0.5, "no method has results", ha="center", va="center", fontsize=7, transform=ax.transAxes)
        return
    style.scale_axis(ax, "x", here[["residual_low", x, "residual_high"] if x == "residual" else [x]].to_numpy())
    style.scale_axis(ax, "y", np.append(here[["error_low", "error", "error_high"]].to_numpy(), level))
    ax.axhline(level, color="0.4", linewidth=0.8, linestyle="--", zorder=0)


def _bar(row: Mapping[str, float], name: str) -> np.ndarray | None:
    """(2, 1) lengths of an error bar, None where there is no interval."""
    ends = np.array([[row[name] - row[f"{name}_low"]], [row[f"{name}_high"] - row[name]]])
    return np.maximum(ends, 0) if np.isfinite(ends).all() else None


def optimum(points: pd.DataFrame) -> float:
    """Error of exact posterior draws; NaN where there are none or the data leave nothing to find."""
    exact = points[(points["method"] == CONTROL) & (points["variant"] == "posterior_draw")]
    least = points.loc[points["method"] != CONTROL, "error"].min()
    return float(exact["error"].iloc[0]) if len(exact) and exact["error"].iloc[0] > 1e-3 * least else math.nan


def at_floor(group: Group, points: pd.DataFrame) -> bool:
    """Whether some residual is no larger than that of the data in single precision."""
    return bool((points["residual"] <= group.dataset.floor_float32).any())


def _legend(figure: Figure, methods: pd.DataFrame, points: pd.DataFrame, *, floored: bool) -> None:
    palette = style.colours(methods["method"].tolist())
    handles = [
        Line2D([], [], color=palette[method], marker=marker, markersize=4.5, ls="none", label=f"{method}/{variant}")
        for (method,), part in groups(methods, ["method"])
        for variant, marker in style.markers(part["variant"].tolist()).items()
    ]
    if any(math.isfinite(optimum(part)) for _, part in groups(points, ["task"])):
        handles.append(Line2D([], [], color="0.4", linewidth=0.8, linestyle="--", label="exact posterior draws"))
    if floored:
        handles.append(
            Line2D([], [], color="0.4", linewidth=0.8, linestyle=":", label="float32 floor, lower ones on it")
        )
    columns = max(2, int(figure.get_figwidth() // 1.8))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
