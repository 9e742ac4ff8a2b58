"""Stage ``report``: tables, cost, and figures of a tier."""

import sys
from collections.abc import Callable
from pathlib import Path

from jensenbench.errors import UserError
from jensenbench.io.files import write_text
from jensenbench.io.provenance import ROOT
from jensenbench.plugins import registry
from jensenbench.reporting import findings
from jensenbench.reporting.figures import calibration as calibration_figures
from jensenbench.reporting.figures import evidence as evidence_figures
from jensenbench.reporting.figures import maps, pareto, tradeoff, training
from jensenbench.reporting.jensen import page as jensen
from jensenbench.reporting.jensen import summary as jensen_summary
from jensenbench.reporting.pages import calibration, cost, priors, questions, tables
from jensenbench.reporting.results import load_results

GENERATED = {
    "tables": ("table_*.csv", "table_*.tex"),
    "figures": ("samples_*", "pareto_*", "training_*", "learning_*", "tradeoff_*", "evidence_*", "calibration_*"),
}


def run(*, config: Path, results: Path, out: Path) -> None:
    """Write pages (``tables.md`` and its companions), ``tables/`` and ``figures/`` below ``out``.

    Equal results give equal bytes of everything but ``priors.md``, ``cost.md`` and ``times.md``, which hold times
    and machines. A tier that publishes into ``reports/`` also brings the README's times up to date, and one that
    publishes anywhere below it renders ``reports/findings.md`` again.
    """
    found = load_results(config, results)
    for folder, patterns in GENERATED.items():
        for stale in (path for pattern in patterns for path in (out / folder).glob(pattern)):
            stale.unlink()
    made = list(tables.all_tables(found))
    tables.write_tables(made, out / "tables")
    pareto.write_figures(found, out / "figures")
    maps.write_figures(found, out / "figures")
    drawn = list(training.write_figures(found, out / "figures"))
    write_text(out / "priors.md", priors.page(found, drawn))
    asked = [*tradeoff.write_figure(found, out / "figures"), *evidence_figures.write_figures(found, out / "figures")]
    write_text(out / "questions.md", questions.page(found, asked))
    write_text(out / "cost.md", cost.ledger(found))
    write_text(out / "times.md", cost.times(found))
    calibrated = calibration.section(found, list(calibration_figures.write_figures(found, out / "figures")))
    curves = jensen.curves_of(found)
    jensen_summary.write_table(curves, out / "tables")
    sections = {"Calibration": calibrated, jensen_summary.TITLE: jensen_summary.section(curves)}
    text = tables.page(found, made, registry.catalog()["methods"], sections=sections)
    write_text(out / "tables.md", text)
    if found.settings.get("publish") is True and out.resolve() == ROOT / "reports":
        _update("README.md", lambda: cost.insert_times(ROOT / "README.md", cost.times(found)))
    if found.settings.get("publish") and out.resolve().is_relative_to(ROOT / "reports"):
        _update("reports/findings.md", findings.render)


def _update(page: str, write: Callable[[], None]) -> None:
    """Bring a page of the repository up to date; one that cannot be is no reason to lose the report."""
    try:
        write()
    except (UserError, OSError) as error:
        print(f"{page} is as it was: {error}", file=sys.stderr)
