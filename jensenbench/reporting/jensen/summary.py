"""The gap of every prior in one line: of the page ``jensen.md``, and table 5 of ``tables.md``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jensenbench.io import frames
from jensenbench.io.files import write_text
from jensenbench.reporting import style
from jensenbench.reporting.jensen import curves
from jensenbench.reporting.render import grid, latex_grid
from jensenbench.reporting.style import format_value

TABLE = "table_5_jensen"
HEADING = (
    "PDE, prior", "R in the state", "largest J / largest term", "at σ", "by", "network error there", "G₂ there",
    "floor of the data", "levels with gap above network error",
)  # fmt: skip
TITLE = "Table 5. The Jensen gap"
LEGEND = """Largest gap J = rms of E[R(x₀) | x_t] − R(E[x₀ | x_t]) over the noise levels σ, by the first estimator that
is usable there, in units of the equation's largest term, with its 95 % interval over noisy states. Network error is
what R(D) of a trained prior holds besides the gap; G₂ is the gap of the squared loss, −J² where all x₀ meet the
equation. Of the prior's first seed; the curves stand in `jensen.md`."""


def record(rows: pd.DataFrame) -> dict[str, Any]:
    """The numbers of one prior: its largest gap, and what is known at that level."""
    split, top = curves.shares(rows), largest(rows)
    loss, loss_low, loss_high = curves.loss_gap_interval(top)
    numbers = {f"{name}{end}": top[f"{name}{end}"] for name in ("gap", "network") for end in ("", "_low", "_high")}
    return {
        "pde": rows["pde"].iloc[0], "prior": rows["prior"].iloc[0], "affine": curves.is_affine(rows),
        "sigma": top["sigma"], "estimator": top["estimator"], **numbers,
        "loss_gap": loss, "loss_gap_low": loss_low, "loss_gap_high": loss_high,
        "floor": rows["floor"].iloc[0], "levels": len(split),
        "levels_above": int((split["gap"] > split["network"]).sum()),
    }  # fmt: skip


def largest(rows: pd.DataFrame) -> dict[str, Any]:
    """The level of the largest gap, by the best estimator."""
    curve = curves.best(rows)
    return frames.record(curve, curve["gap"].idxmax())


def line(rows: pd.DataFrame) -> list[str]:
    """Cells of one prior under ``HEADING``."""
    found = record(rows)
    above = f"{found['levels_above']} of {found['levels']}" if found["levels"] else style.MISSING
    shape = "affine" if found["affine"] else "not affine"
    network, loss = (curves.interval(found, name) for name in ("network", "loss_gap"))
    at = [f"{found['sigma']:g}", curves.NAMES[found["estimator"]]]
    label = f"{found['pde']}, {found['prior']}"
    return [label, shape, curves.interval(found, "gap"), *at, network, loss, format_value(found["floor"]), above]


def table(groups: Sequence[pd.DataFrame]) -> str:
    """The lines of all priors in Markdown."""
    return grid(HEADING, [line(rows) for rows in groups])


def section(groups: Sequence[pd.DataFrame]) -> str:
    """Legend and table 5; empty without curves."""
    return f"{LEGEND}\n\n{table(groups)}" if groups else ""


def write_table(groups: Sequence[pd.DataFrame], folder: Path) -> None:
    """Numbers of table 5 as CSV, its text as LaTeX; nothing without curves."""
    if groups:
        text = pd.DataFrame([record(rows) for rows in groups]).to_csv(
            index=False, float_format="%.9g", lineterminator="\n"
        )
        write_text(folder / f"{TABLE}.csv", text)
        write_text(folder / f"{TABLE}.tex", latex_grid(TABLE, HEADING, [line(rows) for rows in groups]))
