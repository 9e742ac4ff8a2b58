"""The page of the gap: sentences carry the tables' numbers, unusable points are said and not drawn."""

import math

import numpy as np
import pandas as pd
import pytest

from jensenbench.errors import UserError
from jensenbench.jensen import toy
from jensenbench.jensen.estimate import SQUARES
from jensenbench.jensen.table import COLUMNS, LIKELIHOOD_COLUMNS, VISIT_COLUMNS, to_csv
from jensenbench.reporting import style
from jensenbench.reporting.jensen import figures as jensen_figures
from jensenbench.reporting.jensen import findings as jensen_findings
from jensenbench.reporting.jensen import likelihood as jensen_likelihood
from jensenbench.reporting.jensen import page as jensen
from jensenbench.reporting.jensen import trajectories as jensen_visits
from tests.support.synthetic_results import build

SIGMAS = (0.1, 1.0, 10.0)
GAPS = dict(zip(SIGMAS, (0.001, 0.2, 0.4), strict=True))


def row(law, estimator, sigma, gap, **others):
    known = {"gap": gap, "denoised": gap, "posterior": 1e-12} | others
    squares = {name: known.pop(name, math.nan) for name in SQUARES}
    values = {}
    for name, value in squares.items():
        values |= {name: value, f"{name}_low": 0.9 * value, f"{name}_high": 1.1 * value, f"{name}_error": 0.01}
    labels = {"pde": "darcy-8", "prior": "net", "power": 1, "law": law, "estimator": estimator, "sigma": sigma}
    return labels | values | {"ess": 50.0, "usable": True, "floor": 1e-14, "states": 8} | known


def frame(rows, columns=COLUMNS):
    return pd.DataFrame(rows).reindex(columns=list(columns))


def visit(method, sigma, gap, **others):
    spread = {f"gap{end}": factor * gap for end, factor in (("", 1.0), ("_low", 0.9), ("_high", 1.1))}
    labels = {"pde": "darcy-8", "prior": "net", "power": 1, "method": method, "variant": "a", "task": "unconditional"}
    known = {
        "sigma": sigma,
        "sigma_mean": sigma,
        "calls": 8,
        "states": 4,
        "denoised": 0.5,
        "network": 0.3,
        "denoiser": "prior",
    }
    return labels | spread | known | {"usable": True} | others


VISITED = [
    visit("edm", 10.0, 0.42),
    visit("dps", 10.0, 0.2, task="forward"),
    visit("dps", 3.1622776601683795, 0.6, task="forward", network=0.6),
    visit("guided", 0.1, 0.2, usable=False, residual_of="denoised", residual_low=0.05, residual_high=1.0),
    visit("walker", 10.0, 0.4, residual_of="noisy", residual_low=0.1, residual_high=1.0),
    visit("learner", 10.0, 0.41, network=0.9, denoiser="own"),
    visit("edm", math.nan, math.nan, usable=False, reason="3 of 8 calls lie outside sigma = 0.1 to 10"),
    visit("dps", math.nan, math.nan, usable=False, reason="2 of 8 calls lie outside sigma = 0.1 to 10"),
    visit("student", math.nan, math.nan, usable=False, reason="it learns"),
]


def likelihood(law, sigma, difference, **others):
    ends = {"difference_low": difference - 0.1, "difference_high": difference + 0.1}
    labels = {"pde": "darcy-8", "prior": "net", "law": law, "noise": 0.5, "points": 8, "sigma": sigma}
    return (
        labels
        | {"difference": difference, "printed": 3.0, "lipschitz": 0.2, "ess": 9.0, "usable": True}
        | ends
        | others
    )


LIKELIHOODS = [
    likelihood("net", 0.1, 0.001, ess=math.inf),
    likelihood("net", 10.0, 1.5, ess=math.inf),
    likelihood("empirical", 0.1, 7.77, usable=False),
]


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


def test_sentences_carry_the_numbers(rows):
    text = " ".join(jensen_findings.sentences(rows))
    assert "largest at σ = 10: 0.400 [0.360, 0.440] of the largest term (empirical posterior)" in text
    assert "at σ = 0.1 it is 0.00100 [0.00090, 0.00110] (derivatives)" in text
    assert "not collapsed from σ = 1 on" in text
    assert "half of its 40 states it changes by 10.0 %" in text
    assert "0.004 times (σ = 0.1) to 1.3 times (σ = 10) the network's error" in text
    assert "residual of 0.123 to 0.123" in text


