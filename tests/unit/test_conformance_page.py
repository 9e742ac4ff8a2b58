"""The conformance page shows every verdict with its number, failures above all."""

from jensenbench.checks.report import Check, Report
from jensenbench.reporting import conformance


def test_failures_and_missing_checks_show(tmp_path):
    reports = {
        "dps": Report("dps", (Check("rows alone", True, 1e-12, ""), Check("budget", False, 2.0, "not enforced"))),
        "edm": Report("edm", (Check("rows alone", True, None, ""),)),
    }
    for name, report in reports.items():
        conformance.write_report(report, "method", tmp_path / f"{name}.json")
    conformance.run(files=[tmp_path / f"{name}.json" for name in reports], out=tmp_path / "conformance.md")
    lines = (tmp_path / "conformance.md").read_text().splitlines()
    assert "| dps | 1 / 2 |" in lines
    assert "| edm | 1 / 1 |" in lines
    (budget,) = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| budget")]
    assert budget == ["budget", "**fail** 2", "–"]
