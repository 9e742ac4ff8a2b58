"""What the curves of the Jensen gap say: sentences made of their numbers."""

from collections.abc import Iterator, Sequence

import pandas as pd

from jensenbench.jensen.estimate import student_95
from jensenbench.reporting import style
from jensenbench.reporting.results import Frame
from jensenbench.reporting.style import format_value

AFFINE = 1e-9  # of the largest term: a gap below is rounding
NAMED = 4  # disagreements that a sentence lists
LEARNT = (
    "Derivatives and posterior draws of a trained prior, which are of one law only where it is a posterior mean, agree"
)
NAMES = {
    "analytic": "closed form",
    "empirical": "empirical posterior",
    "tweedie": "derivatives",
    "monte_carlo": "posterior draws",
}
PREFERRED = ("analytic", "empirical", "tweedie", "monte_carlo")  # where several know the gap of a level


def own_power(rows: Frame) -> int:
    """Codec power of the prior that the rows are about."""
    return int(rows.loc[rows["law"] == rows["prior"], "power"].iloc[0])


def usable(rows: Frame) -> Frame:
    """Points in the prior's own codec that may be drawn."""
    return rows[(rows["power"] == own_power(rows)) & rows["usable"].astype(bool)]


def largest_law(rows: Frame) -> Frame:
    """Rows of the empirical posterior of all states."""
    law = rows[rows["estimator"] == "empirical"]
    return law[law["law_states"] == law["law_states"].max()]


def is_affine(rows: Frame) -> bool:
    """Whether no estimator sees more than rounding."""
    return bool(usable(rows)["gap"].max() < AFFINE)


def best(rows: Frame) -> Frame:
    """One row a level: the gap by the best estimator that is usable there; derivatives only where they see one."""
    shown = usable(rows)
    own = shown[(shown["law"] == shown["prior"]) & ((shown["estimator"] != "tweedie") | (shown["gap_low"] > 0))]
    known = pd.concat([largest_law(shown), own])
    order = known.assign(rank=known["estimator"].map(PREFERRED.index)).sort_values(["sigma", "rank"])
    return order.drop_duplicates("sigma")


def interval(row: Frame, name: str) -> str:
    """A value with its interval; an unknown one is a dash."""
    return format_value(row[name], row[f"{name}_low"], row[f"{name}_high"]) if row[name] == row[name] else "–"


def loss_gap(row: Frame) -> str:
    """The signed gap of the squared loss with its interval, in units of the largest term squared."""
    return format_value(*loss_gap_interval(row)) if row["loss_gap"] == row["loss_gap"] else style.MISSING


def loss_gap_interval(row: Frame) -> tuple[float, float, float]:
    """The signed gap of the squared loss, and the ends of its 95 % interval over noisy states."""
    value, width = row["loss_gap"], student_95(int(row["states"])) * row["loss_gap_error"]
    return value, value - width, value + width


def comparisons(rows: Frame) -> Frame:
    """Pairs of estimators at one level, and by how many standard errors their squared gaps differ.

    ``known`` are those of one law; those of a trained prior are one law's only as far as it is a posterior mean.
    """
    shown = usable(rows)
    law, own = shown[shown["law"] == "empirical"], shown[shown["law"] == shown["prior"]]
    parts = [compare(law, name, "empirical", ["sigma", "law_states"]) for name in ("tweedie", "monte_carlo")]
    parts += [compare(own, name, "analytic", ["sigma"]) for name in ("tweedie", "monte_carlo")]
    parts = [part.assign(known=True) for part in parts]
    if "analytic" not in set(own["estimator"]):
        parts.append(compare(own, "tweedie", "monte_carlo", ["sigma"]).assign(known=False))
    return pd.concat(parts, ignore_index=True)


def compare(rows: Frame, first: str, second: str, keys: list[str]) -> Frame:
    """Levels at which two estimators see more than rounding: by how many standard errors of the squared gap they differ
    (``apart``), and what difference chance explains in 95 of 100 cases with that few states (``allowed``).
    """
    both = rows[rows["estimator"] == first].merge(rows[rows["estimator"] == second], on=keys, suffixes=("", "_other"))
    error = (both["gap_error"] ** 2 + both["gap_error_other"] ** 2) ** 0.5
    both["apart"] = (both["gap"] ** 2 - both["gap_other"] ** 2).abs() / error
    both["allowed"] = [student_95(int(n)) for n in both[["states", "states_other"]].min(axis=1)]
    return both[(both["gap"].clip(lower=both["gap_other"]) > AFFINE) & (error > 0)]


def findings(groups: Sequence[Frame]) -> Iterator[str]:
    """Readings over all priors of a tier."""
    flat, curved = [g for g in groups if is_affine(g)], [g for g in groups if not is_affine(g)]
    if flat:
        top = max(usable(rows)["gap"].max() for rows in flat)
        floor = max(rows["floor"].iloc[0] for rows in flat)
        yield (
            f"No gap for {_names(flat)}: R is affine in the state, and no estimator at any level reads more than "
            f"{format_value(top)} of the largest term (floor of the data: {format_value(floor)} at most). On these "
            "equations the argument against a residual of the denoised state has no object."
        )
    for rows in curved:
        yield f"{label(rows)}: {next(sentences(rows))}"
    met = [pairs.assign(subject=label(rows)) for rows in groups if len(pairs := comparisons(rows))]
    if met:
        pairs = pd.concat(met, ignore_index=True)
        for known, said in ((True, "Estimators of one law agree"), (False, LEARNT)):
            if len(part := pairs[pairs["known"] == known]):
                yield f"{said} {_agreement(part)}"
    yield _verdict(flat, curved)


