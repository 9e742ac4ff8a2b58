"""The page of the gap: sentences carry the tables' numbers, unusable points are said and not drawn."""

import math

import numpy as np
import pandas as pd
import pytest
from synthetic_results import build

from jensenbench.errors import UserError
from jensenbench.jensen import toy
from jensenbench.jensen.found import SQUARES
from jensenbench.reporting import jensen, jensen_figures, jensen_findings, style
from jensenbench.stages.jensen import COLUMNS, to_csv

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


def frame(rows):
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


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
    assert "in 5 of 5 comparisons" in agreed
    wrong = rows.copy()
    wrong.loc[(wrong["law"] == "net") & (wrong["estimator"] == "tweedie") & (wrong["sigma"] == 10), "gap"] = 4.0
    text = " ".join(jensen_findings.findings([wrong]))
    assert "in 4 of 5 comparisons; not in darcy-8 (net), σ = 10: derivatives 4.00, posterior draws 0.400" in text


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


def test_a_foreign_table_is_refused(tmp_path):
    (tmp_path / "0.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="other columns"):
        jensen.read(tmp_path / "0.csv")
    with pytest.raises(UserError, match="run the stage"):
        jensen.run(config=tmp_path, results=tmp_path, files=[], out=tmp_path)


@pytest.mark.slow
def test_the_whole_page_with_its_toy(rows, tmp_path):
    path = tmp_path / "0.csv"
    path.write_text(to_csv(rows))
    config, results = build(tmp_path / "results")
    jensen.run(config=config, results=results, files=[path], out=tmp_path)
    text = (tmp_path / "jensen.md").read_text()
    assert "](jensen/toy.png)" in text
    assert "](jensen/gap_darcy-8_net.png)" in text
    assert "it is broken for noise 0.05" in text
    behind = pd.read_csv(tmp_path / "jensen" / "toy.csv")
    exact = behind[(behind["pde"] == "mixture") & (behind["estimator"] == "analytic")]
    assert len(exact) == toy.SETTINGS.levels
    assert np.all(np.diff(exact["gap"]) > 0)
