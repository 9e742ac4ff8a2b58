"""Figures of the Jensen gap: every estimator, the network's share, both codecs, methods on the curve, and the toy."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from jensenbench.io.frames import groups
from jensenbench.jensen import toy
from jensenbench.plugins.registry import make_pde
from jensenbench.reporting import style
from jensenbench.reporting.jensen.curves import NAMES, is_affine, largest_empirical, own_power, usable
from jensenbench.reporting.jensen.trajectories import beside_curve, by_data

HEIGHT, VISITED_HEIGHT = 3.6, 3.4  # inches
ROUND_OFF = 1e-16  # below this there is nothing to draw
LOOKS = {  # of an estimator: marker, line style
    "analytic": ("", "-"),
    "empirical": ("", "-"),
    "tweedie": ("x", "none"),
    "monte_carlo": ("o", "none"),
}


def draw_curves(rows: pd.DataFrame, out: Path) -> Path:
    """Write ``gap_{pde}_{prior}``: estimators of the gap, the split of a trained prior's residual, both codecs."""
    pde, prior = rows["pde"].iloc[0], rows["prior"].iloc[0]
    trained = rows["network"].notna() & (rows["estimator"] == "empirical")
    panels = [_estimators, *[_split] * bool(trained.any()), *[_codecs] * (len(set(rows["power"])) > 1)]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(max(style.COLUMN_WIDTH, 2.4 * len(panels)), HEIGHT), squeeze=False, sharex=True,
        sharey=True, layout="constrained",
    )  # fmt: skip
    usable = rows[rows["usable"].astype(bool)]
    for ax, draw in zip(axes[0], panels, strict=True):
        draw(ax, usable)
        ax.set(xscale="log", yscale="log", xlabel="noise level σ (prior coordinates)")
        ax.set_xlim(0.8 * rows["sigma"].min(), 1.25 * rows["sigma"].max())
        _mark_collapse(ax, rows)
        ax.legend(frameon=False, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    axes[0][0].set_ylabel("rms / largest term")
    figure.suptitle(f"{pde}, {prior}" + ": rounding alone, the residual is affine" * is_affine(rows), fontsize=8)
    return _save(figure, out / f"gap_{pde}_{prior}", rows)


def _estimators(ax: Axes, rows: pd.DataFrame) -> None:
    """The gap of the empirical distribution of N/4, N/2, N states and of the prior, by all their estimators."""
    rows = rows[rows["power"] == own_power(rows)]
    empirical = rows[rows["law"] == "empirical"]
    sizes = sorted(empirical.loc[empirical["estimator"] == "empirical", "law_states"].unique())
    for size, shade in zip(sizes, plt.get_cmap("Greens")(np.linspace(0.45, 0.9, len(sizes))), strict=True):
        here = empirical[empirical["law_states"] == size]
        for estimator, part in here.groupby("estimator", sort=False):
            name = f"N = {size:.0f}" if estimator == "empirical" else f"N = {size:.0f}, {NAMES[str(estimator)]}"
            _curve(ax, part, "gap", shade, str(estimator), name)
    mine = rows[rows["law"] == rows["prior"]]
    for (estimator, part), colour in zip(mine.groupby("estimator"), ("k", "C0", "C3"), strict=False):
        _curve(ax, part, "gap", colour, str(estimator), f"prior, {NAMES[str(estimator)]}")
    ax.set_title("gap J, all estimators")


def _split(ax: Axes, rows: pd.DataFrame) -> None:
    """R(D) of a trained prior, what of it is gap and what network, and the residual of posterior draws."""
    rows = rows[rows["power"] == own_power(rows)]
    mine = rows[rows["law"] == rows["prior"]]
    derived, drawn = mine[mine["estimator"] == "tweedie"], mine[mine["estimator"] == "monte_carlo"]
    posterior = largest_empirical(rows)
    _curve(ax, derived, "denoised", "k", "empirical", "R(D)")
    for source, shown, line in (("derivatives", derived, "-"), ("empirical posterior", posterior, "--")):
        for column, colour in (("gap", "C2"), ("network", "C1")):
            name = {"gap": "gap", "network": "network error"}[column]
            _curve(ax, shown, column, colour, "empirical", f"{name}, {source}", line=line)
    _curve(ax, drawn, "posterior", "C3", "monte_carlo", "R of the network's posterior draws")
    ax.set_title("R(D) of the network")


def _codecs(ax: Axes, rows: pd.DataFrame) -> None:
    """The gap of the empirical distribution of all states in each codec: their noisy states differ."""
    for (power, part), colour in zip(largest_empirical(rows).groupby("power"), ("C4", "C2", "C5"), strict=False):
        _curve(ax, part, "gap", colour, "empirical", f"codec power {power}")
    ax.set_title("gap J by codec")


def _curve(
    ax: Axes, rows: pd.DataFrame, column: str, colour: object, estimator: str, name: str, *, line: str = ""
) -> None:
    """A line with a band or points with bars, where the value is known and above round-off."""
    shown = rows[rows[column] > ROUND_OFF].sort_values("sigma")
    if shown.empty:
        return
    (marker, default), (low, high) = LOOKS[estimator], (f"{column}_low", f"{column}_high")
    bottom = np.maximum(shown[low], 0.2 * shown[column])
    if default == "none":
        ends = np.array([shown[column] - bottom, shown[high] - shown[column]])
        ax.errorbar(
            shown["sigma"], shown[column], yerr=ends, marker=marker, markersize=4, linestyle="none", color=colour,
            elinewidth=0.8, label=name,
        )  # fmt: skip
        return
    ax.plot(shown["sigma"], shown[column], color=colour, linewidth=1.1, linestyle=line or default, label=name)
    ax.fill_between(shown["sigma"], bottom, shown[high], color=colour, alpha=0.18, linewidth=0)


def _mark_collapse(ax: Axes, rows: pd.DataFrame) -> None:
    """Grey the levels at which even the posterior of all states has collapsed."""
    levels = largest_empirical(rows[rows["power"] == own_power(rows)]).sort_values("sigma")
    collapsed, low = levels[~levels["usable"].astype(bool)], levels["sigma"].min()
    if len(collapsed):
        ax.axvspan(0.8 * low, collapsed["sigma"].max(), color="0.94", linewidth=0, zorder=-1)
        text = "empirical posterior\ncollapsed"
        ax.text(low, 0.97, text, transform=ax.get_xaxis_transform(), fontsize=6, color="0.4", va="top")


def draw_visits(visits: pd.DataFrame, curves: pd.DataFrame, out: Path) -> Path | None:
    """Write ``visited_{pde}_{prior}``: the gap where each method calls the prior, over the curve; None if rounding."""
    rows = beside_curve(visits, curves)
    if rows.empty or is_affine(curves):
        return None
    panels = list(by_data(rows))
    curve = largest_empirical(usable(curves)).sort_values("sigma")
    size = (max(style.COLUMN_WIDTH, 3.4 * len(panels)), VISITED_HEIGHT)
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, squeeze=False, sharex=True, sharey=True, layout="constrained"
    )
    palette = style.colours(rows["method"].unique().tolist())
    for ax, (title, part) in zip(axes[0], panels, strict=True):
        ax.fill_between(curve["sigma"], curve["gap_low"], curve["gap_high"], color="0.85", linewidth=0)
        ax.plot(curve["sigma"], curve["gap"], color="k", linewidth=1.2, label="x₀ + σε")
        _points(ax, part, palette)
        ax.set(xlabel="noise level σ (prior coordinates)", title=title)
        style.scale_axis(ax, "x", curve["sigma"].to_numpy(float))
        ax.legend(frameon=False, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    axes[0][0].set_ylabel("gap J / largest term")
    axes[0][0].set_ylim(bottom=0)
    pde, prior = curves["pde"].iloc[0], curves["prior"].iloc[0]
    figure.suptitle(f"{pde}, {prior}: gap of the empirical distribution where methods call the prior", fontsize=8)
    return _save(figure, out / f"visited_{pde}_{prior}", rows)


def _points(ax: Axes, rows: pd.DataFrame, palette: Mapping[str, object]) -> None:
    """A colour per method, a marker per variant, moved apart a little along σ."""
    for shift, ((label,), part) in enumerate(groups(rows, ["label"], sort=False)):
        ends = np.array([part["gap"] - part["gap_low"], part["gap_high"] - part["gap"]])
        name = f"{label} (R of a noisy state)" if (part["residual_of"] == "noisy").any() else label
        name += " (own denoiser)" if (part["denoiser"] == "own").any() else ""
        method, variant = label.split("/")
        marks = style.markers(list(rows.loc[rows["method"] == method, "variant"]))
        ax.errorbar(
            part["sigma_mean"] * 1.025**shift, part["gap"], yerr=ends, color=palette[method], marker=marks[variant],
            markersize=3.5, linewidth=0.7, elinewidth=0.6, label=name,
        )  # fmt: skip


def draw_toy(out: Path) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """Write ``toy``: the idea, its curves, and the bias of a regularised optimum; returns the numbers behind too."""
    mixture, circle = make_pde("mixture", {}), make_pde("circle", {})
    curves = [{"pde": pde.name} | row for pde in (mixture, circle) for row in toy.curves(pde)]
    rows, biases = pd.DataFrame(curves), pd.DataFrame(toy.biases(mixture))
    figure, axes = plt.subplots(1, 3, figsize=(style.TEXT_WIDTH, HEIGHT), layout="constrained")
    _idea(axes[0], toy.picture(mixture))
    _toy_curves(axes[1], rows[rows["usable"].astype(bool)])
    for (weight, part), colour in zip(biases.groupby("weight"), ("C1", "C3"), strict=True):
        axes[2].plot(part["sigma"], part["bias"], color=colour, linewidth=1.1, label=f"λ = {weight:g}")
        first = f"λ = {weight:g}, first order"
        axes[2].plot(part["sigma"], part["first_order"], color=colour, linewidth=0.9, linestyle=":", label=first)
    axes[2].set(xscale="log", yscale="log", xlabel="noise level σ", ylabel="rms distance")
    axes[2].set_title("optimum with λ|R(D)|²: its bias")
    for ax in axes:
        ax.legend(frameon=False, fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return _save(figure, out / "toy", pd.concat([rows, biases])), rows, biases


def _idea(ax: Axes, shown: toy.Picture) -> None:
    ax.add_patch(Circle((0, 0), 1, fill=False, color="0.6", linewidth=0.8))
    ax.scatter(*shown.draws.T.numpy(), s=5, color="C2", alpha=0.5, linewidth=0, label="draws of x₀ given x_t")
    ax.scatter(*shown.noisy.numpy(), marker="+", s=45, color="k", label="noisy state x_t")
    name = f"their mean: R = {shown.residual:.2f}"
    ax.scatter(*shown.mean.numpy(), marker="*", s=60, color="C3", zorder=3, label=name)
    ax.set(aspect="equal", xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), xlabel="x", ylabel="y")
    ax.set_title("R = x² + y² − 1")


def _toy_curves(ax: Axes, rows: pd.DataFrame) -> None:
    for name, colour in (("mixture", "C0"), ("circle", "C4")):
        here = rows[rows["pde"] == name]
        largest = here["law_states"].isna() | (here["law_states"] == here["law_states"].max())
        for estimator, part in here.groupby("estimator", sort=False):
            sized = part if estimator in ("tweedie", "monte_carlo") else part[largest[part.index]]
            line = "--" if estimator == "empirical" and name == "mixture" else ""
            _curve(ax, sized, "gap", colour, str(estimator), f"{name}, {NAMES[str(estimator)]}", line=line)
    ax.set(xscale="log", yscale="log", xlabel="noise level σ", ylabel="gap J")
    ax.set_title("all estimators on both toys")


def _save(figure: Figure, stem: Path, behind: pd.DataFrame) -> Path:
    style.save_figure(figure, stem, behind)
    plt.close(figure)
    return stem
