"""Maps of samples: truth, observations, one draw, mean, spread and residual of every method."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from jensenbench.core.pde import Field
from jensenbench.data.dataset import Dataset
from jensenbench.evaluation.metrics import UNCONDITIONAL
from jensenbench.io.files import open_hdf5
from jensenbench.reporting import style
from jensenbench.reporting.results import CONTROL, Results, read_samples

PANEL, LABEL, GAP, HEADING = 0.86, 0.9, 0.06, 0.16  # inches: side of a panel, room for names, gaps, headings
DECADES, HIGHEST = 5, 10.0  # of the residual's colour scale: its decades, and where it ends whatever a method does
MOST_FIELDS = 3  # shown; of more (snapshots) the first, the middle and the last


Column = tuple[str, str]  # quantity and part
Scale = tuple[str, Normalize]


@dataclass(frozen=True)
class Strip:
    """One row of maps; ``maps`` by (quantity, part), the residual under ("residual", "")."""

    name: str
    maps: dict[Column, np.ndarray]


def write_figures(results: Results, out: Path) -> list[Path]:
    """Write the maps of every (pde, prior, task) as PDF, PNG and CSV; returns their stems."""
    style.apply()
    return [
        draw_samples(results, pde, prior, task, out)
        for pde, prior in results.pairs
        for task in results.tasks(pde, prior)
    ]


def draw_samples(results: Results, pde: str, prior: str, task: str, out: Path) -> Path:
    """Write ``samples_{pde}_{task}`` and return its stem; the first seed's first instance is shown."""
    dataset = results.dataset(pde)
    strips, absent = _strips(results, dataset, pde, prior, task)
    figure = _figure(dataset, strips, observed=task != UNCONDITIONAL, title=f"{pde}, {prior}, {task}", absent=absent)
    stem = out / f"samples_{results.suffix(pde, prior)}_{task}"
    style.save_figure(figure, stem, _frame(strips))
    plt.close(figure)
    return stem


def _strips(results: Results, dataset: Dataset, pde: str, prior: str, task: str) -> tuple[list[Strip], list[str]]:
    """The truth's row and one for each method that has samples; the others by name with their status."""
    runs = results.select(pde, prior, task)
    runs = runs[(runs["method"] != CONTROL) & (runs["seed"] == runs["seed"].min())].sort_values(["method", "variant"])
    strips, absent = [_truth(results, dataset, pde, task)], []
    for run in runs.itertuples():
        fields = None
        if run.status == "ok":
            fields = read_samples(results.layout.samples(pde, prior, run.method, run.variant, run.seed), task)
        if fields is None:
            absent.append(f"{run.method}/{run.variant} ({run.status})")
        else:
            strips.append(_method(dataset, f"{run.method}\n{run.variant}", fields, task))
    return strips, absent


def _truth(results: Results, dataset: Dataset, pde: str, task: str) -> Strip:
    if task == UNCONDITIONAL:
        return _method(dataset, "reference", dataset.split("reference").numpy()[:, None], task)
    with open_hdf5(results.layout.observations(pde)) as file:
        group: Any = file[task]
        mask, values, truth = (np.asarray(group[name][0]) for name in ("mask", "values", "truth"))
    maps = {}
    for index, field in _shown(dataset):
        maps[field.name, "draw"] = _image(truth[index])
        maps[field.name, "mean"] = _image(np.where(mask[index] > 0, values[index], np.nan))
    return Strip("truth", maps | _residual(dataset, truth))


def _method(dataset: Dataset, name: str, fields: np.ndarray, task: str) -> Strip:
    """Maps of the first draw, and of mean and std over draws (over states where nothing is observed)."""
    draws = fields[:, 0] if task == UNCONDITIONAL else fields[0]
    maps = {}
    for index, field in _shown(dataset):
        maps[field.name, "draw"] = _image(draws[0, index])
        maps[field.name, "mean"] = _image(draws[:, index].mean(0))
        if len(draws) > 1:
            maps[field.name, "std"] = _image(draws[:, index].std(0, ddof=1))
    return Strip(name, maps | _residual(dataset, draws[0]))


