"""The Jensen gap along the trajectories of methods: at the states at which they call the prior, beside the curve."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from jensenbench.evaluation.metrics import UNCONDITIONAL
from jensenbench.io.frames import groups, record, records
from jensenbench.reporting import style
from jensenbench.reporting.jensen import curves as gap
from jensenbench.reporting.render import grid
from jensenbench.reporting.style import format_value

HEADING = (
    "method", "task", "R evaluated at", "levels compared", "J visited / J of the curve", "below, above",
    "R(D) visited", "network error", "runs",
)  # fmt: skip
SUMMARY_HEADING = (
    "task", "levels", "methods", "J visited / J of the curve", "interval below the curve's", "above it",
    "least ratio", "largest ratio", "network error / that of the curve", "runs",
)  # fmt: skip
RESIDUAL_HEADING = ("method", "evaluates R(D) at σ", "largest J of the curve there")
STATES = {"denoised": "denoised states", "noisy": "noisy states", "sample": "the sample"}
WITHOUT_DATA, WITH_DATA = "without data", "with data"


def section(visits: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    """Tables of one prior, and notes on the methods that are not in them or not like the others."""
    said = [f"- {note}" for note in notes(visits)]
    if gap.is_affine(curves):
        shown = usable(visits)
        most = f"J is rounding, {format_value(shown['gap'].max())} at most" if len(shown) else "nothing was compared"
        return ["\n".join([f"- Affine residual: {most}.", *said])]
    compared = beside_curve(visits, curves)
    lines = [_line(part) for _, part in groups(compared, ["label", "task"], sort=False)]
    tables = [INTRODUCTION, grid(SUMMARY_HEADING, summary(compared)), grid(HEADING, lines)] if lines else []
    inside = list(evaluated(visits, curves))
    tables += [grid(RESIDUAL_HEADING, inside)] if inside else []
    return [*tables, "\n".join(said if lines else [f"- {NOTHING}", *said])]


def usable(visits: pd.DataFrame) -> pd.DataFrame:
    """Rows of levels whose empirical posterior has not collapsed."""
    return visits[visits["sigma"].notna() & visits["usable"].astype(bool)]


def beside_curve(visits: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Usable levels with the curve of x0 + sigma eps at the very levels visited, where both sides of it are usable."""
    curve = gap.largest_empirical(gap.usable(curves)).sort_values("sigma")
    drawn = usable(visits)
    drawn = drawn.assign(label=drawn["method"] + "/" + drawn["variant"])
    at = np.log(drawn["sigma_mean"].to_numpy(float))
    for end in ("", "_low", "_high"):
        drawn[f"curve{end}"] = interpolated(at, curve["sigma"], curve[f"gap{end}"])
    drawn["curve_network"] = interpolated(at, curve["sigma"], curve["network"])
    drawn = drawn[drawn["curve"].notna()]
    below, above = drawn["gap_high"] < drawn["curve_low"], drawn["gap_low"] > drawn["curve_high"]
    return drawn.assign(ratio=drawn["gap"] / drawn["curve"], below=below, above=above)


def interpolated(at: np.ndarray, sigma: pd.Series, values: pd.Series) -> np.ndarray:
    """Values at logarithms of levels, linear between the curve's own, NaN outside."""
    if len(sigma) < 2:
        return np.full(len(at), np.nan)
    return np.interp(at, np.log(sigma.to_numpy(float)), values.to_numpy(float), left=np.nan, right=np.nan)


def summary(rows: pd.DataFrame) -> Iterator[list[str]]:
    """Ratios to the curve over all methods, without and with data."""
    for name, part in by_data(rows):
        ends = [record(part, found) for found in (part["ratio"].idxmin(), part["ratio"].idxmax())]
        told = [f"{row['ratio']:.2f}, {row['label']} ({row['task']}), σ = {row['sigma_mean']:.3g}" for row in ends]
        apart = [str(int(part[side].sum())) for side in ("below", "above")]
        ratios = f"{part['ratio'].min():.2f} to {part['ratio'].max():.2f}"
        counts = [str(len(part)), str(part["label"].nunique())]
        yield [name, *counts, ratios, *apart, *told, _network(part), f"{part['states'].min():.0f}"]


