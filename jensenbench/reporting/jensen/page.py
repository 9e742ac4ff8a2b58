"""The page ``jensen.md``: curves of the gap with sentences made of their numbers."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from jensenbench.errors import UserError
from jensenbench.io.files import write_text
from jensenbench.jensen import toy
from jensenbench.jensen.estimate import SQUARES
from jensenbench.jensen.table import COLUMNS, LIKELIHOOD_COLUMNS, VISIT_COLUMNS, beside
from jensenbench.plugins.registry import make_pde
from jensenbench.reporting import style
from jensenbench.reporting.jensen import figures as jensen_figures
from jensenbench.reporting.jensen import findings
from jensenbench.reporting.jensen import likelihood as jensen_likelihood
from jensenbench.reporting.jensen import methods as jensen_methods
from jensenbench.reporting.jensen import summary as jensen_summary
from jensenbench.reporting.jensen import trajectories as jensen_visits
from jensenbench.reporting.pages.tables import listed
from jensenbench.reporting.render import grid
from jensenbench.reporting.results import Frame, Results, load_results
from jensenbench.reporting.style import format_value

HEADING = (
    "σ", "law", "gap by", "J / largest term", "residual of the mean", "posterior draws", "G₂", "network error", "ESS",
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
    visited = {findings.label(here): here for here in visits}
    style.apply()
    toy_stem, toy_rows, biases = jensen_figures.draw_toy(out / "jensen")
    parts = [
        "# The Jensen gap",
        INTRODUCTION,
        f"Commit of the curves: {listed(rows['git_commit'])}.",
        "## What was found",
        bullets(findings.findings(groups)),
    ]
    parts += [jensen_summary.table(groups)]
    parts += ["## Samplers", SAMPLERS, jensen_methods.section(load_results(config, results), groups)]
    parts += ["## The idea", f"![toy](jensen/{toy_stem.name}.png)", " ".join(toy_sentences(toy_rows, biases))]
    parts += [
        "### The bound of DPS",
        bounds_table(),
        "### The likelihood's gap",
        jensen_likelihood.section(likelihoods),
    ]
    for group in groups:
        stem = jensen_figures.draw_curves(group, out / "jensen")
        parts += [f"## {group['pde'].iloc[0]}, {group['prior'].iloc[0]}", f"![{stem.name}](jensen/{stem.name}.png)"]
        parts += [bullets([*findings.sentences(group), *not_drawn(group)]), curve_table(group)]
        parts += visited_parts(visited.get(findings.label(group)), group, out / "jensen")
    write_text(out / "jensen.md", "\n\n".join(parts) + "\n")


def visited_parts(visits: Frame | None, curves: Frame, out: Path) -> list[str]:
    """Where methods sit on the curve of one prior; nothing where none was followed."""
    if visits is None:
        return []
    stem = jensen_visits.draw(visits, curves, out)
    figure = [f"![{stem.name}](jensen/{stem.name}.png)"] if stem else []
    return ["### Where methods sit on the curve", *figure, *jensen_visits.section(visits, curves)]


def read(path: Path, columns: Sequence[str] = COLUMNS) -> Frame:
    """A table of the stage with the seed of its file's name; a foreign one is one clear error."""
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no table of the stage `jensen` ({error}); run it again") from error
    if list(frame.columns) != list(columns):
        raise UserError(f"{path} has other columns than the stage `jensen` writes; run it again")
    seed = path.name.partition(".")[0]
    return frame.assign(seed=int(seed) if seed.isdigit() else 0)


def first_seeds(rows: Frame) -> list[Frame]:
    """Rows of the first seed of every (pde, prior), in their order."""
    by_prior: list[Frame] = [here for _, here in rows.groupby(["pde", "prior"], sort=False)]
    return [here[here["seed"] == here["seed"].min()] for here in by_prior]


def curves_of(results: Results) -> list[Frame]:
    """Curves of all priors of a tier that has run the stage; none of one that has not."""
    files = [path for pair in results.pairs for path in results.jensen(*pair)]
    return first_seeds(pd.concat(map(read, files), ignore_index=True)) if files else []


