"""The page of the Jensen gap: its tables hold the curves' numbers, unusable points are said and not drawn."""

import math

import numpy as np
import pandas as pd
import pytest

from jensenbench.errors import UserError
from jensenbench.jensen import toy
from jensenbench.jensen.table import LIKELIHOOD_COLUMNS, VISIT_COLUMNS, to_csv
from jensenbench.reporting import style
from jensenbench.reporting.jensen import figures, likelihood, page, readings, trajectories
from tests.support.jensen_tables import GAPS, LIKELIHOODS, SIGMAS, VISITED, frame, row, visit
from tests.support.synthetic_results import build


@pytest.fixture(scope="module")
def rows():
    found = []
    for sigma, gap in GAPS.items():
        collapsed = {"ess": 1.5, "usable": False} if sigma < 1 else {}
        for size, factor in ((10, 1.3), (20, 1.1), (40, 1.0)):
            found.append(row("empirical", "empirical", sigma, factor * gap, law_states=size, network=0.3, **collapsed))
        found.append(row("empirical", "monte_carlo", sigma, 1.3 * gap, law_states=10, **collapsed))
        found.append(row("net", "tweedie", sigma, gap, denoised=3 * gap, network=0.25, ess=math.inf))
        found.append(row("net", "monte_carlo", sigma, gap, posterior=0.123))
        found.append(row("empirical", "empirical", sigma, 0.5 * gap, law_states=40, power=0))
    return frame(found)


