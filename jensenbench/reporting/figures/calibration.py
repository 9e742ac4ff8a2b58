"""Calibration curves: share of truths inside a method's central intervals against the level of the intervals."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jensenbench.evaluation.accuracy import LEVELS, coverage_name, least_coverage
from jensenbench.evaluation.metrics import UNCONDITIONAL
from jensenbench.io.frames import groups
from jensenbench.reporting import style
from jensenbench.reporting.results import CONTROL, Results
from jensenbench.reporting.summary import Candidate, Group

TRUTH, POSTERIOR = "", "posterior_"  # whose share is counted: prefixes of the metrics
STEMS = {TRUTH: "calibration", POSTERIOR: "calibration_posterior"}
COUNTED = {TRUTH: "truths", POSTERIOR: "posterior draws"}
EXACT = "posterior_draw"  # the control that is calibrated by construction
COLUMNS = ("task", "method", "variant", "draws", "level", "share", "low", "high", "n_ok", "n", "least")
PANEL = 1.9  # inches
ACROSS = 4  # panels in a row


def write_figures(results: Results, out: Path) -> Iterator[tuple[Path, pd.DataFrame]]:
    """Write ``calibration_{pde}_{prior}``, and ``calibration_posterior_{pde}_{prior}`` where posteriors are known.

    Yields the stem of each figure and the curves behind it; a pair without two draws of anything has none.
    """
    for pde, prior in results.pairs:
        tasks = [task for task in results.tasks(pde, prior) if task != UNCONDITIONAL]
        observed = [Group(results, pde, prior, task) for task in tasks]
        for prefix, name in STEMS.items():
            found = [rows for group in observed if len(rows := curves(results, group, prefix))]
            if found:
                rows = pd.concat(found, ignore_index=True)
                style.apply()
                figure = _figure(rows, prefix, f"{pde}, {prior}")
                stem = out / f"{name}_{pde}_{prior}"
                style.save_figure(figure, stem, rows)
                plt.close(figure)
                yield stem, rows


def curves(results: Results, group: Group, prefix: str = TRUTH) -> pd.DataFrame:
    """One row per method and level: the share with its 95 % interval over the instances, in the order of the methods.

    ``least`` is what the same number of draws scores when none of what is counted lies between them.
    """
    records = []
    for candidate in sorted(group.candidates, key=lambda c: (c.control, c.name)):
        draws = _draws(results, candidate)
        if candidate.control and candidate.variant != EXACT:
            continue
        for level in LEVELS:
            cell = group.cell(candidate, prefix + coverage_name(level))
            if cell.n_ok:
                labels = (group.task, candidate.method, candidate.variant, draws, level)
                numbers = (cell.value, cell.low, cell.high, cell.n_ok, cell.n, least_coverage(draws, level))
                records.append((*labels, *numbers))
    return pd.DataFrame(records, columns=list(COLUMNS))


def _draws(results: Results, candidate: Candidate) -> int:
    """Draws per instance."""
    return int(results.runs.loc[results.runs["run_id"].isin(candidate.run_ids), "n_draws"].max())


def _figure(rows: pd.DataFrame, prefix: str, title: str) -> Figure:
    """A panel per task: the curve of every method, the diagonal, and the least that can be read."""
    tasks = list(dict.fromkeys(rows["task"]))
    across = min(len(tasks), ACROSS)
    down = math.ceil(len(tasks) / across)
    size = (max(style.COLUMN_WIDTH, PANEL * across), PANEL * down + 1.4)
    figure, axes = plt.subplots(
        down, across, figsize=size, squeeze=False, sharex=True, sharey=True, layout="constrained"
    )
    for ax in axes.flat[len(tasks) :]:
        ax.set_visible(False)
    for ax, task in zip(axes.flat, tasks, strict=False):
        _panel(ax, rows[rows["task"] == task], rows)
        ax.set_title(task.replace("_", " "))
        ax.set_xlabel("nominal level")
    for row in axes:
        row[0].set_ylabel(f"share of {COUNTED[prefix]} inside")
    figure.legend(
        handles=_handles(rows),
        loc="outside lower center",
        ncols=max(2, int(figure.get_figwidth() // 1.8)),
        frameon=False,
    )
    figure.suptitle(title, fontsize=8)
    return figure


def _panel(ax: Axes, here: pd.DataFrame, everywhere: pd.DataFrame) -> None:
    """Curves of one task; grey below what truths outside all draws score."""
    ax.plot([0, 1], [0, 1], color="0.4", linewidth=0.8, linestyle="--", zorder=0)
    levels, fewest = np.linspace(0, 1, 101), int(here["draws"].min())
    least = [least_coverage(fewest, level) for level in levels]
    ax.fill_between(levels, 0, least, color="0.9", linewidth=0, zorder=-1)
    for (method, variant), part in groups(here, ["method", "variant"], sort=False):
        ends = np.array([part["share"] - part["low"].clip(lower=0), part["high"].clip(upper=1) - part["share"]])
        ax.errorbar(
            part["level"], part["share"], yerr=np.maximum(np.nan_to_num(ends), 0), linewidth=0.8,
            elinewidth=0.6, markersize=3.5, markeredgecolor="white", markeredgewidth=0.3,
            **_look(everywhere, method, variant),
        )  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(-0.02, 1.02), xticks=LEVELS)


def _look(rows: pd.DataFrame, method: str, variant: str) -> dict[str, Any]:
    """Colour, marker and line of a curve."""
    if method == CONTROL:
        return {"color": "k", "marker": ".", "linestyle": "-"}
    methods = rows[rows["method"] != CONTROL]
    variants = methods.loc[methods["method"] == method, "variant"].tolist()
    colour = style.colours(methods["method"].tolist())[method]
    return {"color": colour, "marker": style.markers(variants)[variant], "linestyle": "-"}


def _handles(rows: pd.DataFrame) -> list[Line2D]:
    handles = []
    for (method, variant), _ in groups(rows, ["method", "variant"]):
        name = "posterior draws" if method == CONTROL else f"{method}/{variant}"
        handles.append(Line2D([], [], markersize=4, linewidth=0.8, label=name, **_look(rows, method, variant)))
    handles.append(Line2D([], [], color="0.4", linewidth=0.8, linestyle="--", label="calibrated"))
    handles.append(Line2D([], [], color="0.85", linewidth=5, label="cannot be read"))
    return handles