def _verdict(flat: Sequence[Frame], curved: Sequence[Frame]) -> str:
    if not curved:
        return "The premise of the argument, a gap, is met by no equation of this tier."
    parts = [f"The premise of the argument, a gap, is met by {_names(curved)}"]
    parts += [f" and not by {_names(flat)}" if flat else "", "."]
    for rows in curved:
        split = shares(rows)
        if len(split):
            above = split[split["gap"] > split["network"]]
            parts.append(
                f" On {label(rows)} the gap is the larger part of the trained prior's residual at {len(above)} of "
                f"{len(split)} levels{_where(above)}."
            )
    if any(len(shares(rows)) for rows in curved):
        parts.append(" At the other levels it is the network's own error, which remains in a sampler without a gap.")
    return "".join(parts)


def _where(above: Frame) -> str:
    if above.empty:
        return ""
    return f" (σ = {', '.join(f'{sigma:g}' for sigma in above['sigma'])})"


def shares(rows: Frame) -> Frame:
    """Levels at which both the gap and the network's error are known, by the best estimator of the gap."""
    return best(rows).dropna(subset=["network"]).query("estimator in ('empirical', 'tweedie') and gap > 0")


def sentences(rows: Frame) -> Iterator[str]:
    """What the curves of one prior say."""
    shown = usable(rows)
    if is_affine(rows):
        yield f"The residual is affine: no estimator sees a gap above {format_value(shown['gap'].max())} (rounding)."
        yield from _loss_gap(shown)
        return
    curve, law = best(rows), largest_law(shown)
    top, low = curve.loc[curve["gap"].idxmax()], curve.iloc[0]
    yield (
        f"The gap is largest at σ = {top['sigma']:g}: {interval(top, 'gap')} of the largest term "
        f"({NAMES[top['estimator']]}); at σ = {low['sigma']:g} it is {interval(low, 'gap')} "
        f"({NAMES[low['estimator']]})."
    )
    yield from _loss_gap(curve)
    if law.empty:
        yield "At every level the empirical posterior has collapsed to few states: it says nothing here."
    else:
        yield f"The empirical posterior has not collapsed from σ = {law['sigma'].min():g} on."
        yield from _convergence(shown, law)
    yield from _split(rows)


def _loss_gap(known: Frame) -> Iterator[str]:
    """G₂ where it is largest in size, and what its sign says."""
    known = known[known["loss_gap"].notna()]
    if known.empty:
        return
    top = known.loc[known["loss_gap"].abs().idxmax()]
    negative = top["loss_gap"] < 0
    yield (
        f"The gap of the squared loss, G₂ = E|R(x₀)|² − |R(E[x₀ | x_t])|², is largest in size at σ = {top['sigma']:g}: "
        f"{loss_gap(top)} of the largest term squared ({NAMES[top['estimator']]})"
        + ("; negative: the loss of the mean exceeds the mean loss." if negative else ".")
    )


def _convergence(shown: Frame, law: Frame) -> Iterator[str]:
    half = shown[(shown["estimator"] == "empirical") & (shown["law_states"] == law["law_states"].max() // 2)]
    both = law.merge(half, on="sigma", suffixes=("", "_half"))
    if len(both):
        change = (both["gap_half"] / both["gap"] - 1).abs().max()
        yield f"With half of its {law['law_states'].max():.0f} states it changes by {100 * change:.1f} % at most."


def _split(rows: Frame) -> Iterator[str]:
    split = shares(rows)
    if split.empty:
        return
    own = usable(rows).query("law == prior and estimator == 'tweedie'").set_index("sigma")["denoised"]
    ratio = (split["gap"] / split["network"]).set_axis(split["sigma"])
    yield (
        f"Of the trained prior's R(D), {format_value(own.min())} to {format_value(own.max())} by level, the gap is "
        f"{ratio.min():.2g} times (σ = {ratio.idxmin():g}) to {ratio.max():.2g} times (σ = {ratio.idxmax():g}) the "
        "network's error."
        if len(own)
        else f"The gap is {ratio.min():.2g} to {ratio.max():.2g} times the network's error."
    )
    drawn = usable(rows).query("law == prior and estimator == 'monte_carlo'")["posterior"]
    if len(drawn):
        yield (
            f"Its posterior draws, which have no gap, carry a residual of {format_value(drawn.min())} to "
            f"{format_value(drawn.max())}."
        )


def _agreement(pairs: Frame) -> str:
    outside = pairs[pairs["apart"] > pairs["allowed"]].sort_values("apart", ascending=False)
    said = f"within what chance explains (95 %) in {len(pairs) - len(outside)} of {len(pairs)} comparisons"
    if outside.empty:
        return f"{said}; the largest difference is {pairs['apart'].max():.1f} standard errors."
    listed = "; ".join(
        f"{row['subject']}, σ = {row['sigma']:g}: {NAMES[row['estimator']]} {format_value(row['gap'])}, "
        f"{NAMES[row['estimator_other']]} {format_value(row['gap_other'])} ({row['apart']:.1f} standard errors)"
        for row in outside.head(NAMED).to_dict("records")
    )
    return f"{said}; {'not' if len(outside) <= NAMED else 'least'} in {listed}."


def label(rows: Frame) -> str:
    """PDE and prior of a table."""
    return f"{rows['pde'].iloc[0]} ({rows['prior'].iloc[0]})"


def _names(groups: Sequence[Frame]) -> str:
    return ", ".join(label(rows) for rows in groups)
