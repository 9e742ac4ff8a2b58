"""Trainings with and without a PDE term on the page: ratios and cosines that were put in come out."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from jensenbench.io.files import canonical_json, write_text
from jensenbench.io.layout import Layout
from jensenbench.io.provenance import digest_text
from jensenbench.reporting import pde_loss
from jensenbench.reporting.figures import evidence as evidence_figures
from jensenbench.reporting.pages import evidence, questions
from jensenbench.reporting.results import Results, load_results
from tests.support.synthetic_results import ENTRIES, Entry, build

SEEDS = (0, 1, 2)
LEVELS = (0.2, 3.0)
ARMS = {  # settings; factor of the losses; cosine at all levels, and at the highest
    "plain": ({"estimate": "mean", "c_residual": 0.0, "watch": 8}, 1.0, 0.3, 0.1),
    "corrected": ({"estimate": "mean", "c_residual": 1e-3, "watch": 8}, 2.0, 0.5, -0.4),
    "corrected_sample": ({"estimate": "sample", "c_residual": 1e-3, "watch": 8}, 0.5, 0.0, 0.2),
}
SKIPPED = {task: "skipped" for task in ("forward", "reconstruction_30")}


def log(factor: float, cosine: float, top: float, seed: int) -> pd.DataFrame:
    """Losses that fall to a level of their own by the end, which differs among the seeds as in all arms."""
    rows = []
    for step in range(10, 90, 10):
        size = (1 + seed) * (factor if step > 60 else 7.0)
        row = {"step": step, "watch_samples": size}
        for place, angle in (("", cosine), (f"_sigma_{LEVELS[0]}", cosine), (f"_sigma_{LEVELS[1]}", top)):
            losses = ("denoising", "mean", "sample", "residual_mean", "residual_sample")
            row |= {f"watch_{name}{place}": size for name in losses}
            row |= {f"watch_cosine_{kind}{place}": angle + 0.01 * (seed - 1) for kind in ("mean", "sample")}
        rows.append(row)
    return pd.DataFrame(rows)


def built(folder: Path, *, seeds: tuple[int, ...] = SEEDS, arms: tuple[str, ...] = tuple(ARMS)) -> Results:
    entries = [Entry("pidm", name, 0.2, SKIPPED, settings={"fit": ARMS[name][0]}) for name in arms]
    config, results = build(folder, (*ENTRIES[:1], *entries), seeds=seeds)
    for name in arms:
        settings, factor, cosine, top = ARMS[name]
        digest = digest_text(canonical_json(json.loads(json.dumps(settings))))
        for seed in seeds:
            path = Layout(results).fit("poisson-12", "network-p1", "pidm", digest, seed)
            write_text(path.with_name("log.csv"), log(factor, cosine, top, seed).to_csv(index=False))
    return load_results(config, results)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return built(tmp_path_factory.mktemp("evidence"))


def told(results: Results) -> dict[tuple[str, ...], tuple[str, ...]]:
    return {(row[2], row[3]): row[4:] for row in evidence.rows(results)}


def test_the_arm_without_residual_comes_first(results):
    (found,) = pde_loss.arms(results).values()
    assert [(arm.variant, arm.estimate) for arm in found] == [
        ("plain", None), ("corrected", "mean"), ("corrected_sample", "sample"),
    ]  # fmt: skip
    assert [sigma for _, sigma in found[0].bands] == list(LEVELS)


@pytest.mark.parametrize(("variant", "ratio"), [("corrected", 2.0), ("corrected_sample", 0.5)])
def test_losses_are_compared_at_their_end_and_paired_by_seed(results, variant, ratio):
    rows = {key: value for key, value in told(results).items() if key[0] == f"`pidm/{variant}` / `pidm/plain`"}
    assert len(rows) == 5
    for text, reading in rows.values():
        value, low, high = (float(part.strip("[],")) for part in text.removeprefix("× ").split())
        assert all(math.isclose(number, ratio, rel_tol=1e-2) for number in (value, low, high))
        assert reading == ("higher" if ratio > 1 else "lower")


def test_cosines_are_read_against_zero(results):
    rows = told(results)
    label = "cosine of the gradients, residual of {}"
    assert rows["`pidm/plain`", label.format("a sample")][1] == "above 0"
    assert rows["`pidm/corrected`", label.format("E[x₀ \\| xₜ]") + " at σ ≈ 3"][1] == "below 0"
    assert rows["`pidm/corrected_sample`", label.format("a sample")][1] == "not separated from 0"
    assert ("`pidm/corrected_sample`", label.format("E[x₀ \\| xₜ]")) not in rows


def test_every_row_of_the_page_has_six_cells(results):
    section = questions.page(results, []).split(f"## {questions.TRAINING}")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    assert len(lines) > 10
    assert {len(re.split(r"(?<!\\)\|", line)) - 2 for line in lines} == {6}


def test_two_seeds_give_values_without_readings(tmp_path):
    assert {reading for _, reading in told(built(tmp_path, seeds=(0, 1))).values()} == {"no interval"}


def test_without_the_control_nothing_is_said(tmp_path):
    lonely = built(tmp_path, arms=("corrected", "corrected_sample"))
    assert not pde_loss.arms(lonely)
    assert evidence_figures.write_figures(lonely, tmp_path) == []
    assert f"- {questions.TRAINING}" in questions.page(lonely, [])


def test_figures_show_all_arms_and_stand_below_their_question(results, tmp_path):
    stems = evidence_figures.write_figures(results, tmp_path)
    page = questions.page(results, stems)
    for stem, abscissae in zip(stems, (set(range(10, 90, 10)), set(LEVELS)), strict=True):
        behind = pd.read_csv(stem.with_suffix(".csv"))
        assert set(behind["variant"]) == set(ARMS)
        assert set(behind["x"]) == abscissae
        assert stem.with_suffix(".png").exists()
        section = page.split(f"## {questions.TRAINING}")[1].split("\n## ")[0]
        assert f"figures/{stem.name}.png" in section
    last = pd.read_csv(stems[0].with_suffix(".csv")).query("variant == 'corrected' and quantity == 'denoising'")
    assert last["mean"].tolist()[-1] == 4.0
    assert (last["min"].tolist()[-1], last["max"].tolist()[-1]) == (2.0, 6.0)
