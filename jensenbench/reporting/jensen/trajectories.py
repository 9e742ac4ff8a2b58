"""Where methods sit on the curve of the gap: the gap at the states at which they call the prior, beside the curve."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from jensenbench.reporting import style
from jensenbench.reporting.jensen import findings
from jensenbench.reporting.render import grid
from jensenbench.reporting.results import Frame
from jensenbench.reporting.style import format_value

HEADING = (
    "method", "task", "R evaluated at", "levels compared", "J visited / J of the curve", "below, above",
    "R(D) visited", "network error", "runs",
)  # fmt: skip
STATES = {"denoised": "denoised states", "noisy": "noisy states", "sample": "the sample"}
FREE = "unconditional"
HEIGHT = 3.4


def section(visits: Frame, curves: Frame) -> list[str]:
    """Sentences and a table of one prior."""
    compared = beside_curve(visits, curves)
    lines = [_line(part) for _, part in compared.groupby(["label", "task"], sort=False)]
    said = "\n".join(f"- {sentence}" for sentence in sentences(visits, curves))
    return [said, grid(HEADING, lines)] if lines and not findings.is_affine(curves) else [said]


def usable(visits: Frame) -> Frame:
    """Rows of levels whose empirical posterior has not collapsed."""
    return visits[visits["sigma"].notna() & visits["usable"].astype(bool)]


def beside_curve(visits: Frame, curves: Frame) -> Frame:
    """Usable levels with the curve of x0 + sigma eps at the very levels visited, where both sides of it are usable."""
    law = findings.largest_law(findings.usable(curves)).sort_values("sigma")
    drawn = usable(visits)
    drawn = drawn.assign(label=drawn["method"] + "/" + drawn["variant"])
    at = np.log(drawn["sigma_mean"].to_numpy(float))
    for end in ("", "_low", "_high"):
        drawn[f"curve{end}"] = interpolated(at, law["sigma"], law[f"gap{end}"])
    drawn["curve_network"] = interpolated(at, law["sigma"], law["network"])
    drawn = drawn[drawn["curve"].notna()]
    below, above = drawn["gap_high"] < drawn["curve_low"], drawn["gap_low"] > drawn["curve_high"]
    return drawn.assign(ratio=drawn["gap"] / drawn["curve"], below=below, above=above)


def interpolated(at: np.ndarray, sigma: Frame, values: Frame) -> np.ndarray:
    """Values at logarithms of levels, linear between the curve's own, NaN outside."""
    if len(sigma) < 2:
        return np.full(len(at), np.nan)
    return np.interp(at, np.log(sigma.to_numpy(float)), values.to_numpy(float), left=np.nan, right=np.nan)


def sentences(visits: Frame, curves: Frame) -> Iterator[str]:
    """What the table of one prior says."""
    drawn = usable(visits)
    if findings.is_affine(curves):
        most = format_value(drawn["gap"].max()) if len(drawn) else "nothing"
        yield f"Wherever methods call this prior the gap is rounding, {most} at most: R is affine at every state."
    else:
        yield from _compared(beside_curve(visits, curves))
        yield from _evaluated(visits, curves)
    noisy = visits[visits["residual_of"] == "noisy"]
    names = ", ".join(sorted(set(noisy["method"] + "/" + noisy["variant"])))
    if names:
        yield (
            f"Residual of a noisy state: {names} evaluates R at the state of its walk and not at D, so its rows say "
            "where it calls the prior; no Jensen gap lies in what it corrects."
        )
    yield from _own(visits)
    yield from _left_out(visits)


def _own(visits: Frame) -> Iterator[str]:
    """Who calls a denoiser of its own, learnt with R(D) at the states of the curve itself."""
    drawn = visits[visits["sigma"].notna() & (visits["denoiser"] == "own")]
    own = (drawn["method"] + "/" + drawn["variant"]).unique()
    if len(own):
        yield (
            f"With a denoiser of its own, whose network error is meant: {', '.join(own)}. What it has learnt from are "
            "states x₀ + σε, on which the gap is the curve's."
        )


def _compared(rows: Frame) -> Iterator[str]:
    if rows.empty:
        yield "No method calls the prior at two levels or more at which the empirical posterior is usable."
        return
    low, high = rows.loc[rows["ratio"].idxmin()], rows.loc[rows["ratio"].idxmax()]
    free, bound = (rows[(rows["task"] == FREE) == wanted] for wanted in (True, False))
    for name, part in (("Without data", free), ("With data", bound)):
        if len(part):
            yield (
                f"{name}, the gap at {len(part)} visited levels of {part['label'].nunique()} methods is "
                f"{part['ratio'].min():.2f} to {part['ratio'].max():.2f} times that of x₀ + σε at the same level; "
                f"its interval lies wholly below the curve's at {int(part['below'].sum())} of them, wholly above it at "
                f"{int(part['above'].sum())} (intervals over {part['states'].min():.0f} runs). {_network(part)}"
            ).rstrip()
    ends = (f"{_name(row)}, σ = {row['sigma_mean']:.3g}: {row['ratio']:.2f}" for row in (low, high))
    yield f"Least and largest ratio: {'; '.join(ends)}."


def _network(rows: Frame) -> str:
    """The prior's own error at visited states over that of x0 + sigma eps."""
    ratio = (rows["network"] / rows["curve_network"])[rows["denoiser"] != "own"].dropna()
    if ratio.empty:
        return ""
    return f"The network's error is {ratio.min():.2f} to {ratio.max():.2f} times ({_name(rows.loc[ratio.idxmax()])})."


