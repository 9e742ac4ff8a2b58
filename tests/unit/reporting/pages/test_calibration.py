"""Calibration curves: exact draws lie on the diagonal, narrow ones are told to be over-confident, and why not."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from jensenbench.evaluation import accuracy as acc
from jensenbench.evaluation.metrics import tidy
from jensenbench.evaluation.posterior import against_draws
from jensenbench.reporting.figures import calibration as figures
from jensenbench.reporting.pages import calibration
from jensenbench.reporting.results import Results, load_results
from jensenbench.reporting.summary import Group
from tests.support.synthetic_results import build

TASK = "reconstruction_30"
PIXELS = 400


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(width: float, count: int, *, seed: int = 0, instances: int = 6) -> dict[str, torch.Tensor]:
    """Coverage of standard normal truths by draws of N(0, width²)."""
    truth, unknown = normal(instances, 1, PIXELS, seed=1000 + seed), torch.ones(instances, 1, PIXELS, dtype=torch.bool)
    return acc.calibration(width * normal(instances, count, 1, PIXELS, seed=seed), truth, unknown, acc.LEVELS)


@pytest.mark.parametrize("count", [4, 8, 16])
def test_exact_draws_lie_on_the_diagonal_within_chance(count):
    values = measured(1.0, count, instances=50)
    for level in acc.LEVELS:
        share = float(values[acc.coverage_name(level)].mean())
        assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / (50 * PIXELS))


@pytest.mark.parametrize("count", [4, 8, 16])
def test_wider_levels_hold_more_and_truths_outside_score_the_least(count):
    truth, unknown = torch.full((1, 1, PIXELS), 9.0).double(), torch.ones(1, 1, PIXELS, dtype=torch.bool)
    outside = acc.calibration(torch.zeros(1, count, 1, PIXELS).double(), truth, unknown, acc.LEVELS)
    narrow = measured(0.3, count)
    for level in acc.LEVELS:
        least = acc.least_coverage(count, level)
        assert float(outside[acc.coverage_name(level)]) == pytest.approx(least, abs=1e-12)
        assert bool((narrow[acc.coverage_name(level)] >= least - 1e-12).all())
    shares = [float(narrow[acc.coverage_name(level)].mean()) for level in acc.LEVELS]
    assert shares == sorted(shares)


def test_posterior_draws_in_the_place_of_the_truth_score_alike():
    """One posterior draw is a truth: both coverages are of one formula."""
    fields, truth = normal(3, 8, 2, 5, 5, seed=1), normal(3, 2, 5, 5, seed=2)
    unknown, std = torch.ones(3, 2, 25, dtype=torch.bool), torch.ones(2).double()
    alone = acc.calibration(fields.flatten(3), truth.flatten(2), unknown, acc.LEVELS)
    found = against_draws(fields, truth[:, None], unknown, std)
    for level in acc.LEVELS:
        name = acc.coverage_name(level)
        assert torch.allclose(found[f"posterior_{name}"], alone[name])


def with_coverage(results: Results, widths: dict[str, float], prefix: str = "") -> Results:
    """Synthetic results with the coverage of methods whose draws have these widths, in one task."""
    frames = [results.metrics]
    runs = results.runs[(results.runs["task"] == TASK) & (results.runs["status"] == "ok")]
    for row in runs.itertuples():
        name = f"{row.method}/{row.variant}"
        if name in widths:
            values = measured(widths[name], 8, seed=len(frames))
            frames.append(tidy({f"{prefix}{k}": v for k, v in values.items() if k != "spread_skill"}, row.run_id))
    runs = results.runs.assign(n_draws=results.runs["n_draws"].where(results.runs["task"] != TASK, 8))
    return dataclasses.replace(results, runs=runs, metrics=pd.concat(frames, ignore_index=True))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    plain = load_results(*build(tmp_path_factory.mktemp("calibration"), kind="gaussian"))
    plain = dataclasses.replace(plain, metrics=plain.metrics[~plain.metrics["metric"].str.contains("coverage")])
    widths = {"dps/corrected": 0.3, "diffusionpde/corrected": 2.0, "control/posterior_draw": 1.0}
    return with_coverage(plain, widths)


def group(results: Results) -> Group:
    return Group(results, *results.pairs[0], TASK)


def test_narrow_draws_are_told_to_be_over_confident_and_wide_ones_under(results):
    rows = figures.curves(results, group(results))
    at = rows[np.isclose(rows["level"], calibration.LEVEL)].set_index("method")
    readings = calibration.readings_of(at)
    assert readings["dps"] == calibration.NARROW
    assert readings["diffusionpde"] == calibration.WIDE
    assert readings["control"] == calibration.NEITHER
    (line,) = calibration.table(rows)
    found = dict(zip(calibration.heading(figures.TRUTH), line, strict=True))
    assert found["share if all truths lie outside all draws"] == "0.550"
    assert found["over-confident at 90 %"].startswith("`dps/corrected` 0.")
    assert found["under-confident at 90 %"].startswith("`diffusionpde/corrected` 0.")
    assert found["not separated from 90 %"] == "0 of 2"
    assert found["posterior itself"].startswith("0.")


def test_the_curve_is_what_the_tables_print(results):
    """The same metric, mean and interval as the cells of the tables."""
    here = group(results)
    rows = figures.curves(results, here).set_index(["method", "variant", "level"])
    for candidate in (c for c in here.candidates if (c.method, c.variant) in {key[:2] for key in rows.index}):
        for level in acc.TABLED:
            cell, row = (
                here.cell(candidate, acc.coverage_name(level)),
                rows.loc[(candidate.method, candidate.variant, level)],
            )
            assert (row["share"], row["low"], row["high"]) == (cell.value, cell.low, cell.high)


def test_figures_stand_beside_their_numbers_and_in_the_section(results, tmp_path):
    drawn = list(figures.write_figures(results, tmp_path))
    ((stem, rows),) = drawn
    assert stem.name == "calibration_poisson-12_gaussian-p1"
    assert all(stem.with_name(f"{stem.name}.{end}").stat().st_size for end in ("pdf", "png"))
    assert len(pd.read_csv(f"{stem}.csv")) == len(rows) == 3 * len(acc.LEVELS)
    assert f"](figures/{stem.name}.png)" in calibration.section(results, drawn)


def test_posteriors_have_a_figure_of_their_own(results, tmp_path):
    both = with_coverage(results, {"dps/corrected": 0.3}, "posterior_")
    stems = [stem.name for stem, _ in figures.write_figures(both, tmp_path)]
    assert stems == ["calibration_poisson-12_gaussian-p1", "calibration_posterior_poisson-12_gaussian-p1"]


def test_methods_of_one_draw_are_left_out_and_named(results, tmp_path):
    runs = results.runs.copy()
    runs.loc[(runs["method"] == "diffusionpde") & (runs["task"] == TASK), "n_draws"] = 1
    ids = set(runs.loc[(runs["method"] == "diffusionpde") & (runs["task"] == TASK), "run_id"])
    covered = results.metrics["metric"].str.startswith("coverage") & results.metrics["run_id"].isin(ids)
    one = dataclasses.replace(results, runs=runs, metrics=results.metrics[~covered])
    drawn = list(figures.write_figures(one, tmp_path))
    assert "diffusionpde" not in set(drawn[0][1]["method"])
    assert "fewer than 4 draws per instance: `diffusionpde/corrected`" in calibration.section(one, drawn)


def test_a_tier_without_draws_has_no_section(tmp_path):
    plain = load_results(*build(tmp_path))
    assert calibration.section(plain, list(figures.write_figures(plain, tmp_path / "figures"))) == ""


def test_rounding_says_nothing_about_an_entry_that_is_known():
    """Draws and truth that differ by rounding alone are exchangeable whatever the sign of their differences."""
    value, unknown = normal(3, 1, PIXELS, seed=1), torch.ones(3, 1, PIXELS, dtype=torch.bool)
    draws = value[:, None] * (1 + 1e-14 * normal(3, 8, 1, PIXELS, seed=2).abs())
    for level, share in acc.coverages(draws, value, unknown, acc.LEVELS).items():
        assert torch.allclose(share, torch.full((3,), level, dtype=torch.float64))


def test_coverage_ignores_the_units_of_the_fields():
    fields, exact, unknown = normal(2, 8, 2, 4, 4, seed=1), normal(2, 6, 2, 4, 4, seed=2), torch.ones(2, 2, 16).bool()
    units = torch.tensor([1e-9, 1e6], dtype=torch.float64)
    mine, theirs = (states * units[:, None, None] for states in (fields, exact))
    here, there = against_draws(fields, exact, unknown, torch.ones(2)), against_draws(mine, theirs, unknown, units)
    for level in acc.LEVELS:
        name = f"posterior_{acc.coverage_name(level)}"
        assert torch.allclose(here[name], there[name])


@pytest.mark.parametrize(
    ("low", "high", "reading"),
    [
        (0.7, 0.85, calibration.NARROW),
        (0.95, 0.99, calibration.WIDE),
        (0.8, 0.95, calibration.NEITHER),
        (0.9 - 1e-15, 0.9 - 1e-15, calibration.NEITHER),
        (np.nan, np.nan, calibration.NEITHER),
    ],
)
def test_a_reading_needs_the_whole_interval_on_one_side(low, high, reading):
    """Rounding, and one instance without an interval, separate nothing."""
    rows = pd.DataFrame({"level": [0.9], "low": [low], "high": [high]})
    assert calibration.readings_of(rows).tolist() == [reading]