def by_data(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of unconditional samples, and of those with observations, where there are any."""
    for name, part in (
        (WITHOUT_DATA, rows[rows["task"] == UNCONDITIONAL]),
        (WITH_DATA, rows[rows["task"] != UNCONDITIONAL]),
    ):
        if len(part):
            yield name, part


def _network(rows: pd.DataFrame) -> str:
    """The prior's own error at visited states over that of x0 + sigma eps."""
    ratio = (rows["network"] / rows["curve_network"])[rows["denoiser"] != "own"].dropna()
    return f"{ratio.min():.2f} to {ratio.max():.2f}" if len(ratio) else style.MISSING


def evaluated(visits: pd.DataFrame, curves: pd.DataFrame) -> Iterator[list[str]]:
    """At which levels R(D) enters a method at all, and the gap there, or the nearest that is known."""
    known = gap.best(curves)
    denoised = visits[(visits["residual_of"] == "denoised") & visits["sigma"].notna()]
    for (method, variant), part in groups(denoised, ["method", "variant"], sort=False):
        low, high = part["residual_low"].min(), part["residual_high"].max()
        inside = known[(known["sigma"] >= low) & (known["sigma"] <= high)]
        found = format_value(inside["gap"].max()) if len(inside) else ""
        if not found:
            near = record(known, (np.log(known["sigma"]) - np.log(high)).abs().idxmin())
            found = f"not known; nearest: {gap.interval(near, 'gap')} at σ = {near['sigma']:g}"
        yield [f"{method}/{variant}", f"{low:.3g} to {high:.3g}", found]


def notes(visits: pd.DataFrame) -> Iterator[str]:
    """Methods whose rows mean something else, methods that are not traced by reason, and calls outside the levels."""
    for text, chosen in (
        ("R of the noisy state, not of D", visits["residual_of"] == "noisy"),
        ("Own denoiser, whose network error is shown", visits["sigma"].notna() & (visits["denoiser"] == "own")),
    ):
        names = sorted(set(visits.loc[chosen, "method"] + "/" + visits.loc[chosen, "variant"]))
        if names:
            yield f"{text}: {', '.join(names)}."
    yield from _left_out(visits)


def _left_out(visits: pd.DataFrame) -> Iterator[str]:
    blank = visits[visits["sigma"].isna()]
    reasons = blank["reason"].astype("string")
    blank = blank.assign(label=blank["method"] + "/" + blank["variant"], reason=reasons)
    outside = reasons.str.contains("calls lie outside").fillna(value=False).astype(bool)
    for (reason,), part in groups(blank[~outside], ["reason"], sort=False):
        yield f"Left out: {', '.join(part['label'].unique())} ({reason})."
    drawn = visits[visits["sigma"].notna()]
    unseen = [
        "/".join(names) for names, part in groups(drawn, ["method", "variant"], sort=False) if not any(part["usable"])
    ]
    if unseen:
        yield f"Not compared, the empirical posterior has collapsed at all their calls: {', '.join(unseen)}."
    counts = blank.loc[outside, "reason"].str.extract(r"^(?P<outside>\d+) of (?P<all>\d+) calls (?P<where>.*)$")
    for (where,), part in groups(counts, ["where"], sort=False):
        yield f"Not drawn: {part['outside'].astype(int).sum()} of {part['all'].astype(int).sum()} calls {where}."


def _line(rows: pd.DataFrame) -> list[str]:
    first = records(rows)[0]
    where = STATES.get(first["residual_of"], style.MISSING)
    if first["residual_of"] in STATES:
        where += f", σ = {first['residual_low']:.3g} to {first['residual_high']:.3g}"
    levels = f"{len(rows)}, σ = {rows['sigma_mean'].min():.3g} to {rows['sigma_mean'].max():.3g}"
    spans = [_span(rows[name]) for name in ("denoised", "network")]
    apart = f"{int(rows['below'].sum())}, {int(rows['above'].sum())}"
    runs = f"{rows['states'].min():.0f}"
    return [first["label"], first["task"], where, levels, _span(rows["ratio"]), apart, *spans, runs]


def _span(values: pd.Series) -> str:
    known = values.dropna()
    return f"{known.min():.3g} to {known.max():.3g}" if len(known) else style.MISSING


NOTHING = "No method calls the prior at two levels or more at which the empirical posterior is usable."
INTRODUCTION = """J visited is the gap at the states at which a method calls the prior, J of the curve that at x₀ + σε
at the same level; below and above count levels whose whole interval (over runs) is on one side of the curve's."""
