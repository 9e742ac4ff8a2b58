"""Training log: means between two checks as one row per check, and CSV text that equal runs share."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

COLUMNS = ("step", "states", "learning_rate", "gradient_norm", "gradient_norm_max", "loss")


@dataclass
class Progress:
    """State of a training besides weights and optimiser; a resumed run needs all of it.

    Attributes:
        step: number of steps done.
        seconds, checking: spent in all, and of these in checks.
        rows: of the log, one per check.
        sums, largest, count: sums, largest gradient norm and number of steps since the last row.
        usual: moving average of the loss.
        diverged: steps at which the run was rolled back.
    """

    step: int = 0
    seconds: float = 0.0
    checking: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    largest: float = 0.0
    count: int = 0
    usual: float | None = None
    diverged: list[int] = field(default_factory=list)

    @property
    def recent_loss(self) -> float:
        """Mean loss since the last row, or that of the last row; NaN before the first step."""
        if self.count:
            return self.sums["loss"] / self.count
        return self.rows[-1]["loss"] if self.rows else math.nan

    def add(self, values: Mapping[str, float], gradient_norm: float) -> None:
        """Count one step with its loss and parts of the loss, and its gradient norm before clipping."""
        for name, value in {**values, "gradient_norm": gradient_norm}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.step, self.count = self.step + 1, self.count + 1
        self.largest = max(self.largest, gradient_norm)

    def means(self, batch: int, rate: float) -> dict[str, float]:
        """Row of the log for the steps since the last one, of ``batch`` states each, with a learning rate."""
        means = {name: total / self.count for name, total in self.sums.items()}
        return {
            "step": self.step,
            "states": self.step * batch,
            "learning_rate": rate,
            "gradient_norm": means.pop("gradient_norm"),
            "gradient_norm_max": self.largest,
            **means,
        }

    def append(self, row: dict[str, float]) -> None:
        """Add a row to the log and start new sums."""
        self.rows.append(row)
        self.sums, self.largest, self.count = {}, 0.0, 0


def write_log(rows: Sequence[Mapping[str, float]]) -> str:
    """Rows of a training log as CSV; no rows give the header alone."""
    text = io.StringIO()
    columns = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.9g}" for name, value in row.items()} for row in rows)
    return text.getvalue()
