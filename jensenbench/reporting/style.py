"""How numbers and figures look: one place for formats, colours and deterministic files."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, MaxNLocator, NullFormatter

from jensenbench.io.files import replacing, write_text

TEXT_WIDTH = 7.2  # inches, two columns of a page
COLUMN_WIDTH = 3.5
FIELD_MAP, SPREAD_MAP, RESIDUAL_MAP = "viridis", "cividis", "magma"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
MISSING = "–"
DPI = 200


def format_value(value: float, low: float | None = None, high: float | None = None) -> str:
    """Three significant digits of a value; the interval's ends in the same decimals and exponent.

    An end more than a hundred times the value has its own three digits.
    """
    if not math.isfinite(value):
        return "not finite"
    if value == 0 and not low and not high:
        return "0"
    exponent = int(f"{value:.2e}".split("e")[1])  # of the rounded value: 9.996e-5 is 1.00e-4
    scientific = not -4 < exponent < 5
    decimals = 2 if scientific else max(0, 2 - exponent)
    shift, suffix = (10.0**exponent, f"e{exponent}") if scientific else (1.0, "")

    def number(x: float) -> str:
        if abs(x) > 100 * abs(value) > 0 and math.isfinite(x):
            return format_value(x)
        return f"{x / shift:.{decimals}f}{suffix}" if math.isfinite(x) else MISSING

    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def format_count(value: float) -> str:
    """A count without decimals, a mean of counts with three significant digits."""
    if not math.isfinite(value):
        return MISSING
    return str(round(value)) if value == round(value) else f"{value:.3g}"


def format_seconds(seconds: float) -> str:
    """Seconds with three significant digits; minutes or hours beside large ones."""
    if not math.isfinite(seconds):
        return MISSING
    text = f"{seconds:.0f}" if seconds >= 1000 else f"{seconds:.3g}"
    if seconds >= 7200:
        return f"{text} ({seconds / 3600:.1f} h)"
    return f"{text} ({seconds / 60:.1f} min)" if seconds >= 120 else text


def colours(names: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """A colour-blind safe colour per method, the same in every figure that shows the same methods."""
    ordered = sorted(set(names))
    palette = sns.color_palette("colorblind", max(len(ordered), 1))
    return dict(zip(ordered, palette, strict=False))


def markers(variants: Sequence[str]) -> dict[str, str]:
    """A marker for each variant of one method."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(sorted(set(variants)))}


def apply() -> None:
    """Fonts and lines of all figures; no interactive backend."""
    mpl.use("Agg")
    sns.set_theme(
        context="paper",
        style="ticks",
        rc={"font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
            "legend.fontsize": 7, "axes.linewidth": 0.6, "image.interpolation": "nearest", "pdf.fonttype": 42},
    )  # fmt: skip


def scale_axis(ax: Axes, axis: str, shown: np.ndarray) -> None:
    """Logarithmic, with few labels, where all is positive and spans more than a factor of three."""
    low, high = np.nanmin(shown), np.nanmax(shown)
    ticks = ax.xaxis if axis == "x" else ax.yaxis
    if low > 0 and (high > 3 * low or high < 1e-3):
        getattr(ax, f"set_{axis}scale")("log")
        powers = low < 1e-3  # labels 10^k: the axis must hold one, and nothing between
        edge = max(6.0 if powers and high < 10 * low else 1.5, (high / low) ** 0.1)
        getattr(ax, f"set_{axis}lim")(low / edge, high * edge)
        sparse = powers or high > 100 * low
        ticks.set_major_locator(LogLocator(subs=(1.0,) if sparse else (1.0, 3.0), numticks=5))
        ticks.set_major_formatter(LogFormatterMathtext() if powers else FuncFormatter(lambda x, _: f"{x:g}"))
        ticks.set_minor_formatter(NullFormatter())
    else:
        ticks.set_major_locator(MaxNLocator(4, integer=low > 5))
        getattr(ax, f"set_{axis}margin")(0.12)


def save_figure(figure: Figure, stem: Path, behind: pd.DataFrame) -> None:
    """Write ``stem``.pdf, .png and the .csv behind them; equal figures give equal bytes."""
    undated = {"pdf": {"CreationDate": None, "ModDate": None}, "png": {"Software": None}}
    for suffix, metadata in undated.items():
        with replacing(Path(f"{stem}.{suffix}")) as path:
            figure.savefig(path, format=suffix, bbox_inches="tight", dpi=DPI, metadata=metadata)
    write_text(Path(f"{stem}.csv"), behind.to_csv(index=False, float_format="%.4g", lineterminator="\n"))
