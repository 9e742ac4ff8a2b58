"""Numbers read from curves of the Jensen gap: best estimator per noise level, agreement of estimators, shares."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jensenbench.jensen.estimate import student_95
from jensenbench.reporting import style
from jensenbench.reporting.style import format_value

AFFINE = 1e-9  # of the largest term: a gap below is rounding
NAMES = {
    "analytic": "closed form",
    "empirical": "empirical posterior",
    "tweedie": "derivatives",
    "monte_carlo": "posterior draws",
}
PREFERRED = ("analytic", "empirical", "tweedie", "monte_carlo")  # where several know the gap of a level


def own_power(rows: pd.DataFrame) -> int:
    """Codec power of the prior that the rows are about."""
    return int(rows.loc[rows["law"] == rows["prior"], "power"].iloc[0])


def usable(rows: pd.DataFrame) -> pd.DataFrame:
    """Points in the prior's own codec that may be drawn."""
    return rows[(rows["power"] == own_power(rows)) & rows["usable"].astype(bool)]


def largest_empirical(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the empirical posterior of all states."""
    found = rows[rows["estimator"] == "empirical"]
    return found[found["law_states"] == found["law_states"].max()]


def is_affine(rows: pd.DataFrame) -> bool:
    """Whether no estimator sees more than rounding."""
    return bool(usable(rows)["gap"].max() < AFFINE)


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per level: the gap by the best estimator that is usable there; derivatives only where they see one."""
    shown = usable(rows)
    own = shown[(shown["law"] == shown["prior"]) & ((shown["estimator"] != "tweedie") | (shown["gap_low"] > 0))]
    known = pd.concat([largest_empirical(shown), own])
    order = known.assign(rank=known["estimator"].map(PREFERRED.index)).sort_values(["sigma", "rank"])
    return order.drop_duplicates("sigma")


def shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Levels at which both the gap and the network's error are known, by the best estimator of the gap."""
    known = best(rows).dropna(subset=["network"])
    return known[known["estimator"].isin(["empirical", "tweedie"]) & (known["gap"] > 0)]


def by_estimator(rows: pd.DataFrame, estimator: str) -> pd.DataFrame:
    """Usable points of the prior itself, by one estimator."""
    shown = usable(rows)
    return shown[(shown["law"] == shown["prior"]) & (shown["estimator"] == estimator)]


def change_with_half(rows: pd.DataFrame) -> tuple[float, float]:
    """Number of states of the empirical posterior, and by what share its gap changes at most with half of them.

    NaN where no level is usable with half of them.
    """
    shown = usable(rows)
    whole = largest_empirical(shown)
    count = whole["law_states"].max()
    half = shown[(shown["estimator"] == "empirical") & (shown["law_states"] == count // 2)]
    both = whole.merge(half, on="sigma", suffixes=("", "_half"))
    return float(count), float((both["gap_half"] / both["gap"] - 1).abs().max())


def comparisons(rows: pd.DataFrame) -> pd.DataFrame:
    """Pairs of estimators at one level, and by how many standard errors their squared gaps differ.

    ``known`` are those of one distribution; those of a trained prior are of one only as far as it is a posterior mean.
    """
    shown = usable(rows)
    empirical, own = shown[shown["law"] == "empirical"], shown[shown["law"] == shown["prior"]]
    parts = [compare(empirical, name, "empirical", ["sigma", "law_states"]) for name in ("tweedie", "monte_carlo")]
    parts += [compare(own, name, "analytic", ["sigma"]) for name in ("tweedie", "monte_carlo")]
    parts = [part.assign(known=True) for part in parts]
    if "analytic" not in set(own["estimator"]):
        parts.append(compare(own, "tweedie", "monte_carlo", ["sigma"]).assign(known=False))
    return pd.concat(parts, ignore_index=True)


def compare(rows: pd.DataFrame, first: str, second: str, keys: Sequence[str]) -> pd.DataFrame:
    """Levels at which two estimators see more than rounding: by how many standard errors of the squared gap they differ
    (``apart``), and what difference chance explains in 95 of 100 cases with that few states (``allowed``).
    """
    one, other = rows[rows["estimator"] == first], rows[rows["estimator"] == second]
    both = one.merge(other, on=list(keys), suffixes=("", "_other"))
    error = (both["gap_error"] ** 2 + both["gap_error_other"] ** 2) ** 0.5
    both["apart"] = (both["gap"] ** 2 - both["gap_other"] ** 2).abs() / error
    both["allowed"] = [student_95(int(n)) for n in both[["states", "states_other"]].min(axis=1)]
    return both[(np.maximum(both["gap"], both["gap_other"]) > AFFINE) & (error > 0)]


def interval(row: Mapping[str, Any], name: str) -> str:
    """A value with its interval; an unknown one is a dash."""
    known = row[name] == row[name]
    return format_value(row[name], row[f"{name}_low"], row[f"{name}_high"]) if known else style.MISSING


def loss_gap(row: Mapping[str, Any]) -> str:
    """The signed gap of the squared loss with its interval, in units of the largest term squared."""
    return format_value(*loss_gap_interval(row)) if row["loss_gap"] == row["loss_gap"] else style.MISSING


def loss_gap_interval(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """The signed gap of the squared loss, and the ends of its 95 % interval over noisy states."""
    value, width = row["loss_gap"], student_95(int(row["states"])) * row["loss_gap_error"]
    return value, value - width, value + width


def label(rows: pd.DataFrame) -> str:
    """PDE and prior of a table."""
    return f"{rows['pde'].iloc[0]} ({rows['prior'].iloc[0]})"
