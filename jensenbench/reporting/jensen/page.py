"""The page ``jensen.md``: tables and curves of the Jensen gap."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jensenbench.errors import UserError
from jensenbench.io.files import write_text
from jensenbench.io.frames import listed, record, records
from jensenbench.io.tables import read_typed
from jensenbench.jensen import toy
from jensenbench.jensen.estimate import SQUARES
from jensenbench.jensen.table import COLUMNS, LIKELIHOOD_COLUMNS, VISIT_COLUMNS, beside
from jensenbench.plugins.registry import make_pde
from jensenbench.reporting import style
from jensenbench.reporting.jensen import curves, figures, likelihood, methods, readings, summary, trajectories
from jensenbench.reporting.render import grid
from jensenbench.reporting.results import Results, load_results
from jensenbench.reporting.style import format_value

HEADING = (
    "σ", "distribution", "gap by", "J / largest term", "residual of the mean", "posterior draws", "G₂", "network error",
    "effective sample size",
)  # fmt: skip


def run(*, config: Path, results: Path, files: Sequence[Path], out: Path) -> None:
    """Write ``jensen.md`` and the folder ``jensen`` of figures below ``out`` from the stage's and the tier's tables."""
    if not files:
        raise UserError("there are no curves to draw; run the stage `jensen` first")
    rows = pd.concat([read(path) for path in files], ignore_index=True)
    groups = first_seeds(rows)
    visits, likelihoods = (
        first_seeds(pd.concat([read(beside(path, name), columns) for path in files], ignore_index=True))
        for name, columns in (("visits", VISIT_COLUMNS), ("likelihood", LIKELIHOOD_COLUMNS))
    )
    visited = {curves.label(here): here for here in visits}
    style.apply()
    parts = ["# The Jensen gap", INTRODUCTION, f"Commit of the curves: {listed(rows['git_commit'])}."]
    parts += ["## Summary", summary.table(groups), *readings.agreement(groups)]
    parts += ["## Samplers", SAMPLERS, methods.section(load_results(config, results), groups)]
    parts += ["## The idea", *toy_parts(out / "jensen")]
    parts += ["### The bound of DPS", BOUNDS, bounds_table()]
    parts += ["### The likelihood's gap", likelihood.section(likelihoods)]
    for group in groups:
        stem = figures.draw_curves(group, out / "jensen")
        parts += [f"## {group['pde'].iloc[0]}, {group['prior'].iloc[0]}", f"![{stem.name}](jensen/{stem.name}.png)"]
        parts += [readings.extremes(group), "\n".join(f"- {said}" for said in not_drawn(group)), curve_table(group)]
        parts += visited_parts(visited.get(curves.label(group)), group, out / "jensen")
    write_text(out / "jensen.md", "\n\n".join(part for part in parts if part) + "\n")


def visited_parts(visits: pd.DataFrame | None, rows: pd.DataFrame, out: Path) -> list[str]:
    """Where methods are on the curve of one prior; nothing where none was traced."""
    if visits is None:
        return []
    stem = figures.draw_visits(visits, rows, out)
    figure = [f"![{stem.name}](jensen/{stem.name}.png)"] if stem else []
    return ["### Where methods are on the curve", *figure, *trajectories.section(visits, rows)]


def read(path: Path, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """A table of the stage with the seed of its file's name; a foreign one is one clear error."""
    try:
        frame = read_typed(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no table of the stage `jensen` ({error}); run it again") from error
    if list(frame.columns) != list(columns):
        raise UserError(f"{path} has other columns than the stage `jensen` writes; run it again")
    seed = path.name.partition(".")[0]
    return frame.assign(seed=int(seed) if seed.isdigit() else 0)


def first_seeds(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows of the first seed of every (pde, prior), in their order."""
    by_prior: list[pd.DataFrame] = [here for _, here in rows.groupby(["pde", "prior"], sort=False)]
    return [here[here["seed"] == here["seed"].min()] for here in by_prior]


def curves_of(results: Results) -> list[pd.DataFrame]:
    """Curves of all priors of a tier that has run the stage; none of one that has not."""
    files = [path for pair in results.pairs for path in results.jensen(*pair)]
    return first_seeds(pd.concat(map(read, files), ignore_index=True)) if files else []


def not_drawn(rows: pd.DataFrame) -> Iterator[str]:
    """Why points are missing."""
    for reason in rows.loc[rows["reason"] != "", "reason"].unique():
        yield f"Not drawn: {reason}."


def curve_table(rows: pd.DataFrame) -> str:
    """Every level of the empirical posterior of all states and of the prior, unusable points said to be so."""
    own = rows[(rows["power"] == curves.own_power(rows)) & (rows["reason"] == "")]
    kept = own[(own["law"] == own["prior"]) | (own["law_states"] == own["law_states"].max())]
    return grid(HEADING, [_line(row) for row in records(kept.sort_values(["estimator", "sigma"]))])


def _line(row: Mapping[str, Any]) -> list[str]:
    source = row["law"] if row["law_states"] != row["law_states"] else f"{row['law_states']:.0f} states"
    labels = [f"{row['sigma']:g}", str(source), curves.NAMES[row["estimator"]]]
    if not row["usable"]:
        return [*labels, "unusable: few states behind x_t", *[style.MISSING] * 4, format_value(row["ess"])]
    *cells, network = (curves.interval(row, name) for name in SQUARES)
    size = "exact" if row["ess"] == float("inf") else format_value(row["ess"])
    return [*labels, *cells, curves.loss_gap(row), network, size]


def toy_parts(out: Path) -> list[str]:
    """The figure of the toy, how far estimators are from its closed form, and the bias of a penalised optimum."""
    stem, rows, biases = figures.draw_toy(out)
    here = rows[(rows["pde"] == "mixture") & rows["usable"].astype(bool)]
    known = here[here["law_states"].isna() | (here["law_states"] == here["law_states"].max())]
    exact = known[known["estimator"] == "analytic"]
    top, worst = record(exact, exact["gap"].idxmax()), record(biases, biases["bias"].idxmax())
    extremes = [
        ["largest J of the mixture, closed form", format_value(top["gap"]), f"{top['sigma']:g}", style.MISSING],
        ["largest bias", format_value(worst["bias"]), f"{worst['sigma']:g}", f"{worst['weight']:g}"],
    ]
    pairs = {name: curves.compare(known, name, "analytic", ["sigma"]) for name in curves.NAMES if name != "analytic"}
    apart = [[curves.NAMES[name], str(len(both)), f"{both['apart'].max():.2f}"] for name, both in pairs.items()]
    return [f"![toy](jensen/{stem.name}.png)", TOY, grid(EXTREMES_HEADING, extremes), grid(TOY_HEADING, apart)]


def bounds_table() -> str:
    """Ratios of the likelihood's gap to its bounds on the mixture."""
    rows = [
        [f"{row['noise']:g}", *(f"{format_value(row[name])}, {_holds(row[name])}" for name in ("printed", "lipschitz"))]
        for row in toy.bounds(make_pde("mixture", {}))
    ]
    return grid(("noise std of the datum", "gap / bound as printed", "gap / bound with a Lipschitz constant"), rows)


def _holds(ratio: float) -> str:
    return "holds" if ratio <= 1 else "broken"


EXTREMES_HEADING = ("quantity", "value", "at σ", "λ")
TOY_HEADING = ("estimator", "levels", "largest difference from the closed form, standard errors")
INTRODUCTION = """Generated from the tables of the stage `jensen`; `docs/jensen.md` has definitions and estimators.
The gap is J = rms of E[R(x₀) | x_t] − R(E[x₀ | x_t]) over interior points and noisy states, in units of the equation's
largest term; brackets are 95 % intervals over noisy states, of the prior's first seed. Points whose empirical posterior
rests on fewer than five states are not drawn; an interval that reaches 0 is drawn down to a fifth of its value. Network
error is what R(D) of a trained prior holds besides the gap."""
SAMPLERS = """Residuals of unconditional samples in units of the largest term, means over samples; methods that learn
and do not evaluate R while they sample are left out. Samplers evaluate R at different states (denoised, or noisy for
CoCoGen) and noise levels."""
TOY = """Draws of x₀ given x_t, and their mean: J is the rms of E[R(x₀) | x_t] less R of the mean. The bias is the rms
distance between the optimum of a denoising loss with the penalty λ|R(D)|² and the posterior mean."""
BOUNDS = """Theorem 1 of DPS bounds |E[p(y | x₀) | x_t] − p(y | E[x₀ | x_t])|. Largest ratio of that gap to its bound
over all levels, for one noisy coordinate of the mixture; above 1 the bound is broken. A Lipschitz constant of the
Gaussian density is its steepest slope."""