def _evaluated(visits: Frame, curves: Frame) -> Iterator[str]:
    """At which levels R(D) enters a method at all, and the gap there."""
    known = findings.best(curves)
    denoised = visits[(visits["residual_of"] == "denoised") & visits["sigma"].notna()]
    for (method, variant), part in denoised.groupby(["method", "variant"], sort=False):
        low, high = part["residual_low"].min(), part["residual_high"].max()
        inside = known[(known["sigma"] >= low) & (known["sigma"] <= high)]
        where = f"where the curve's gap is {format_value(inside['gap'].max())} at most"
        if inside.empty:
            near = known.loc[(np.log(known["sigma"]) - np.log(high)).abs().idxmin()]
            where = f"where no gap is known; the nearest is {findings.interval(near, 'gap')} at σ = {near['sigma']:g}"
        yield f"{method}/{variant} evaluates R(D) at σ = {low:.3g} to {high:.3g} alone, {where}."


def _left_out(visits: Frame) -> Iterator[str]:
    """Methods that are not followed by reason, and calls outside the levels."""
    blank = visits[visits["sigma"].isna()]
    reasons = blank["reason"].astype("string")
    blank = blank.assign(label=blank["method"] + "/" + blank["variant"], reason=reasons)
    outside = reasons.str.contains("calls lie outside").fillna(value=False).astype(bool)
    for reason, part in blank[~outside].groupby("reason", sort=False):
        yield f"Left out: {', '.join(part['label'].unique())} ({reason})."
    collapsed = visits[visits["sigma"].notna()].groupby(["method", "variant"], sort=False)["usable"].max()
    unseen = ["/".join(names) for names, some in collapsed.items() if not some]
    if unseen:
        yield f"Not compared: {', '.join(unseen)}; wherever they call the prior the empirical posterior has collapsed."
    counts = blank.loc[outside, "reason"].str.extract(r"^(\d+) of (\d+) calls (.*)$")
    for where, part in counts.groupby(2, sort=False):
        yield f"Not drawn: {part[0].astype(int).sum()} of {part[1].astype(int).sum()} calls {where}."


def _name(row: Frame) -> str:
    return f"{row['label']} ({row['task']})"


def _line(rows: Frame) -> list[str]:
    first = rows.iloc[0]
    where = STATES.get(first["residual_of"], style.MISSING)
    if first["residual_of"] in STATES:
        where += f", σ = {first['residual_low']:.3g} to {first['residual_high']:.3g}"
    levels = f"{len(rows)}, σ = {rows['sigma_mean'].min():.3g} to {rows['sigma_mean'].max():.3g}"
    spans = [_span(rows[name]) for name in ("denoised", "network")]
    apart = f"{int(rows['below'].sum())}, {int(rows['above'].sum())}"
    return [
        first["label"],
        first["task"],
        where,
        levels,
        _span(rows["ratio"]),
        apart,
        *spans,
        f"{rows['states'].min():.0f}",
    ]


def _span(values: Frame) -> str:
    known = values.dropna()
    return f"{known.min():.3g} to {known.max():.3g}" if len(known) else style.MISSING


def draw(visits: Frame, curves: Frame, out: Path) -> Path | None:
    """Write ``visited_{pde}_{prior}``: the gap where each method calls the prior, over the curve; None if rounding."""
    rows = beside_curve(visits, curves)
    if rows.empty or findings.is_affine(curves):
        return None
    groups = [("without data", rows[rows["task"] == FREE]), ("with data", rows[rows["task"] != FREE])]
    groups = [(title, part) for title, part in groups if len(part)]
    law = findings.largest_law(findings.usable(curves)).sort_values("sigma")
    width = max(style.COLUMN_WIDTH, 3.4 * len(groups))
    figure, axes = plt.subplots(
        1, len(groups), figsize=(width, HEIGHT), squeeze=False, sharex=True, sharey=True, layout="constrained"
    )
    palette = style.colours(rows["method"].unique())
    for ax, (title, part) in zip(axes[0], groups, strict=True):
        ax.fill_between(law["sigma"], law["gap_low"], law["gap_high"], color="0.85", linewidth=0)
        ax.plot(law["sigma"], law["gap"], color="k", linewidth=1.2, label="x₀ + σε")
        _points(ax, part, palette)
        ax.set(xlabel="noise level σ (prior coordinates)", title=title)
        style.scale_axis(ax, "x", law["sigma"].to_numpy(float))
        ax.legend(frameon=False, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    axes[0][0].set_ylabel("gap J / largest term")
    axes[0][0].set_ylim(bottom=0)
    pde, prior = curves["pde"].iloc[0], curves["prior"].iloc[0]
    figure.suptitle(f"{pde}, {prior}: gap of the empirical law where methods call the prior", fontsize=8)
    stem = out / f"visited_{pde}_{prior}"
    style.save_figure(figure, stem, rows)
    plt.close(figure)
    return stem


def _points(ax: Axes, rows: Frame, palette: Mapping[str, object]) -> None:
    """A colour a method, a marker a variant, moved apart a little along σ."""
    for shift, (label, part) in enumerate(rows.groupby(rows["label"].astype(str), sort=False)):
        ends = np.array([part["gap"] - part["gap_low"], part["gap_high"] - part["gap"]])
        name = f"{label} (R of a noisy state)" if (part["residual_of"] == "noisy").any() else label
        name += " (own denoiser)" if (part["denoiser"] == "own").any() else ""
        method, variant = label.split("/")
        marks = style.markers(list(rows.loc[rows["method"] == method, "variant"]))
        ax.errorbar(
            part["sigma_mean"] * 1.025**shift, part["gap"], yerr=ends, color=palette[method], marker=marks[variant],
            markersize=3.5, linewidth=0.7, elinewidth=0.6, label=name,
        )  # fmt: skip
