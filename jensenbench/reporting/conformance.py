"""The conformance page: what every plug-in and prior was checked for, and the number behind each verdict."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jensenbench import store
from jensenbench.checks.report import Report

_KINDS = {"method": "Methods", "pde": "PDEs", "prior": "Priors"}


def write_report(report: Report, kind: str, path: Path) -> None:
    """Keep a report as JSON for the page."""
    store.write_text(path, json.dumps({"kind": kind, "rows": report.rows()}, indent=1))


def run(*, files: Sequence[Path], out: Path) -> None:
    """Write ``conformance.md`` from the reports of all checks."""
    reports = [json.loads(path.read_text()) for path in files]
    blocks = ["# Conformance", "Every plug-in of the tier against the public checks of `python -m jensenbench check`."]
    for kind, title in _KINDS.items():
        rows = [row for report in reports if report["kind"] == kind for row in report["rows"]]
        if rows:
            blocks += [f"## {title}", _summary(pd.DataFrame(rows)), _details(pd.DataFrame(rows))]
    store.write_text(out, "\n\n".join(blocks) + "\n")


def _summary(rows: pd.DataFrame) -> str:
    counted = rows.groupby("subject", sort=True)["passed"].agg(["sum", "count"])
    lines = [f"| {subject} | {row['sum']} / {row['count']} |" for subject, row in counted.iterrows()]
    return "\n".join(["| subject | passed |", "|---|---|", *lines])


def _details(rows: pd.DataFrame) -> str:
    cells = rows.assign(cell=[_cell(row["passed"], row["value"]) for row in rows.to_dict("records")])
    table = cells.pivot_table(index="name", columns="subject", values="cell", aggfunc="first", sort=False).fillna("–")
    return table.rename_axis(index="check", columns=None).reset_index().to_markdown(index=False)


def _cell(passed: bool, value: float | None) -> str:
    number = "" if value is None or pd.isna(value) else f" {value:.2g}"
    return ("pass" if passed else "**fail**") + number
