"""Stage ``report``: tables, cost, and figures of a tier."""

import sys
from pathlib import Path

from jensenbench.errors import UserError
from jensenbench.io.files import write_text
from jensenbench.io.provenance import ROOT
from jensenbench.plugins import registry
from jensenbench.reporting.figures import evidence as evidence_figures
from jensenbench.reporting.figures import samples as figures
from jensenbench.reporting.figures import tradeoff, training
from jensenbench.reporting.jensen import page as jensen
from jensenbench.reporting.jensen import summary as jensen_summary
from jensenbench.reporting.pages import calibration, cost, priors, questions, tables
from jensenbench.reporting.results import Results, load_results

GENERATED = {
    "tables": ("table_*.csv", "table_*.tex"),
    "figures": ("samples_*", "pareto_*", "training_*", "learning_*", "tradeoff_*", "evidence_*", "calibration_*"),
}


def run(*, config: Path, results: Path, out: Path) -> None:
    """Write pages (``tables.md`` and its companions), ``tables/`` and ``figures/`` below ``out``.

    Equal results give equal bytes of everything but ``priors.md``, ``cost.md`` and ``times.md``, which hold times
    and machines. A tier that publishes into ``reports/`` also brings the README's times up to date.
    """
    found = load_results(config, results)
    for folder, patterns in GENERATED.items():
        for stale in (path for pattern in patterns for path in (out / folder).glob(pattern)):
            stale.unlink()
    made = list(tables.all_tables(found))
    tables.write_tables(made, out / "tables")
    figures.write_figures(found, out / "figures")
    drawn = list(training.write_figures(found, out / "figures"))
    write_text(out / "priors.md", priors.page(found, drawn))
    asked = [*tradeoff.write_figure(found, out / "figures"), *evidence_figures.write_figures(found, out / "figures")]
    write_text(out / "questions.md", questions.page(found, asked))
    write_text(out / "cost.md", cost.ledger(found))
    write_text(out / "times.md", cost.times(found))
    calibrated = calibration.section(found, list(calibration.write_figures(found, out / "figures")))
    curves = jensen.curves_of(found)
    jensen_summary.write_table(curves, out / "tables")
    sections = {"Calibration": calibrated, jensen_summary.TITLE: jensen_summary.section(curves)}
    text = tables.page(found, made, registry.catalog()["methods"], sections=sections)
    write_text(out / "tables.md", text)
    if found.settings.get("publish") is True and out.resolve() == ROOT / "reports":
        _update_readme(found)


def _update_readme(results: Results) -> None:
    """Bring the README's block up to date; a README without markers is no reason to lose the report."""
    try:
        cost.insert_times(ROOT / "README.md", cost.times(results))
    except (UserError, OSError) as error:
        print(f"times are in reports/times.md only: {error}", file=sys.stderr)