def test_the_verdict_counts_the_levels_at_which_the_gap_is_the_larger_part(rows):
    *_, verdict = jensen_findings.findings([rows])
    assert "met by darcy-8 (net)." in verdict
    assert "at 1 of 3 levels (σ = 10)" in verdict


def test_estimators_that_disagree_are_named(rows):
    agreed = " ".join(jensen_findings.findings([rows]))
    assert "Estimators of one law agree within what chance explains (95 %) in 2 of 2 comparisons" in agreed
    assert "it is a posterior mean, agree within what chance explains (95 %) in 3 of 3 comparisons" in agreed
    wrong = rows.copy()
    wrong.loc[(wrong["law"] == "net") & (wrong["estimator"] == "tweedie") & (wrong["sigma"] == 10), "gap"] = 4.0
    text = " ".join(jensen_findings.findings([wrong]))
    assert "in 2 of 3 comparisons; not in darcy-8 (net), σ = 10: derivatives 4.00, posterior draws 0.400" in text
    assert "in 2 of 2 comparisons" in text


def test_of_many_disagreements_the_largest_are_named(rows):
    apart = rows["law"].eq("net") & rows["estimator"].eq("tweedie")
    many = [rows.assign(prior=f"net{i}", law=rows["law"].replace("net", f"net{i}")) for i in range(3)]
    for i, wrong in enumerate(many):
        wrong.loc[apart, "gap"] *= 10 * (i + 1)
    (text,) = [said for said in jensen_findings.findings(many) if "; least in " in said]
    named = text.partition("; least in ")[2]
    assert named.startswith("darcy-8 (net2), σ = 10")
    assert named.count("standard errors") == jensen_findings.NAMED


def test_collapsed_points_are_said_not_given(rows):
    lines = [line for line in jensen.curve_table(rows).splitlines() if line.startswith("| 0.1 | 40")]
    (line,) = lines
    assert "unusable" in line
    assert "0.001" not in line


def test_an_affine_equation_and_a_missing_hessian_are_said():
    flat = frame([row("net", "analytic", sigma, 3e-14, network=math.nan) for sigma in SIGMAS])
    (said,) = jensen_findings.sentences(flat)
    assert "affine" in said
    assert "3.00e-14" in said
    assert "met by no equation" in list(jensen_findings.findings([flat]))[-1]
    refused = row("net", "tweedie", 1.0, math.nan) | {"usable": False, "reason": "no constant Hessian"}
    without = frame(
        [row("empirical", "empirical", 1.0, 0.2, law_states=40), row("net", "monte_carlo", 1.0, 0.2), refused]
    )
    assert list(jensen.not_drawn(without)) == ["Not drawn: no constant Hessian."]


def test_an_unusable_law_leaves_a_sentence():
    bad = frame([row("empirical", "empirical", 1.0, 0.2, law_states=40, usable=False), row("net", "tweedie", 1.0, 0.2)])
    assert "it says nothing here" in " ".join(jensen_findings.sentences(bad))


def test_curves_are_drawn_with_their_numbers_beside(rows, tmp_path):
    style.apply()
    stem = jensen_figures.draw_curves(rows, tmp_path)
    assert stem.name == "gap_darcy-8_net"
    for end in ("pdf", "png"):
        assert stem.with_name(f"{stem.name}.{end}").stat().st_size
    assert len(pd.read_csv(f"{stem}.csv")) == len(rows)


def test_visits_are_held_to_the_curve_between_its_levels(rows):
    """The curve is 0.2 at 1 and 0.4 at 10, hence 0.3 in the logarithmic middle; 0.1 has collapsed."""
    found = jensen_visits.beside_curve(frame(VISITED, VISIT_COLUMNS), rows).set_index(["method", "sigma"])
    assert set(found.index.get_level_values("method")) == {"edm", "dps", "walker", "learner"}
    assert found.loc[("dps", 3.1622776601683795), "curve"] == pytest.approx(0.3)
    assert found.loc[("dps", 3.1622776601683795), "ratio"] == pytest.approx(2.0)
    assert found["below"].sum() == 1
    assert found["above"].sum() == 1
    assert found.loc[("dps", 10.0), "below"]


