"""Tables of the Jensen gap: columns, file names and CSV text."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jensenbench.jensen.estimate import SQUARES, Row

_BOUNDED = ("", "_low", "_high", "_error")
COLUMNS = (
    "pde", "prior", "power", "law", "law_states", "estimator", "count", "sigma", "states",
    *(f"{name}{end}" for name in SQUARES for end in _BOUNDED),
    "loss_gap", "loss_gap_error", "ess", "usable", "reason", "floor", "git_commit",
)  # fmt: skip
VISIT_COLUMNS = (
    "pde", "prior", "power", "method", "variant", "task", "denoiser", "residual_of", "residual_low",
    "residual_high", "sigma", "sigma_mean", "calls", "states",
    *(f"{name}{end}" for name in SQUARES for end in _BOUNDED),
    "loss_gap", "loss_gap_error", "ess", "usable", "reason", "git_commit",
)  # fmt: skip
LIKELIHOOD_COLUMNS = (
    "pde", "prior", "power", "law", "noise", "points", "sigma", "states", "difference", "difference_low",
    "difference_high", "expected", "at_mean", "printed", "lipschitz", "ess", "usable", "reason", "git_commit",
)  # fmt: skip


def beside(out: Path, name: str) -> Path:
    """Path of a further table of the stage: ``0.csv`` has ``0.visits.csv`` and ``0.likelihood.csv`` beside it."""
    return out.with_name(f"{out.stem}.{name}.csv")


def table(rows: list[Row], columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Table with all ``columns``, in their order; missing values are NaN, a missing reason is empty."""
    frame = pd.DataFrame(rows).reindex(columns=list(columns))
    return frame.assign(reason=frame["reason"].astype("string").fillna(""))


def to_csv(frame: pd.DataFrame) -> str:
    """Text of a table; equal content gives equal bytes."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
