"""Calibration of every method: figures, and a table of who is over- or under-confident at one level."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jensenbench.evaluation.accuracy import CALIBRATION_DRAWS
from jensenbench.evaluation.metrics import UNCONDITIONAL
from jensenbench.io.frames import groups, records
from jensenbench.reporting.figures.calibration import COUNTED, POSTERIOR, STEMS, TRUTH
from jensenbench.reporting.render import grid
from jensenbench.reporting.results import CONTROL, Results
from jensenbench.reporting.style import MISSING, format_value

LEVEL = 0.9  # of the intervals that the table is about
ROUNDING = 1e-9  # shares that differ by less are equal
NARROW, WIDE, NEITHER = "over-confident", "under-confident", "not separated"


def section(results: Results, drawn: Sequence[tuple[Path, pd.DataFrame]]) -> str:
    """Figures and tables of the page ``tables.md``; empty where there are none."""
    parts = []
    for stem, rows in drawn:
        prefix = POSTERIOR if stem.name.startswith(STEMS[POSTERIOR]) else TRUTH
        parts += [f"![{stem.name}](figures/{stem.name}.png)", grid(heading(prefix), table(rows))]
    single = _single(results)
    left_out = f"Left out, with fewer than {CALIBRATION_DRAWS} draws per instance: {', '.join(single)}."
    return "\n\n".join([INTRODUCTION, *parts, *[left_out] * bool(single)]) if drawn else ""


def heading(prefix: str) -> list[str]:
    """Columns of the table, by what is counted."""
    at = f"at {100 * LEVEL:.0f} %"
    outside = f"share if all {COUNTED[prefix]} lie outside all draws"
    return ["task", "draws", outside, f"{NARROW} {at}", f"{WIDE} {at}", f"{NEITHER} from {at[3:]}", "posterior itself"]


def table(rows: pd.DataFrame) -> Iterator[list[str]]:
    """A row per task: the methods whose interval lies below or above the level, with their shares."""
    for (task,), here in groups(rows[np.isclose(rows["level"], LEVEL)], ["task"], sort=False):
        methods, exact = here[here["method"] != CONTROL], here[here["method"] == CONTROL]
        readings = readings_of(methods)
        told = [", ".join(map(_told, records(methods[readings == word]))) or "none" for word in (NARROW, WIDE)]
        rest = f"{int((readings == NEITHER).sum())} of {len(methods)}"
        draws = ", ".join(str(count) for count in sorted(set(here["draws"].astype(int).tolist())))
        itself = ", ".join(map(_number, records(exact))) or MISSING
        yield [task, draws, format_value(here["least"].max()), *told, rest, itself]


def readings_of(rows: pd.DataFrame) -> pd.Series:
    """Over-confident where the whole interval of the share lies below the level, under-confident above it."""
    below, above = rows["high"] < rows["level"] - ROUNDING, rows["low"] > rows["level"] + ROUNDING
    readings = np.where(below, NARROW, np.where(above, WIDE, NEITHER))
    return pd.Series(readings, index=rows.index, dtype=str)


def _told(row: dict[str, Any]) -> str:
    return f"`{row['method']}/{row['variant']}` {_number(row)}"


def _number(row: dict[str, Any]) -> str:
    return format_value(row["share"], row["low"], row["high"])


def _single(results: Results) -> list[str]:
    """Methods that drew too few states per instance of an observed task."""
    runs = results.runs[(results.runs["task"] != UNCONDITIONAL) & (results.runs["method"] != CONTROL)]
    few = runs[(runs["status"] == "ok") & (runs["n_draws"] < CALIBRATION_DRAWS)]
    return sorted({f"`{row.method}/{row.variant}`" for row in few.itertuples()})


INTRODUCTION = """Share of unknown pixels of the truth inside the central interval of a method's draws, against the
level of the interval; bars are 95 % intervals over the instances. Ranks are spread over their probability bins, so
that a calibrated method lies on the dashed line whatever its number of draws. Grey: below what truths outside all
draws score, a share that few draws cannot go below. A method whose whole interval lies below the line is
over-confident, above it under-confident. Differences below 1e-6 of a field's std are ties; where the data determine
the rest, as in `forward`, a share says whether errors are larger than the spread of the draws. Against a posterior,
its draws take the place of the truth, and only entries that the data leave uncertain count."""
