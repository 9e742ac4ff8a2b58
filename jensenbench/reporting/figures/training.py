"""Figures of trainings: losses, gradient norms, and learning curves."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from jensenbench.data.dataset import Dataset
from jensenbench.evaluation.prior_quality import QUALITIES, PriorQuality
from jensenbench.reporting import style
from jensenbench.reporting.results import Results

BIN, QUALITY = "validation_sigma_", "quality_"
FLOOR_SETS = 32  # of training states, at most
DECADES = 2.5  # below the curves, within which a floor is drawn
LOSSES = {"loss": "training loss", "validation": "validation loss", "gradient_norm": "gradient norm"}
LABELS = {
    "residual_rel": "residual / largest term", "mmse": "mean MSE [std²]", "smse": "std MSE [std²]",
    "sliced_w2": "sliced W2 [std]",
}  # fmt: skip


def write_figures(results: Results, out: Path) -> Iterator[Path]:
    """Stems of ``training_{pde}`` and ``learning_{pde}`` for every PDE that has trained priors with logs."""
    style.apply()
    for pde in dict.fromkeys(pde for pde, _ in results.pairs):
        priors = [prior for label, prior in results.pairs if label == pde]
        log = pd.concat([results.training(pde, prior) for prior in priors], ignore_index=True)
        if len(log):
            yield _save(training_figure(log, pde), out / f"training_{pde}", log)
        qualities = _columns(log, QUALITY)
        measured = log.dropna(subset=qualities, how="all")
        if len(measured) and qualities:
            floors = quality_floors(results.dataset(pde), fewest_states(results, set(measured["prior"])))
            columns = ["prior", "seed", "states", *(QUALITY + name for name in QUALITIES)]
            shown = measured[columns].assign(**{f"floor_{name}": value for name, value in floors.items()})
            yield _save(learning_figure(measured, floors, pde), out / f"learning_{pde}", shown)


def _columns(log: pd.DataFrame, prefix: str) -> list[str]:
    return [name for name in map(str, log.columns) if name.startswith(prefix)]


def _save(figure: Figure, stem: Path, behind: pd.DataFrame) -> Path:
    style.save_figure(figure, stem, behind)
    plt.close(figure)
    return stem


def fewest_states(results: Results, priors: Iterable[str]) -> int:
    """Smallest number of samples by which the trainings were measured."""
    return min(results.settings["priors"][prior]["quality"] for prior in priors)


def quality_floors(dataset: Dataset, states: int) -> dict[str, float]:
    """rms of each measure over disjoint sets of ``states`` training states."""
    quality, train = PriorQuality(dataset, states=states), dataset.split("train")
    sets = [part for part in train.split(states)[:FLOOR_SETS] if len(part) == states] or [train]
    values = pd.DataFrame([quality.measure(part) for part in sets])
    return {name: float(np.sqrt(np.square(values[name]).mean())) for name in QUALITIES}


def training_figure(log: pd.DataFrame, title: str) -> Figure:
    """Losses and gradient norm of all priors above, validation loss by noise level of each prior below."""
    priors = list(log["prior"].unique())
    figure = plt.figure(figsize=(style.TEXT_WIDTH, 4.4), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=(1.15, 1))
    above, below = (figure.add_subfigure(rows[row]) for row in range(2))
    for ax, (column, label) in zip(above.subplots(1, 3), LOSSES.items(), strict=True):
        _lines(ax, log, column, priors)
        ax.set_ylabel(label)
        style.scale_axis(ax, "y", log[column].to_numpy())
        _states(ax)
    _legend(above, priors)
    _levels(below, log, priors)
    figure.suptitle(title, fontsize=8)
    return figure


def _levels(figure: SubFigure, log: pd.DataFrame, priors: Sequence[str]) -> None:
    """A panel per prior: mean over the seeds of the validation loss of each noise bin."""
    columns = _columns(log, BIN)
    sigma = [float(name.removeprefix(BIN)) for name in columns]
    shades = plt.cm.ScalarMappable(LogNorm(min(sigma), max(sigma)), style.FIELD_MAP)
    axes = figure.subplots(1, len(priors), squeeze=False, sharey=True)[0]
    for ax, prior in zip(axes, priors, strict=True):
        mean = log[log["prior"] == prior].groupby("states")[columns].mean()
        for column, level in zip(columns, sigma, strict=True):
            ax.plot(mean.index, mean[column], color=shades.to_rgba(np.array(level)), linewidth=0.9)
        ax.set_title(prior)
        _states(ax)
    axes[0].set_ylabel("validation loss")
    style.scale_axis(axes[0], "y", log[columns].to_numpy())
    figure.colorbar(shades, ax=list(axes), label="noise level σ", pad=0.01, aspect=25)


def learning_figure(log: pd.DataFrame, floors: dict[str, float], title: str) -> Figure:
    """Quality of each prior's samples against the states it was trained on, with the data's own level dotted."""
    priors = list(log["prior"].unique())
    figure, axes = plt.subplots(2, 2, figsize=(style.TEXT_WIDTH, 4.2), layout="constrained", sharex=True)
    for ax, name in zip(axes.flat, QUALITIES, strict=True):
        _lines(ax, log, QUALITY + name, priors)
        ax.set_ylabel(LABELS[name])
        _scale(ax, log[QUALITY + name].to_numpy(), floors[name])
    for ax in axes[-1]:
        _states(ax)
    _legend(figure, priors, floor=True)
    figure.suptitle(title, fontsize=8)
    return figure


def _scale(ax: Axes, values: np.ndarray, floor: float) -> None:
    """Logarithmic, linear within the floor where estimates are negative; a floor far below is written instead."""
    near = floor > np.nanmin(np.abs(values)) * 10**-DECADES
    if np.nanmin(values) > 0:
        style.scale_axis(ax, "y", np.append(values, floor) if near else values)
    else:
        ax.set_yscale("symlog", linthresh=floor, linscale=0.5)
    if near:
        ax.axhline(floor, color="0.3", linewidth=0.9, linestyle=":", zorder=0)
    else:
        ax.text(0.98, 0.96, f"data: {floor:.1g}", transform=ax.transAxes, ha="right", va="top", fontsize=7, color="0.3")


def _lines(ax: Axes, log: pd.DataFrame, column: str, priors: Sequence[str]) -> None:
    """Mean over the seeds and the band from the lowest to the highest."""
    for prior, colour in style.colours(priors).items():
        seeds = log[log["prior"] == prior].groupby("states")[column]
        mean, low, high = seeds.mean(), seeds.min(), seeds.max()
        ax.plot(mean.index, mean, color=colour, linewidth=1.1, marker="o", markersize=2)
        ax.fill_between(mean.index, low, high, color=colour, alpha=0.2, linewidth=0)


def _states(ax: Axes) -> None:
    ax.set_xlabel("training states seen")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))


def _legend(figure: Figure | SubFigure, priors: Sequence[str], *, floor: bool = False) -> None:
    handles = [Line2D([], [], color=colour, label=prior) for prior, colour in style.colours(priors).items()]
    handles += [Line2D([], [], color="0.3", linewidth=0.9, linestyle=":", label="as many fresh data")] * floor
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
