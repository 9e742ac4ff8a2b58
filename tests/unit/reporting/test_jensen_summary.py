"""Table 5: the line of a prior holds the numbers of its curves, on both pages and in both files."""

import math

import numpy as np
import pandas as pd
import pytest

from jensenbench.errors import UserError
from jensenbench.jensen.table import to_csv
from jensenbench.reporting.jensen import curves
from jensenbench.reporting.jensen import page as jensen
from jensenbench.reporting.jensen import summary as jensen_summary
from jensenbench.reporting.results import load_results
from jensenbench.stages import report
from tests.support.jensen_tables import frame, row
from tests.support.synthetic_results import build

GAPS = {0.1: 0.2, 1.0: 0.4, 10.0: 0.3}


@pytest.fixture(scope="module")
def rows():
    """A prior whose gap is largest in the middle, above the network's error at two of three levels."""
    loss = {sigma: {"loss_gap": -(gap**2), "loss_gap_error": 0.01} for sigma, gap in GAPS.items()}
    empirical = [
        row("empirical", "empirical", s, gap, law_states=40, network=0.25, **loss[s]) for s, gap in GAPS.items()
    ]
    return frame([*empirical, *(row("net", "tweedie", s, 9.0, gap_low=0.0) for s in GAPS)])


def test_the_line_is_the_level_of_the_largest_gap(rows):
    found = jensen_summary.record(rows)
    assert found["sigma"] == max(GAPS, key=lambda sigma: GAPS[sigma])
    assert found["gap"] == max(curves.best(rows)["gap"])
    assert found["loss_gap"] == pytest.approx(-(found["gap"] ** 2))
    assert found["loss_gap_low"] < found["loss_gap"] < found["loss_gap_high"]
    assert (found["levels_above"], found["levels"]) == (2, 3)
    assert not found["affine"]


def test_a_prior_in_closed_form_has_no_network_error():
    flat = frame([row("net", "analytic", sigma, 3e-14) for sigma in GAPS])
    assert jensen_summary.record(flat)["affine"]
    line = dict(zip(jensen_summary.HEADING, jensen_summary.line(flat), strict=True))
    assert line["network error there"] == line["levels with gap above network error"] == "–"


def test_markdown_and_latex_show_the_numbers_of_the_csv(rows, tmp_path):
    jensen_summary.write_table([rows], tmp_path)
    (saved,) = pd.read_csv(tmp_path / "table_5_jensen.csv").to_dict("records")
    for name, value in jensen_summary.record(rows).items():
        if isinstance(value, float | np.floating) and math.isfinite(value):
            assert saved[name] == pytest.approx(value, rel=1e-8)
    text, latex = jensen_summary.section([rows]), (tmp_path / "table_5_jensen.tex").read_text()
    for name in ("gap", "network", "loss_gap"):
        shown = curves.interval(saved, name)
        assert f"| {shown} |" in text
        assert shown in latex
    assert latex.count("{") == latex.count("}")
    assert all(line.count("|") == text.splitlines()[-1].count("|") for line in text.splitlines()[-3:])


def test_without_curves_there_is_no_table(tmp_path):
    jensen_summary.write_table([], tmp_path)
    assert not list(tmp_path.iterdir())
    assert jensen_summary.section([]) == ""


def place(results, rows, name):
    path = results / "jensen" / "poisson-12" / "network-p1" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_csv(rows))
    return path


def test_curves_are_those_of_the_tiers_priors_and_of_their_first_seed(rows, tmp_path):
    config, results = build(tmp_path)
    assert jensen.curves_of(load_results(config, results)) == []
    for seed in (3, 4):
        place(results, rows, f"{seed}.csv")
    other = place(results, rows, "3.other.csv")
    other.write_text("a,b\n1,2\n")  # further tables of the stage are none of curves
    (found,) = jensen.curves_of(load_results(config, results))
    assert set(found["seed"]) == {3}
    place(results, rows, "3.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="other columns"):
        jensen.curves_of(load_results(config, results))


@pytest.mark.slow
def test_the_report_has_the_table_where_the_stage_has_run(rows, tmp_path):
    config, results = build(tmp_path)
    report.run(config=config, results=results, out=tmp_path / "out")
    assert jensen_summary.TITLE not in (tmp_path / "out" / "tables.md").read_text()
    place(results, rows, "0.csv")
    report.run(config=config, results=results, out=tmp_path / "out")
    text = (tmp_path / "out" / "tables.md").read_text()
    assert f"## {jensen_summary.TITLE}\n\n{jensen_summary.section([rows])}" in text
    assert (tmp_path / "out" / "tables" / "table_5_jensen.csv").exists()