def bullets(said: Iterable[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {sentence}" for sentence in said)


def not_drawn(rows: Frame) -> Iterator[str]:
    """Why points are missing."""
    for reason in rows.loc[rows["reason"].notna(), "reason"].unique():
        yield f"Not drawn: {reason}."


def curve_table(rows: Frame) -> str:
    """Every level of the largest empirical law and of the prior, unusable points said to be so."""
    own = rows[(rows["power"] == findings.own_power(rows)) & rows["reason"].isna()]
    kept = own[(own["law"] == own["prior"]) | (own["law_states"] == own["law_states"].max())]
    lines = [_line(row) for row in kept.sort_values(["estimator", "sigma"]).to_dict("records")]
    return grid(HEADING, lines)


def _line(row: Frame) -> list[str]:
    law = row["law"] if row["law_states"] != row["law_states"] else f"{row['law_states']:.0f} states"
    labels = [f"{row['sigma']:g}", str(law), findings.NAMES[row["estimator"]]]
    if not row["usable"]:
        return [*labels, "unusable: few states behind x_t", *[style.MISSING] * 4, format_value(row["ess"])]
    *cells, network = (findings.interval(row, name) for name in SQUARES)
    return [
        *labels,
        *cells,
        findings.loss_gap(row),
        network,
        "exact" if row["ess"] == float("inf") else format_value(row["ess"]),
    ]


def toy_sentences(rows: Frame, biases: Frame) -> Iterator[str]:
    """What the toy's numbers say."""
    exact = rows[(rows["pde"] == "mixture") & (rows["estimator"] == "analytic")]
    top = exact.loc[exact["gap"].idxmax()]
    yield (
        "The draws of x₀ given x_t lie about the circle, their mean inside it: R of the mean is not the mean of R. In "
        f"closed form the gap of the mixture grows to {format_value(top['gap'])} at σ = {top['sigma']:g}."
    )
    here = rows[(rows["pde"] == "mixture") & rows["usable"].astype(bool)]
    known = here[here["law_states"].isna() | (here["law_states"] == here["law_states"].max())]
    for estimator in ("empirical", "monte_carlo", "tweedie"):
        both = findings.compare(known, estimator, "analytic", ["sigma"])
        name, apart = findings.NAMES[estimator], both["apart"].max()
        yield f"By {name} it is the same within {apart:.2f} standard errors, at {len(both)} levels."
    worst = biases.loc[biases["bias"].idxmax()]
    yield (
        "The optimum of a denoising loss with λ|R(D)|² lies off the posterior mean by up to "
        f"{format_value(worst['bias'])} (λ = {worst['weight']:g}, σ = {worst['sigma']:g})."
    )


def bounds_table() -> str:
    """Ratios of the likelihood's gap to its bounds on the mixture."""
    found = toy.bounds(make_pde("mixture", {}))
    rows = [[f"{row['noise']:g}", format_value(row["printed"]), format_value(row["lipschitz"])] for row in found]
    broken = [f"{row['noise']:g}" for row in found if row["printed"] > 1]
    said = f"it is broken for noise {', '.join(broken)}" if broken else "it holds for all of them"
    heading = ("noise std of the datum", "gap / bound as printed", "gap / bound with a Lipschitz constant")
    return f"{BOUNDS}; with the constant as printed {said}.\n\n{grid(heading, rows)}"


INTRODUCTION = """Generated from the tables of the stage `jensen`; `docs/jensen.md` has definitions and estimators.
The gap is J = rms of E[R(x₀) | x_t] − R(E[x₀ | x_t]) over interior points and noisy states, in units of the equation's
largest term; brackets are 95 % intervals over noisy states, of the prior's first seed. Points whose empirical posterior
rests on fewer than five states are not drawn; an interval that reaches 0 is drawn down to a fifth of its value. Network
error is what R(D) of a trained prior holds besides the gap."""
SAMPLERS = """Residuals of unconditional samples in units of the largest term, means over samples; methods that learn
and do not evaluate R while they sample are left out. Where a sampler evaluates R, at the denoised or (CoCoGen) at the
noisy state, and at which noise levels, differs: the table compares ends, not causes."""
BOUNDS = """Theorem 1 of DPS bounds |E[p(y | x₀) | x_t] − p(y | E[x₀ | x_t])|. Largest ratio of that gap to its bound
over all levels, for one noisy coordinate of the mixture; above 1 the bound does not hold. With the steepest slope of
the Gaussian density it must hold"""