def _shown(dataset: Dataset) -> list[tuple[int, Field]]:
    """Index and field of what the maps have room for."""
    fields = list(enumerate(dataset.pde.fields))
    return fields if len(fields) <= MOST_FIELDS else [fields[0], fields[len(fields) // 2], fields[-1]]


def _residual(dataset: Dataset, state: np.ndarray) -> dict[Column, np.ndarray]:
    interior = dataset.pde.residual(torch.from_numpy(state)[None])["interior"][0]
    return {("residual", ""): _image(interior.abs().numpy() / dataset.term_scale)}


def _image(values: np.ndarray) -> np.ndarray:
    """The last plane of a field with more than two axes; a field with one axis as one line."""
    while values.ndim > 2:
        values = values[-1]
    return np.atleast_2d(values)


def _figure(dataset: Dataset, strips: list[Strip], *, observed: bool, title: str, absent: list[str]) -> Figure:
    names = [field.name for _, field in _shown(dataset)]
    columns = [(name, part) for name in names for part in ("draw", "mean", "std")] + [("residual", "")]
    figure, axes = _panels(len(strips), len(columns), observed)
    scales = _scales(strips, names)
    for row, strip in zip(axes, strips, strict=True):
        _name(row[0], strip.name)
        for ax, column in zip(row, columns, strict=True):
            _panel(ax, strip.maps.get(column), scales[column])
    _titles(axes, columns, observed)
    _bars(axes, columns, scales, dataset)
    _caption(axes[0, 0], dataset, title, absent)
    return figure


def _panels(rows: int, columns: int, observed: bool) -> tuple[Figure, np.ndarray]:
    """Square panels laid out in inches; where data are observed the truth's row stands apart from the methods'."""
    side = min(PANEL, (style.TEXT_WIDTH - LABEL) / columns - GAP)
    apart = HEADING if observed else 0.0
    width, height = LABEL + columns * (side + GAP), rows * (side + GAP) + apart
    figure = plt.figure(figsize=(width, height))
    axes = np.empty((rows, columns), dtype=object)
    for row, column in np.ndindex(rows, columns):
        bottom = height - (row + 1) * (side + GAP) - (apart if row else 0.0)
        left = LABEL + column * (side + GAP)
        axes[row, column] = figure.add_axes((left / width, bottom / height, side / width, side / height))
    return figure, axes


def _scales(strips: list[Strip], names: list[str]) -> dict[Column, Scale]:
    """One colour scale per field (the truth's range), one per spread, one for all residuals.

    Methods that diverged don't set them: a spread counts up to the truth's range, a residual up to `HIGHEST`.
    """
    scales: dict[Column, Scale] = {}
    for name in names:
        shown = strips[0].maps[name, "draw"]
        field = (style.FIELD_MAP, Normalize(float(shown.min()), float(shown.max())))
        spreads = [strip.maps[name, "std"] for strip in strips if (name, "std") in strip.maps]
        widest = max((float(np.quantile(spread, 0.99)) for spread in spreads), default=1.0)
        widest = min(widest, float(np.ptp(shown)) or widest)
        scales[name, "draw"] = scales[name, "mean"] = field
        scales[name, "std"] = (style.SPREAD_MAP, Normalize(0, widest or 1.0))
    largest = max(float(np.quantile(strip.maps["residual", ""], 0.99)) for strip in strips) or 1.0
    largest = min(largest, HIGHEST)
    scales["residual", ""] = (style.RESIDUAL_MAP, LogNorm(largest * 10.0**-DECADES, largest))
    return scales


def _panel(ax: Axes, image: np.ndarray | None, scale: Scale) -> None:
    ax.set(xticks=[], yticks=[])
    if image is None:
        ax.set_frame_on(False)
        return
    colours = plt.get_cmap(scale[0]).with_extremes(bad="0.85")
    if isinstance(scale[1], LogNorm):
        image = np.maximum(image, np.finfo(float).tiny)
    ax.imshow(image, cmap=colours, norm=scale[1], aspect="auto")
    if np.isnan(image).all():
        ax.text(0.5, 0.5, "not\nobserved", ha="center", va="center", fontsize=6, transform=ax.transAxes)


def _name(ax: Axes, name: str) -> None:
    ax.text(-0.12, 0.5, name, ha="right", va="center", fontsize=7, transform=ax.transAxes)


def _titles(axes: np.ndarray, columns: list[Column], observed: bool) -> None:
    """Headings of the truth's row, and where they differ of the methods' rows."""
    first = {"draw": "truth", "mean": "observed"} if observed else {"draw": "state", "mean": "mean", "std": "std"}
    for index, (name, part) in enumerate(columns):
        if part in first:
            axes[0, index].set_title(f"{name}: {first[part]}", fontsize=6.5, pad=2)
        if name == "residual":
            axes[0, index].set_title("residual", fontsize=6.5, pad=2)
        if observed and part and len(axes) > 1:
            axes[1, index].set_title(f"{name}: {part}", fontsize=6.5, pad=2)


def _bars(axes: np.ndarray, columns: list[Column], scales: dict[Column, Scale], dataset: Dataset) -> None:
    """Colour bars below the last row, each under the columns that it explains."""
    units = {field.name: "" if field.unit == "1" else f" [{field.unit}]" for field in dataset.pde.fields}
    for index, (name, part) in enumerate(columns):
        if part == "mean":
            continue
        cmap, norm = scales[name, part]
        label = "|R|/largest term" if name == "residual" else f"{'std ' if part == 'std' else ''}{name}{units[name]}"
        cax = axes[-1, index].inset_axes([0.06, -0.16, 1.94 if part == "draw" else 0.88, 0.07])
        extend = "both" if part in ("draw", "") else "max"
        bar = plt.colorbar(ScalarMappable(norm, cmap), cax=cax, orientation="horizontal", extend=extend)
        bar.set_label(label, fontsize=6.5, labelpad=1)
        _ticks(cax, norm)


def _ticks(ax: Axes, norm: Normalize) -> None:
    """The ends of a scale (powers of ten of a logarithmic one), set inwards so that neighbours stay apart."""
    low, high = float(norm.vmin or 0), float(norm.vmax or 1)
    labels = [f"{0.0 if abs(end) < 1e-3 * (high - low) else end:.2g}" for end in (low, high)]
    if isinstance(norm, LogNorm):
        powers = [int(np.ceil(np.log10(low))), int(np.floor(np.log10(high)))]
        low, high = (10.0**power for power in powers)
        labels = [f"$10^{{{power}}}$" for power in powers]
    ax.set_xticks([low, high], labels)
    ax.set_xticks([], minor=True)
    ax.tick_params(labelsize=5.5, length=2, pad=1)
    for text, side in zip(ax.get_xticklabels(), ("left", "right"), strict=True):
        text.set_horizontalalignment(side)


def _caption(ax: Axes, dataset: Dataset, title: str, absent: list[str]) -> None:
    names = [axis.name for axis in dataset.pde.grid.axes][-2:]
    lines = [f"{title} ({names[0]} downwards" + (f", {names[1]} to the right)" if len(names) > 1 else ")")]
    lines += textwrap.wrap(f"no samples: {', '.join(absent)}", 100) if absent else []
    ax.text(-0.9, 1.25, "\n".join(lines), fontsize=7.5, va="bottom", transform=ax.transAxes)


def _frame(strips: list[Strip]) -> pd.DataFrame:
    """One line per pixel, one column per panel."""

    def columns() -> Iterator[pd.Series]:
        for strip in strips:
            for (name, part), image in strip.maps.items():
                label = " ".join([strip.name.replace("\n", "/"), name, part]).strip()
                yield pd.Series(image.ravel(), name=label)

    return pd.concat(list(columns()), axis=1)
