"""The conformance page: what every plug-in and prior was checked for, and the number behind each verdict."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jensenbench.checks.report import Report
from jensenbench.io.files import write_text
from jensenbench.reporting.style import MISSING

Checked = Mapping[str, Any]  # a report as its file keeps it
_KINDS = {"method": "Methods", "pde": "PDEs"}


def write_report(report: Report, kind: str, path: Path) -> None:
    """Keep a report as JSON for the page."""
    content = {"kind": kind, "labels": dict(report.labels), "rows": report.rows()}
    write_text(path, json.dumps(content, indent=1))


def run(*, files: Sequence[Path], out: Path) -> None:
    """Write ``conformance.md`` from the reports of all checks."""
    reports: list[Checked] = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    blocks = [
        "# Conformance",
        "Every plug-in and prior of the tier against the public checks of `python -m jensenbench check`.",
    ]
    for kind, title in _KINDS.items():
        rows = [row for report in reports if report["kind"] == kind for row in report["rows"]]
        if rows:
            blocks += [f"## {title}", _summary(pd.DataFrame(rows)), _details(pd.DataFrame(rows), "subject")]
    blocks += _certificates([report["labels"] for report in reports if report["kind"] == "pde" and report["labels"]])
    priors = [report for report in reports if report["kind"] == "prior"]
    blocks += _priors(priors) if priors else []
    write_text(out, "\n\n".join(blocks) + "\n")


def _summary(rows: pd.DataFrame) -> str:
    counted = rows.groupby("subject", sort=True)["passed"].agg(["sum", "count"])
    lines = [f"| {subject} | {row['sum']} / {row['count']} |" for subject, row in counted.iterrows()]
    return "\n".join(["| subject | passed |", "|---|---|", *lines])


def _certificates(labels: Sequence[Mapping[str, Any]]) -> list[str]:
    """One row per PDE with what was measured of the module itself, one row per field with a released set."""
    if not labels:
        return []
    rows = [{name: _number(value) for name, value in row.items() if name != "statistics"} for row in labels]
    note = (
        "Order: of accuracy, of the own residual on a smooth state. Floors: residual of own data over the equation's "
        "largest term, by the own stencil but for the last one (metric `residual_high_order`). 1 % noise: by how many "
        "times it raises the residual. ms: of the processor, a generated state."
    )
    blocks = ["### Certificates", note, pd.DataFrame(rows).fillna(MISSING).to_markdown(index=False)]
    fields = [{"PDE": row["PDE"], **statistic} for row in labels for statistic in row["statistics"]]
    return blocks + (_released(fields) if fields else [])


def _released(fields: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [{name.replace("_", " "): _number(value, z=name[0] == "z") for name, value in row.items()} for row in fields]
    note = (
        "1000 states at 64² beside the sets that DiffusionPDE released (`huang2024diffusionpde`), as FunDPS's code "
        "(`yao2025fundps`, `utils/dataset_prop.py`) keeps their statistics. z: the distance in standard errors."
    )
    return ["### Statistics beside the released sets", note, pd.DataFrame(rows).to_markdown(index=False)]


def _number(value: Any, *, z: bool = False) -> str:
    if isinstance(value, float):
        return f"{value:z.2f}" if z else f"{value:.4g}"
    return MISSING if value is None else str(value)


def _priors(reports: Sequence[Checked]) -> list[str]:
    """One row per prior, then the checks of all seeds of each."""
    table = pd.DataFrame([{**report["labels"], **_verdict(report["rows"])} for report in reports])
    details = []
    for _, found in table.groupby(["PDE", "prior"], sort=False):
        rows = [
            {**row, "seed": f"seed {reports[i]['labels']['seed']}"} for i in found.index for row in reports[i]["rows"]
        ]
        details += [f"### {found.iloc[0]['PDE']}, {found.iloc[0]['prior']}", _details(pd.DataFrame(rows), "seed")]
    return ["## Priors", table.replace("", MISSING).to_markdown(index=False), *details]


def _verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    failed = [_named(row) for row in rows if not row["passed"]]
    return {"passed": f"{len(rows) - len(failed)} / {len(rows)}", "failed": "; ".join(failed)}


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['name']} ({row['value']:.2g})" if row["value"] is not None else row["name"]


def _details(rows: pd.DataFrame, columns: str) -> str:
    cells = rows.assign(cell=[_cell(row["passed"], row["value"]) for row in rows.to_dict("records")])
    table = cells.pivot_table(index="name", columns=columns, values="cell", aggfunc="first", sort=False).fillna(MISSING)
    return table.rename_axis(index="check", columns=None).reset_index().to_markdown(index=False)


def _cell(passed: bool, value: float | None) -> str:
    number = "" if value is None or pd.isna(value) else f" {value:.2g}"
    return ("pass" if passed else "**fail**") + number
