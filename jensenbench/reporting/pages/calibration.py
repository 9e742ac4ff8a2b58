"""Calibration: the share of truths inside a method's central intervals against the level of the intervals."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jensenbench.evaluation.accuracy import CALIBRATION_DRAWS, LEVELS, coverage_name, least_coverage
from jensenbench.reporting import style
from jensenbench.reporting.results import CONTROL, Frame, Results
from jensenbench.reporting.style import format_value
from jensenbench.reporting.summary import Candidate, Group

TRUTH, POSTERIOR = "", "posterior_"  # whose share is counted: prefixes of the metrics
STEMS = {TRUTH: "calibration", POSTERIOR: "calibration_posterior"}
COUNTED = {TRUTH: "truths", POSTERIOR: "posterior draws"}
EXACT = "posterior_draw"  # the control that is calibrated by construction
TOLD = 0.9  # the level that sentences are about
COLUMNS = ("task", "method", "variant", "draws", "level", "share", "low", "high", "n_ok", "n", "least")
ROUNDING = 1e-9  # shares that differ by less are equal
PANEL = 1.9  # inches
ACROSS = 4  # panels in a row


def write_figures(results: Results, out: Path) -> Iterator[tuple[Path, Frame]]:
    """Write ``calibration_{pde}_{prior}``, and ``calibration_posterior_{pde}_{prior}`` where posteriors are known.

    Yields the stem of each figure and the curves behind it; a pair without two draws of anything has none.
    """
    for pde, prior in results.pairs:
        groups = [Group(results, pde, prior, task) for task in results.tasks(pde, prior) if task != "unconditional"]
        for prefix, name in STEMS.items():
            found = [rows for group in groups if len(rows := curves(results, group, prefix))]
            if found:
                rows = pd.concat(found, ignore_index=True)
                style.apply()
                figure = _figure(rows, prefix, f"{pde}, {prior}")
                stem = out / f"{name}_{pde}_{prior}"
                style.save_figure(figure, stem, rows)
                plt.close(figure)
                yield stem, rows


def curves(results: Results, group: Group, prefix: str = TRUTH) -> Frame:
    """One row a method and level: the share with its 95 % interval over the instances, in the order of the methods.

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
    """Draws an instance."""
    return int(results.runs.loc[results.runs["run_id"].isin(candidate.run_ids), "n_draws"].max())


def _figure(rows: Frame, prefix: str, title: str) -> Figure:
    """A panel a task: the curve of every method, the diagonal, and the least that can be read."""
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


def _panel(ax: Axes, here: Frame, everywhere: Frame) -> None:
    """Curves of one task; grey below what truths outside all draws score."""
    ax.plot([0, 1], [0, 1], color="0.4", linewidth=0.8, linestyle="--", zorder=0)
    levels, fewest = np.linspace(0, 1, 101), int(here["draws"].min())
    least = [least_coverage(fewest, level) for level in levels]
    ax.fill_between(levels, 0, least, color="0.9", linewidth=0, zorder=-1)
    for (method, variant), part in here.groupby(["method", "variant"], sort=False):
        ends = np.array([part["share"] - part["low"].clip(lower=0), part["high"].clip(upper=1) - part["share"]])
        ax.errorbar(
            part["level"], part["share"], yerr=np.maximum(np.nan_to_num(ends), 0), linewidth=0.8,
            elinewidth=0.6, markersize=3.5, markeredgecolor="white", markeredgewidth=0.3,
            **_look(everywhere, str(method), str(variant)),
        )  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(-0.02, 1.02), xticks=LEVELS)


def _look(rows: Frame, method: str, variant: str) -> dict[str, Any]:
    """Colour, marker and line of a curve."""
    if method == CONTROL:
        return {"color": "k", "marker": ".", "linestyle": "-"}
    methods = rows[rows["method"] != CONTROL]
    variants = methods.loc[methods["method"] == method, "variant"].tolist()
    colour = style.colours(methods["method"].tolist())[method]
    return {"color": colour, "marker": style.markers(variants)[variant], "linestyle": "-"}


