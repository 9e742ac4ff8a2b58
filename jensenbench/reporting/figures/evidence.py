"""Figures of trainings with and without a PDE loss: against the step, and against the noise level."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from jensenbench.reporting import style
from jensenbench.reporting.pde_loss import ESTIMATES, METHOD, Arm, arms
from jensenbench.reporting.results import Results

Curve = Callable[[Arm, str], pd.DataFrame]  # mean, lowest and highest of the seeds over an abscissa x
DASHES: dict[str, Literal["-", "--"]] = {"mean": "-", "sample": "--"}
ROW = 1.8  # inches
STEPS = {
    "denoising loss": ("denoising",), "PDE loss": ("mean", "sample"), "residual of drawn states": ("samples",),
    "cosine of gradients": ("cosine_mean", "cosine_sample"),
}  # fmt: skip
LEVELS = {
    "denoising loss, at the end": ("denoising",),
    "residual / largest term, at the end": ("residual_mean", "residual_sample"),
    "cosine of gradients, all steps": ("cosine_mean", "cosine_sample"),
}


def write_figures(results: Results, out: Path) -> list[Path]:
    """Write ``evidence_training`` and ``evidence_levels``, a row per PDE with monitored trainings; their stems."""
    shown = arms(results)
    if not shown:
        return []
    style.apply()
    return [
        _write(out / "evidence_training", shown, STEPS, over_steps, "training step"),
        _write(out / "evidence_levels", shown, LEVELS, over_levels, "noise level σ"),
    ]


def over_steps(arm: Arm, quantity: str) -> pd.DataFrame:
    """A quantity against the training step."""
    return _spread(arm.log.rename(columns={"step": "x"}), f"watch_{quantity}")


def over_levels(arm: Arm, quantity: str) -> pd.DataFrame:
    """A quantity against the median noise level of its bands: cosines over all steps, all else at the end."""
    parts = [
        (arm.throughout if quantity.startswith("cosine") else arm.end)(f"{quantity}{band}").rename(sigma)
        for band, sigma in arm.bands
    ]
    return _spread(pd.concat(parts, axis=1).melt(var_name="x"), "value")


def _spread(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean, lowest and highest value of a column at each x."""
    return rows.groupby("x")[column].agg(["mean", "min", "max"]).reset_index()


def _write(
    stem: Path, shown: dict[str, list[Arm]], panels: dict[str, Sequence[str]], curve: Curve, abscissa: str
) -> Path:
    size = (style.TEXT_WIDTH, ROW * len(shown) + 0.5)
    figure, axes = plt.subplots(len(shown), len(panels), figsize=size, squeeze=False, layout="constrained")
    colours, behind = style.colours([arm.variant for found in shown.values() for arm in found]), []
    for line, found in zip(axes, shown.values(), strict=True):
        for ax, (heading, quantities) in zip(line, panels.items(), strict=True):
            drawn = [part for arm in found for part in _draw(ax, arm, quantities, curve, colours[arm.variant])]
            _finish(ax, pd.concat(drawn), signed=heading.startswith("cosine"), logarithmic=curve is over_levels)
            behind += drawn
            ax.set_title(heading if ax in axes[0] else "", fontsize=7)
            ax.set_xlabel(abscissa if ax in axes[-1] else "")
        line[0].set_ylabel(found[0].pde)
    handles = [Line2D([], [], color=colour, label=f"{METHOD}/{name}") for name, colour in colours.items()]
    handles += [
        Line2D([], [], color="0.3", linestyle=dash, label=f"residual of {ESTIMATES[kind]}")
        for kind, dash in DASHES.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    style.save_figure(figure, stem, pd.concat(behind, ignore_index=True))
    plt.close(figure)
    return stem


def _draw(
    ax: Axes, arm: Arm, quantities: Sequence[str], curve: Curve, colour: tuple[float, float, float]
) -> Iterator[pd.DataFrame]:
    """Mean of the seeds and the band from the lowest to the highest, dashed for the residual of a sample."""
    for quantity in quantities:
        shown = curve(arm, quantity)
        dash = DASHES.get(quantity.split("_")[-1], "-")
        ax.plot(shown["x"], shown["mean"], color=colour, linestyle=dash, linewidth=1.0)
        ax.fill_between(shown["x"], shown["min"], shown["max"], color=colour, alpha=0.15, linewidth=0)
        labels = {"pde": arm.pde, "variant": arm.variant, "quantity": quantity}
        yield shown.assign(**labels)[[*labels, "x", "mean", "min", "max"]]


def _finish(ax: Axes, shown: pd.DataFrame, *, signed: bool, logarithmic: bool) -> None:
    if signed:
        ax.axhline(0, color="0.3", linewidth=0.6, zorder=0)
    else:
        style.scale_axis(ax, "y", np.asarray(shown["mean"], dtype=float))
    if logarithmic:
        style.scale_axis(ax, "x", np.asarray(shown["x"], dtype=float))
