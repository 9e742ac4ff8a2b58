"""Tables of what the curves of the Jensen gap hold: extremes of one prior, and how far estimators agree."""

from collections.abc import Iterator, Sequence

import pandas as pd

from jensenbench.io.frames import record, records
from jensenbench.reporting import style
from jensenbench.reporting.jensen import curves
from jensenbench.reporting.render import grid
from jensenbench.reporting.style import format_value

NAMED = 4  # disagreements that a table lists
HEADING = ("quantity", "value", "at σ", "by")
AGREEMENT_HEADING = (
    "estimators compared", "comparisons", "differ by no more than chance (95 %)", "largest difference, standard errors",
)  # fmt: skip
DISAGREEMENT_HEADING = ("PDE, prior", "σ", "first estimator", "J", "second estimator", "J", "standard errors")
KINDS = {True: "of one distribution", False: "derivatives and posterior draws of a trained prior"}
AGREEMENT = """Estimators of the gap of one distribution must agree. Derivatives and posterior draws of a trained prior
are of one distribution only as far as its network is a posterior mean."""


def extremes(rows: pd.DataFrame) -> str:
    """The largest and least values on the curves of one prior, and where they are."""
    return grid(HEADING, list(_affine(rows) if curves.is_affine(rows) else _curved(rows)))


def _affine(rows: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    shown = curves.usable(rows)
    yield "largest J, rounding of an affine residual", format_value(shown["gap"].max()), style.MISSING, style.MISSING
    yield from _loss_gap(shown)


def _curved(rows: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    curve = curves.best(rows)
    for name, row in (
        ("largest J", record(curve, curve["gap"].idxmax())),
        ("J at the lowest level", records(curve)[0]),
    ):
        yield name, curves.interval(row, "gap"), f"{row['sigma']:g}", curves.NAMES[row["estimator"]]
    yield from _loss_gap(curve)
    yield from _empirical(rows)
    yield from _split(rows)


def _loss_gap(known: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """G₂ where it is largest in size."""
    known = known[known["loss_gap"].notna()]
    if len(known):
        top = record(known, known["loss_gap"].abs().idxmax())
        yield "G₂, largest in size", curves.loss_gap(top), f"{top['sigma']:g}", curves.NAMES[top["estimator"]]


def _empirical(rows: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """From which level on the empirical posterior is usable, and how much it depends on the number of states."""
    name, found = curves.NAMES["empirical"], curves.largest_empirical(curves.usable(rows))
    least = f"{found['sigma'].min():g}" if len(found) else "none: it has collapsed at every level"
    yield "lowest usable level of the empirical posterior", style.MISSING, least, name
    count, change = curves.change_with_half(rows)
    if change == change:
        yield f"largest change of J with half of {count:.0f} states", f"{100 * change:.1f} %", style.MISSING, name


def _split(rows: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """R(D) of a trained prior, the gap in units of the network's error, and the residual of posterior draws."""
    split = curves.shares(rows)
    if split.empty:
        return
    derived, drawn = (curves.by_estimator(rows, name) for name in ("tweedie", "monte_carlo"))
    split = split.assign(share=split["gap"] / split["network"])
    quantities = (("R(D)", derived, "denoised"), ("J / network error", split, "share"))
    for name, part, column in (*quantities, ("R of the network's posterior draws", drawn, "posterior")):
        for end, chosen in (("least", part[column].min()), ("largest", part[column].max())):
            for row in records(part[part[column] == chosen])[:1]:
                yield f"{end} {name}", format_value(chosen), f"{row['sigma']:g}", curves.NAMES[row["estimator"]]


def agreement(groups: Sequence[pd.DataFrame]) -> list[str]:
    """How many comparisons of estimators chance explains, and the largest differences that it does not."""
    met = [pairs.assign(subject=curves.label(rows)) for rows in groups if len(pairs := curves.comparisons(rows))]
    if not met:
        return []
    pairs = pd.concat(met, ignore_index=True)
    kinds = [(KINDS[known], part) for known in KINDS if len(part := pairs[pairs["known"] == known])]
    parts = [AGREEMENT, grid(AGREEMENT_HEADING, [_counts(name, part) for name, part in kinds])]
    apart = [row for _, part in kinds for row in _disagreements(part)]
    return [*parts, grid(DISAGREEMENT_HEADING, apart)] if apart else parts


def _counts(name: str, pairs: pd.DataFrame) -> list[str]:
    within = int((pairs["apart"] <= pairs["allowed"]).sum())
    return [name, str(len(pairs)), f"{within} of {len(pairs)}", f"{pairs['apart'].max():.1f}"]


def _disagreements(pairs: pd.DataFrame) -> Iterator[list[str]]:
    outside = pairs[pairs["apart"] > pairs["allowed"]].sort_values("apart", ascending=False)
    for row in records(outside.head(NAMED)):
        sides = [[curves.NAMES[row[f"estimator{e}"]], format_value(row[f"gap{e}"])] for e in ("", "_other")]
        yield [row["subject"], f"{row['sigma']:g}", *sides[0], *sides[1], f"{row['apart']:.1f}"]