def test_sentences_of_visits_name_ends_noisy_states_and_who_is_missing(rows):
    text = " ".join(jensen_visits.sentences(frame(VISITED, VISIT_COLUMNS), rows))
    assert "With data, the gap at 2 visited levels of 1 methods is 0.50 to 2.00 times" in text
    assert "below the curve's at 1 of them, wholly above it at 1 (intervals over 4 runs)" in text
    assert "The network's error is 1.00 to 2.00 times (dps/a (forward))" in text
    assert "3.00 times" not in text  # the learner's network is not the prior's
    assert "dps/a (forward), σ = 10: 0.50; dps/a (forward), σ = 3.16: 2.00" in text
    assert "Residual of a noisy state: walker/a evaluates" in text
    assert "guided/a evaluates R(D) at σ = 0.05 to 1 alone, where the curve's gap is 0.200 at most" in text
    assert "With a denoiser of its own, whose network error is meant: learner/a." in text
    assert "Left out: student/a (it learns)" in text
    assert "Not compared: guided/a;" in text
    assert "Not drawn: 5 of 16 calls lie outside" in text


def test_a_residual_below_all_known_levels_is_said_with_the_nearest_gap(rows):
    low = visit("guided", 10.0, 0.4, residual_of="denoised", residual_low=0.002, residual_high=0.02)
    text = " ".join(jensen_visits.sentences(frame([low], VISIT_COLUMNS), rows))
    assert "at σ = 0.002 to 0.02 alone, where no gap is known; the nearest is 0.00100 [0.00090, 0.00110] at" in text


def test_visits_of_an_affine_equation_are_rounding_and_not_drawn(tmp_path):
    flat = frame([row("net", "analytic", sigma, 3e-14, network=math.nan) for sigma in SIGMAS])
    tiny = frame([visit("edm", 10.0, 4e-14)], VISIT_COLUMNS)
    said = next(jensen_visits.sentences(tiny, flat))
    assert "4.00e-14 at most" in said
    assert jensen_visits.draw(tiny, flat, tmp_path) is None


def test_likelihood_sentences_leave_collapsed_levels_out():
    text = jensen_likelihood.section([frame(LIKELIHOODS, LIKELIHOOD_COLUMNS)])
    assert "darcy-8, net (8 points, noise std 0.5)" in text
    assert "is 1.50 [1.40, 1.60] a datum at σ = 10, where it is largest" in text
    assert "as printed is broken (largest ratio 3.00), with a Lipschitz constant it holds (0.200)" in text
    assert "darcy-8, empirical (8 points, noise std 0.5): unusable at every level" in text
    assert "7.77" not in text


def test_the_squared_loss_gap_stands_with_its_sign(rows):
    signed = rows.assign(loss_gap=-(rows["gap"] ** 2), loss_gap_error=0.01)
    text = " ".join(jensen_findings.sentences(signed))
    assert "largest in size at σ = 10: -0.160 [" in text
    assert "negative: the loss of the mean exceeds the mean loss" in text
    (line,) = [line for line in jensen.curve_table(signed).splitlines() if line.startswith("| 10 | 40")]
    assert "-0.160 [-0.184, -0.136]" in line


def test_a_foreign_table_is_refused(tmp_path):
    (tmp_path / "0.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="other columns"):
        jensen.read(tmp_path / "0.csv")
    (tmp_path / "1.csv").write_text(frame([]).to_csv(index=False))
    with pytest.raises(UserError, match=r"1\.visits\.csv is no table of the stage"):
        jensen.run(config=tmp_path, results=tmp_path, files=[tmp_path / "1.csv"], out=tmp_path)
    with pytest.raises(UserError, match="run the stage"):
        jensen.run(config=tmp_path, results=tmp_path, files=[], out=tmp_path)


@pytest.mark.slow
def test_the_whole_page_with_its_toy(rows, tmp_path):
    path = tmp_path / "0.csv"
    path.write_text(to_csv(rows))
    (tmp_path / "0.visits.csv").write_text(to_csv(frame(VISITED, VISIT_COLUMNS)))
    (tmp_path / "0.likelihood.csv").write_text(to_csv(frame(LIKELIHOODS, LIKELIHOOD_COLUMNS)))
    config, results = build(tmp_path / "results")
    jensen.run(config=config, results=results, files=[path], out=tmp_path)
    text = (tmp_path / "jensen.md").read_text()
    assert "](jensen/toy.png)" in text
    assert "](jensen/gap_darcy-8_net.png)" in text
    assert "it is broken for noise 0.05" in text
    assert "](jensen/visited_darcy-8_net.png)" in text
    assert text.index("### The likelihood's gap") < text.index("### Where methods sit on the curve")
    behind = pd.read_csv(tmp_path / "jensen" / "toy.csv")
    exact = behind[(behind["pde"] == "mixture") & (behind["estimator"] == "analytic")]
    assert len(exact) == toy.SETTINGS.levels
    assert np.all(np.diff(exact["gap"]) > 0)
