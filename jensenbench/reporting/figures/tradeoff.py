"""The weight of the equation in distillation: residual and distribution of PIDDM's students beside their teacher."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from jensenbench.evaluation.metrics import UNCONDITIONAL
from jensenbench.reporting import style
from jensenbench.reporting.distillation import Student, students
from jensenbench.reporting.render import Cell
from jensenbench.reporting.results import Results
from jensenbench.reporting.summary import Group

PANEL = 1.8  # inches
QUALITIES = {
    "residual_rel": "residual / largest term", "sliced_w2": "sliced W2 [std]", "smse": "std MSE [std²]",
}  # fmt: skip


def write_figure(results: Results, out: Path) -> list[Path]:
    """Write ``tradeoff``, a column per PDE, if any has students of two weights; returns its stem."""
    groups = [
        Group(results, pde, prior, UNCONDITIONAL)
        for pde, prior in results.pairs
        if UNCONDITIONAL in results.tasks(pde, prior)
    ]
    shown = [(group, found) for group in groups if len(found := students(results, group)) > 1]
    if not shown:
        return []
    style.apply()
    size = (max(style.COLUMN_WIDTH, PANEL * len(shown)), 4.6)
    figure, axes = plt.subplots(len(QUALITIES), len(shown), figsize=size, squeeze=False, layout="constrained")
    rows = []
    for column, (group, found) in zip(axes.T, shown, strict=True):
        column[0].set_title(f"{group.pde}\n{group.prior}", fontsize=7)
        for ax, (metric, label) in zip(column, QUALITIES.items(), strict=True):
            rows += _draw(ax, group, found, metric)
            ax.set_ylabel(label if group is shown[0][0] else "")
        column[-1].set_xlabel("weight of the equation λ")
    stem = out / "tradeoff_piddm"
    style.save_figure(figure, stem, pd.DataFrame(rows))
    plt.close(figure)
    return [stem]


def _draw(ax: Axes, group: Group, found: Sequence[Student], metric: str) -> list[dict[str, Any]]:
    """Students as points with intervals, their teacher as a line with a band; residuals end at the float32 floor."""
    rows, ends = [], []
    floor = group.dataset.floor_float32 if metric == "residual_rel" else -math.inf
    for place, student in enumerate(found):
        cell = _floored(group.cell(student.candidate, metric), floor)
        low, high = max(cell.value - cell.low, 0), max(cell.high - cell.value, 0)
        ax.errorbar(
            place, cell.value, yerr=[[low], [high]], color=style.colours(["a", "b"])["b" if student.balanced else "a"],
            marker="s" if student.balanced else "o", markersize=4, elinewidth=0.9,
        )  # fmt: skip
        rows.append(_row(group, student.candidate.name, student.label.replace("\n", " "), metric))
        ends += [cell.low, cell.high]
    for source in {student.teacher for student in found if student.teacher is not None}:
        cell = _floored(group.cell(source, metric), floor)
        ax.axhline(cell.value, color="0.3", linewidth=0.9, linestyle="--", zorder=0)
        ax.axhspan(cell.low, cell.high, color="0.3", alpha=0.15, linewidth=0, zorder=0)
        ax.text(0.98, cell.value, "teacher", transform=ax.get_yaxis_transform(), ha="right", va="bottom", fontsize=6)
        rows.append(_row(group, source.name, "", metric))
        ends += [cell.low, cell.high]
    if floor in ends:
        ax.text(0.5, 0.05, "at and below the float32 floor", transform=ax.transAxes, ha="center", fontsize=5.5)
    style.scale_axis(ax, "y", pd.Series(ends).to_numpy(dtype=float))
    ax.set_xticks(range(len(found)), [student.label for student in found])
    ax.set_xlim(-0.5, len(found) - 0.3)
    return rows


def _floored(cell: Cell, floor: float) -> Cell:
    return replace(cell, **{end: max(getattr(cell, end), floor) for end in ("value", "low", "high")})


def _row(group: Group, name: str, weight: str, metric: str) -> dict[str, Any]:
    cell = group.cell(next(c for c in group.candidates if c.name == name), metric)
    labels = {"pde": group.pde, "prior": group.prior, "method": name, "weight": weight, "metric": metric}
    return labels | {"value": cell.value, "low": cell.low, "high": cell.high}
