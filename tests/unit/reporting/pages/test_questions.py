"""The page about questions: contrasts of known size, who counts as residual-aware, the trade-off figure."""

import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from jensenbench.io.tables import write_csv
from jensenbench.plugins.registry import load_method
from jensenbench.reporting.comparison import contrast
from jensenbench.reporting.figures import tradeoff
from jensenbench.reporting.pages import questions
from jensenbench.reporting.results import Results, load_results
from jensenbench.reporting.summary import Group
from tests.support.synthetic_results import ENTRIES, Entry, build

NONE = {task: "skipped" for task in ("forward", "reconstruction_30")}


def student(variant: str, error: float, weight: float, *, steps: int = 0, balance: str = "fixed") -> Entry:
    pairs = {"schedule": "edm", "rule": "heun", "steps": 14}
    settings = {"steps": steps, "fit": {"residual_weight": weight, "balance": balance, "pairs": pairs}}
    return Entry("piddm", variant, error, NONE, nfe=1, residual_calls=float(steps > 0), settings=settings)


STUDENTS = (
    student("distilled", 0.33, 0.0),
    student("one_step", 0.1, 0.1),
    student("balanced", 0.2, 0.1, balance="gradients"),
    student("refined", 0.05, 0.1, steps=9),
)
EDM = asdict(load_method("edm").variants["teacher"])
TEACHERS = (
    Entry("edm", "teacher", 0.3, NONE, nfe=27, settings=EDM),
    Entry("edm", "near", 0.01, NONE, nfe=29, settings=EDM | {"steps": 15}),
)
DIRECT = Entry("direct", "lbfgs", 0.2, {"unconditional": "skipped"}, residual_calls=9, nfe=0)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return load_results(*build(tmp_path_factory.mktemp("questions"), (*ENTRIES, *STUDENTS, *TEACHERS, DIRECT)))


@pytest.fixture(scope="module")
def rows(results) -> list[list[str]]:
    lines = [line.split("|")[1:-1] for line in questions.page(results, []).splitlines() if line.startswith("| p")]
    return [[cell.strip() for cell in cells] for cells in lines]


@pytest.fixture
def group(results) -> Group:
    return Group(results, *results.pairs[0], "unconditional")


def candidate(group: Group, name: str):
    return next(c for c in group.candidates if c.name == name)


def test_a_contrast_is_the_ratio_of_what_was_put_in(group):
    pair = [(candidate(group, name), "residual_rel") for name in ("piddm/one_step", "edm/heun")]
    found = contrast(group, *pair)
    assert math.isclose(math.exp(found.estimate.mean), 0.1 / 0.3, rel_tol=0.03)
    assert found.reading == "lower"
    swapped = contrast(group, *pair[::-1])
    assert math.isclose(swapped.estimate.mean, -found.estimate.mean)
    assert swapped.reading == "higher"


def test_set_metrics_are_differences_over_shared_replicates(group):
    found = contrast(group, *((candidate(group, n), "sliced_w2") for n in ("piddm/one_step", "edm/heun")))
    assert not found.ratio
    assert math.isclose(found.estimate.mean, 0.1 - 0.3)
    assert math.isclose(found.estimate.error, 0.2 * 0.1 * np.random.default_rng(6).standard_normal(200).std(ddof=1))


def test_nothing_is_compared_where_values_are_missing(group):
    assert contrast(group, (candidate(group, "edm/heun"), "crps"), (candidate(group, "piddm/one_step"), "crps")) is None


def test_students_that_learnt_with_the_equation_are_residual_aware(group):
    aware = {c.name for c in group.candidates if c.status == "ok" and c.residual_aware}
    assert {"piddm/one_step", "piddm/balanced", "piddm/refined", "diffusionpde/corrected"} == aware


def test_the_page_reads_students_against_teacher_and_distillation(rows):
    told = {(row[2], row[3]): row[5] for row in rows}
    assert told["`piddm/one_step` (1 NFE) / `edm/teacher` (27 NFE)", "residual"] == "lower"
    assert told["`piddm/one_step` (1 NFE) / `piddm/distilled` (1 NFE)", "residual"] == "lower"
    assert told["`piddm/distilled` (1 NFE) / `edm/teacher` (27 NFE)", "residual"] == "higher"
    others = [pair for pair, _ in told if "piddm/distilled" in pair and "edm/" in pair and "edm/teacher" not in pair]
    assert not others, "only the sampler that made the pairs is the teacher"


def test_the_control_without_prior_meets_the_best_method(rows):
    (row,) = (row for row in rows if row[1] == "forward" and row[3] == "rel. L2 of the mean u" and "direct" in row[2])
    assert "`diffusionpde/corrected`" in row[2]
    assert row[5] == "higher"


def test_a_ratio_without_interval_is_not_read(rows):
    assert {row[5] for row in rows if row[3] == "std ratio u"} == {"no interval"}


@pytest.mark.parametrize(("power", "told"), [(1, "alike"), (-1, "reversed"), (0, "not separated")])
def test_another_stencil_orders_methods_alike_or_not(tmp_path, power, told):
    config, results = build(tmp_path, ENTRIES)
    metrics = pd.read_csv(results / "metrics.csv.gz")
    other = metrics[metrics["metric"] == "residual_rel"].assign(metric="residual_high_order")
    other["value"] **= power
    write_csv(results / "metrics.csv.gz", pd.concat([metrics, other]))
    asked = questions.stencils(load_results(config, results))
    counts = [f"{row[4]}, {row[5]}" for row in asked.rows]
    pairs = [int(row[2].split()[-1]) for row in asked.rows]
    assert {row[1] for row in asked.rows} == {"unconditional", "forward", "reconstruction_30"}
    assert all(f"{n} {told}" in text for n, text in zip(pairs, counts, strict=True)), counts


def test_questions_without_runs_are_named(tmp_path):
    page = questions.page(load_results(*build(tmp_path, ENTRIES[1:2])), [])
    assert "## Not answered by this tier\n\n- Does PIDDM lower the residual" in page


def test_the_figure_shows_each_weight_beside_the_teacher(results, tmp_path):
    (stem,) = tradeoff.write_figure(results, tmp_path)
    behind = pd.read_csv(stem.with_suffix(".csv"))
    shown = behind[behind["metric"] == "residual_rel"]
    assert shown["method"].tolist() == ["piddm/distilled", "piddm/one_step", "piddm/balanced", "edm/teacher"]
    assert stem.with_suffix(".png").exists()


def test_no_figure_without_students(tmp_path):
    assert tradeoff.write_figure(load_results(*build(tmp_path, ENTRIES)), tmp_path) == []