def cells(table: str) -> list[list[str]]:
    """Cells of a table in Markdown below its heading."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def by_quantity(rows) -> dict[str, list[str]]:
    return {line[0]: line[1:] for line in cells(readings.extremes(rows))}


def test_the_extremes_are_those_of_the_curves(rows):
    found = by_quantity(rows)
    assert found["largest J"] == ["0.400 [0.360, 0.440]", "10", "empirical posterior"]
    assert found["J at the lowest level"] == ["0.00100 [0.00090, 0.00110]", "0.1", "derivatives"]
    assert found["lowest usable level of the empirical posterior"][1] == "1"
    assert found["largest change of J with half of 40 states"][0] == "10.0 %"
    assert found["least J / network error"][:2] == ["0.00400", "0.1"]
    assert found["largest J / network error"][:2] == ["1.33", "10"]
    assert found["largest R(D)"][0] == "1.20"
    assert found["least R of the network's posterior draws"][0] == "0.123"


def test_estimators_that_disagree_are_named(rows):
    _, counts = readings.agreement([rows])
    assert [line[1:3] for line in cells(counts)] == [["2", "2 of 2"], ["3", "3 of 3"]]
    wrong = rows.copy()
    wrong.loc[(wrong["law"] == "net") & (wrong["estimator"] == "tweedie") & (wrong["sigma"] == 10), "gap"] = 4.0
    _, counts, apart = readings.agreement([wrong])
    assert [line[2] for line in cells(counts)] == ["2 of 2", "2 of 3"]
    (line,) = cells(apart)
    assert line[:6] == ["darcy-8 (net)", "10", "derivatives", "4.00", "posterior draws", "0.400"]


def test_of_many_disagreements_the_largest_are_named(rows):
    apart = rows["law"].eq("net") & rows["estimator"].eq("tweedie")
    many = [rows.assign(prior=f"net{i}", law=rows["law"].replace("net", f"net{i}")) for i in range(3)]
    for i, wrong in enumerate(many):
        wrong.loc[apart, "gap"] *= 10 * (i + 1)
    lines = cells(readings.agreement(many)[-1])
    assert lines[0][:2] == ["darcy-8 (net2)", "10"]
    assert len(lines) == readings.NAMED
    sizes = [float(line[-1]) for line in lines]
    assert sizes == sorted(sizes, reverse=True)


def test_without_two_estimators_of_a_level_there_is_no_agreement():
    assert readings.agreement([frame([row("net", "analytic", sigma, 0.2) for sigma in SIGMAS])]) == []


def test_collapsed_points_are_said_not_given(rows):
    lines = [line for line in page.curve_table(rows).splitlines() if line.startswith("| 0.1 | 40")]
    (line,) = lines
    assert "unusable" in line
    assert "0.001" not in line


def test_an_affine_equation_and_a_missing_hessian_are_said():
    flat = frame([row("net", "analytic", sigma, 3e-14, network=math.nan) for sigma in SIGMAS])
    assert by_quantity(flat)["largest J, rounding of an affine residual"][0] == "3.00e-14"
    refused = row("net", "tweedie", 1.0, math.nan) | {"usable": False, "reason": "no constant Hessian"}
    without = frame(
        [row("empirical", "empirical", 1.0, 0.2, law_states=40), row("net", "monte_carlo", 1.0, 0.2), refused]
    )
    assert list(page.not_drawn(without)) == ["Not drawn: no constant Hessian."]


def test_a_posterior_that_has_collapsed_everywhere_is_said():
    bad = frame([row("empirical", "empirical", 1.0, 0.2, law_states=40, usable=False), row("net", "tweedie", 1.0, 0.2)])
    assert "collapsed at every level" in by_quantity(bad)["lowest usable level of the empirical posterior"][1]


def test_curves_are_drawn_with_their_numbers_beside(rows, tmp_path):
    style.apply()
    stem = figures.draw_curves(rows, tmp_path)
    assert stem.name == "gap_darcy-8_net"
    for end in ("pdf", "png"):
        assert stem.with_name(f"{stem.name}.{end}").stat().st_size
    assert len(pd.read_csv(f"{stem}.csv")) == len(rows)


def test_visits_are_held_to_the_curve_between_its_levels(rows):
    """The curve is 0.2 at 1 and 0.4 at 10, hence 0.3 in the logarithmic middle; 0.1 has collapsed."""
    found = trajectories.beside_curve(frame(VISITED, VISIT_COLUMNS), rows).set_index(["method", "sigma"])
    assert set(found.index.get_level_values("method")) == {"edm", "dps", "walker", "learner"}
    assert found.loc[("dps", 3.1622776601683795), "curve"] == pytest.approx(0.3)
    assert found.loc[("dps", 3.1622776601683795), "ratio"] == pytest.approx(2.0)
    assert found["below"].sum() == 1
    assert found["above"].sum() == 1
    assert found.loc[("dps", 10.0), "below"]


def test_the_summary_of_visits_has_the_ends_and_leaves_the_learner_out(rows):
    table = trajectories.summary(trajectories.beside_curve(frame(VISITED, VISIT_COLUMNS), rows))
    found = {line[0]: dict(zip(trajectories.SUMMARY_HEADING[1:], line[1:], strict=True)) for line in table}
    bound, free = found[trajectories.WITH_DATA], found[trajectories.WITHOUT_DATA]
    assert (bound["levels"], bound["methods"], bound["J visited / J of the curve"]) == ("2", "1", "0.50 to 2.00")
    assert (bound["interval below the curve's"], bound["above it"], bound["runs"]) == ("1", "1", "4")
    assert bound["least ratio"] == "0.50, dps/a (forward), σ = 10"
    assert bound["largest ratio"] == "2.00, dps/a (forward), σ = 3.16"
    assert bound["network error / that of the curve"] == "1.00 to 2.00"
    assert free["network error / that of the curve"] == "1.00 to 1.00"  # the learner's network is not the prior's


def test_methods_that_evaluate_a_residual_stand_with_their_levels(rows):
    (line,) = trajectories.evaluated(frame(VISITED, VISIT_COLUMNS), rows)
    assert line == ["guided/a", "0.05 to 1", "0.200"]
    low = visit("guided", 10.0, 0.4, residual_of="denoised", residual_low=0.002, residual_high=0.02)
    (line,) = trajectories.evaluated(frame([low], VISIT_COLUMNS), rows)
    assert line[1:] == ["0.002 to 0.02", "not known; nearest: 0.00100 [0.00090, 0.00110] at σ = 0.1"]


def test_notes_on_visits_name_noisy_states_own_denoisers_and_who_is_missing(rows):
    text = "\n".join(trajectories.section(frame(VISITED, VISIT_COLUMNS), rows))
    assert "R of the noisy state, not of D: walker/a." in text
    assert "Own denoiser, whose network error is shown: learner/a." in text
    assert "Left out: student/a (it learns)." in text
    assert "has collapsed at all their calls: guided/a." in text
    assert "Not drawn: 5 of 16 calls lie outside" in text


def test_visits_of_an_affine_equation_are_rounding_and_not_drawn(tmp_path):
    flat = frame([row("net", "analytic", sigma, 3e-14, network=math.nan) for sigma in SIGMAS])
    tiny = frame([visit("edm", 10.0, 4e-14)], VISIT_COLUMNS)
    (said,) = trajectories.section(tiny, flat)
    assert "4.00e-14 at most" in said
    assert figures.draw_visits(tiny, flat, tmp_path) is None


def test_extremes_of_likelihoods_leave_collapsed_levels_out():
    text = likelihood.section([frame(LIKELIHOODS, LIKELIHOOD_COLUMNS)])
    lines = [line for line in text.splitlines() if line.startswith("| darcy-8")]
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        "darcy-8", "net", "0.5", "8", "1.50 [1.40, 1.60]", "10", "0.00100 [-0.09900, 0.101]", "0.1",
        "3.00", "0.200", "broken, holds",
    ]  # fmt: skip
    assert "| darcy-8 | empirical | 0.5 | 8 | unusable at every level |" in lines[1]
    assert "7.77" not in text


def test_the_squared_loss_gap_stands_with_its_sign(rows):
    signed = rows.assign(loss_gap=-(rows["gap"] ** 2), loss_gap_error=0.01)
    value, sigma, _ = by_quantity(signed)["G₂, largest in size"]
    assert value.startswith("-0.160 [")
    assert sigma == "10"
    (line,) = [line for line in page.curve_table(signed).splitlines() if line.startswith("| 10 | 40")]
    assert "-0.160 [-0.184, -0.136]" in line


def test_a_foreign_table_is_refused(tmp_path):
    (tmp_path / "0.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="other columns"):
        page.read(tmp_path / "0.csv")
    (tmp_path / "1.csv").write_text(frame([]).to_csv(index=False))
    with pytest.raises(UserError, match=r"1\.visits\.csv is no table of the stage"):
        page.run(config=tmp_path, results=tmp_path, files=[tmp_path / "1.csv"], out=tmp_path)
    with pytest.raises(UserError, match="run the stage"):
        page.run(config=tmp_path, results=tmp_path, files=[], out=tmp_path)


@pytest.mark.slow
def test_the_whole_page_with_its_toy(rows, tmp_path):
    path = tmp_path / "0.csv"
    path.write_text(to_csv(rows))
    (tmp_path / "0.visits.csv").write_text(to_csv(frame(VISITED, VISIT_COLUMNS)))
    (tmp_path / "0.likelihood.csv").write_text(to_csv(frame(LIKELIHOODS, LIKELIHOOD_COLUMNS)))
    config, results = build(tmp_path / "results")
    page.run(config=config, results=results, files=[path], out=tmp_path)
    text = (tmp_path / "jensen.md").read_text()
    assert "](jensen/toy.png)" in text
    assert "](jensen/gap_darcy-8_net.png)" in text
    assert "| 0.05 | 2.96e87, broken | 0.338, holds |" in text
    assert "](jensen/visited_darcy-8_net.png)" in text
    assert text.index("### The likelihood's gap") < text.index("### Where methods are on the curve")
    behind = pd.read_csv(tmp_path / "jensen" / "toy.csv")
    exact = behind[(behind["pde"] == "mixture") & (behind["estimator"] == "analytic")]
    assert len(exact) == toy.SETTINGS.levels
    assert np.all(np.diff(exact["gap"]) > 0)