def _handles(rows: Frame) -> list[Line2D]:
    handles = []
    for method, variant in rows[["method", "variant"]].drop_duplicates().sort_values(["method", "variant"]).to_numpy():
        name = "posterior draws" if method == CONTROL else f"{method}/{variant}"
        handles.append(Line2D([], [], markersize=4, linewidth=0.8, label=name, **_look(rows, method, variant)))
    handles.append(Line2D([], [], color="0.4", linewidth=0.8, linestyle="--", label="calibrated"))
    handles.append(Line2D([], [], color="0.85", linewidth=5, label="cannot be read"))
    return handles


def section(results: Results, drawn: Sequence[tuple[Path, Frame]]) -> str:
    """Figures and sentences of the page ``tables.md``; empty where there are none."""
    parts = []
    for stem, rows in drawn:
        prefix = POSTERIOR if stem.name.startswith(STEMS[POSTERIOR]) else TRUTH
        parts += [f"![{stem.name}](figures/{stem.name}.png)"]
        parts += ["\n".join(f"- {said}" for said in sentences(rows, prefix))]
    single = _single(results)
    parts += (
        [f"Left out, with fewer than {CALIBRATION_DRAWS} draws an instance: {', '.join(single)}."] if single else []
    )
    return "\n\n".join([INTRODUCTION, *parts]) if drawn else ""


def sentences(rows: Frame, prefix: str = TRUTH) -> Iterator[str]:
    """What the intervals of the coverage say at one level, a sentence a task."""
    for task, here in rows[np.isclose(rows["level"], TOLD)].groupby("task", sort=False):
        methods, exact = here[here["method"] != CONTROL], here[here["method"] == CONTROL]
        readings = readings_of(methods)
        said = [
            f"{word}: {', '.join(_told(row) for row in methods[readings == word].to_dict('records')) or 'none'}"
            for word in (NARROW, WIDE)
        ]
        rest = int((readings == NEITHER).sum())
        said.append(f"not separated from it: {rest} of {len(methods)}")
        said += [f"draws of the posterior itself {_number(row)}" for row in exact.to_dict("records")]
        draws = ", ".join(str(count) for count in sorted(set(here["draws"])))
        least = format_value(here["least"].max())
        outside = f"{COUNTED[prefix]} outside all of them read {least}"
        yield f"{task}, {draws} draws ({outside}), against {100 * TOLD:.0f} %: {'; '.join(said)}."


NARROW, WIDE, NEITHER = "over-confident", "under-confident", "not separated"


def readings_of(rows: Frame) -> Frame:
    """Over-confident where the whole interval of the share lies below the level, under-confident above it."""
    below, above = rows["high"] < rows["level"] - ROUNDING, rows["low"] > rows["level"] + ROUNDING
    readings = np.where(below, NARROW, np.where(above, WIDE, NEITHER))
    return pd.Series(readings, index=rows.index, dtype=str)


def _told(row: dict[str, float]) -> str:
    return f"`{row['method']}/{row['variant']}` {_number(row)}"


def _number(row: dict[str, float]) -> str:
    return format_value(row["share"], row["low"], row["high"])


def _single(results: Results) -> list[str]:
    """Methods that drew too few states an instance of an observed task."""
    runs = results.runs[(results.runs["task"] != "unconditional") & (results.runs["method"] != CONTROL)]
    few = runs[(runs["status"] == "ok") & (runs["n_draws"] < CALIBRATION_DRAWS)]
    return sorted({f"`{row.method}/{row.variant}`" for row in few.itertuples()})


INTRODUCTION = """Share of unknown pixels of the truth inside the central interval of a method's draws, against the
level of the interval; bars are 95 % intervals over the instances. Ranks are spread over their probability bins, so that
a calibrated method lies on the dashed line whatever its number of draws; few draws cannot tell how far outside a truth
is, and nothing can be read in the grey below what truths outside all of them score. A method whose whole interval lies
below the line is over-confident, above it under-confident. Differences below 1e-6 of a field's std are ties; where the
data determine the rest, as in `forward`, a share says whether errors are larger than the spread of the draws, no more.
Against a posterior, its draws take the place of the truth, and only what the data leave uncertain counts."""
