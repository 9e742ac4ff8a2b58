"""The likelihood's gap of DPS on PDEs: tables of its extremes and of its differences by noise level."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from jensenbench.io.frames import groups, record, records
from jensenbench.reporting import style
from jensenbench.reporting.render import grid
from jensenbench.reporting.style import format_value

LABELS = ("PDE", "distribution", "noise")
SUMMARY_HEADING = (
    *LABELS, "points", "largest difference per datum", "at σ", "difference at the lowest usable level", "at σ",
    "gap / bound as printed", "gap / Lipschitz", "bounds as printed, Lipschitz",
)  # fmt: skip
HEADING = (
    *LABELS, "σ", "log E p − log p(E), per datum", "gap / bound as printed", "gap / Lipschitz", "effective sample size",
)  # fmt: skip
SHOWN = 4  # levels of each curve in the table; its CSV has all


def section(tables: Sequence[pd.DataFrame]) -> str:
    """The extremes of each distribution and noise, then some of their usable levels."""
    parts = [part for rows in tables for _, part in groups(rows, ["law", "noise"], sort=False)]
    lines = [_line(row) for part in parts for row in _chosen(part)]
    return "\n\n".join([INTRODUCTION, grid(SUMMARY_HEADING, map(_summary, parts)), LEVELS, grid(HEADING, lines)])


def _summary(part: pd.DataFrame) -> list[str]:
    """Extremes over the usable levels of one distribution and noise."""
    first, shown = records(part)[0], part[part["usable"].astype(bool)]
    labels = [*_labels(first), f"{first['points']:.0f}"]
    if shown.empty:
        return [*labels, "unusable at every level", *[style.MISSING] * 6]
    ends = [record(shown, found) for found in (shown["difference"].abs().idxmax(), shown["sigma"].idxmin())]
    differences = [text for row in ends for text in (_interval(row), f"{row['sigma']:g}")]
    ratios = [float(shown[name].max()) for name in ("printed", "lipschitz")]
    holds = ", ".join("holds" if ratio <= 1 else "broken" for ratio in ratios)
    return [*labels, *differences, *map(format_value, ratios), holds]


def _chosen(part: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A few usable levels, evenly spread over their order."""
    ordered = records(part[part["usable"].astype(bool)].sort_values("sigma"))
    positions = {round(i * (len(ordered) - 1) / (SHOWN - 1)) for i in range(SHOWN)} if ordered else set()
    yield from (ordered[position] for position in sorted(positions))


def _line(row: Mapping[str, Any]) -> list[str]:
    ratios = (row["printed"], row["lipschitz"])
    bounds = [format_value(ratio) if ratio == ratio else style.MISSING for ratio in ratios]
    size = "exact" if row["ess"] == float("inf") else format_value(row["ess"])
    return [*_labels(row), f"{row['sigma']:g}", _interval(row), *bounds, size]


def _labels(row: Mapping[str, Any]) -> list[str]:
    return [row["pde"], row["law"], f"{row['noise']:g}"]


def _interval(row: Mapping[str, Any]) -> str:
    return format_value(row["difference"], row["difference_low"], row["difference_high"])


INTRODUCTION = """DPS replaces log E[p(y | x₀) | x_t] by log p(y | E[x₀ | x_t]); the difference is the first less the
second. The data are the same few entries of every validation state, with noise in units of each field's standard
deviation; brackets are 95 % intervals over states, for one layout of the points. The empirical distribution of N states
is usable where five or more stand behind x_t and behind x_t with the data. Ratios are the largest over usable levels of
the gap of the density to the bound of DPS's theorem, as printed and with a Lipschitz constant; a bound holds where its
ratio is at most 1."""
LEVELS = "Some of the usable levels:"
