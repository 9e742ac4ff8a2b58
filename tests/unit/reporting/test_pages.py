"""Reports: what a table may say in bold, what it must not hide, and that equal inputs give equal bytes."""

import dataclasses
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jensenbench.errors import UserError
from jensenbench.evaluation.metrics import find_metric, ranking_metric
from jensenbench.evaluation.statistics import separate
from jensenbench.io.files import canonical_json
from jensenbench.io.provenance import ROOT, digest_text
from jensenbench.reporting import style
from jensenbench.reporting.figures import maps, pareto
from jensenbench.reporting.pages import cost, tables
from jensenbench.reporting.render import Block, Row, Table, frame, latex, markdown
from jensenbench.reporting.results import load_results
from jensenbench.reporting.summary import Group
from jensenbench.stages import report
from tests.support.synthetic_results import DRAWS, ENTRIES, INSTANCES, TASKS, Entry, build


def results_of(path: Path, **settings):
    return load_results(*build(path, **settings))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return results_of(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def made(results) -> dict[str, Table]:
    return {table.key: table for table in tables.all_tables(results)}


def rows_of(made: dict[str, Table], key: str, block: int = 0) -> dict[str, Row]:
    table = next(table for name, table in made.items() if name.startswith(key))
    return {f"{row.method}/{row.variant}": row for row in table.blocks[block].rows}


def bold(made: dict[str, Table], key: str, metric: str, block: int = 0) -> set[str]:
    return {name for name, row in rows_of(made, key, block).items() if metric in row.cells and row.cells[metric].bold}


FORWARD = "2_poisson-12_network-p1_forward"
RECONSTRUCTION = "2_poisson-12_network-p1_reconstruction_30"
GENERATION = "1_poisson-12_network-p1_unconditional"


def test_bold_is_the_tied_set_of_all_methods(results, made):
    group = Group(results, "poisson-12", "network-p1", "forward")
    ran = [c for c in group.candidates if not c.control and c.status == "ok"]
    expected = separate({c.name: group.values(c, "crps") for c in ran}).best
    assert bold(made, FORWARD, "crps") == expected == {"diffusionpde/corrected"}


def test_methods_that_differ_by_less_than_their_noise_are_bold_together(tmp_path):
    close = (Entry("dps", "corrected", 0.100), Entry("dps", "published", 0.1001), Entry("edm", "heun", 0.2))
    made = {table.key: table for table in tables.all_tables(results_of(tmp_path, entries=close))}
    assert bold(made, FORWARD, "crps") == {"dps/corrected", "dps/published"}
    assert "edm/heun" not in bold(made, GENERATION, "sliced_w2")


def test_a_collapsed_sample_does_not_lead_generation(results):
    """The debiased mean MSE may be negative, and less of it is no better; the rank follows the distance."""
    group = Group(results, "poisson-12", "network-p1", "unconditional")
    of = {run: c.name for c in group.candidates for run in c.run_ids}
    metrics = results.metrics.copy()
    worst = max((c for c in group.candidates if not c.control and c.status == "ok"), key=lambda c: c.name)
    metrics.loc[(metrics["metric"] == "mmse") & (metrics["run_id"].map(of) == worst.name), "value"] = -5.0
    metrics.loc[(metrics["metric"] == "sliced_w2") & (metrics["run_id"].map(of) == worst.name), "value"] = 9.0
    changed = Group(replace(results, metrics=metrics), "poisson-12", "network-p1", "unconditional")
    block = changed.block("", ["sliced_w2", "mmse"])
    methods = [row for row in block.rows if not row.control and row.status == "ok"]
    assert methods[-1].label == worst.name


def test_ties_share_a_range_of_ranks(tmp_path):
    close = (Entry("dps", "corrected", 0.100), Entry("dps", "published", 0.1001), Entry("edm", "heun", 0.2))
    made = {table.key: table for table in tables.all_tables(results_of(tmp_path, entries=close))}
    rows = rows_of(made, FORWARD)
    assert {name: row.rank.text() for name, row in rows.items() if not row.control} == {
        "dps/corrected": "1–2",
        "dps/published": "1–2",
        "edm/heun": "3",
    }
    assert "| 1–2 | `dps/corrected` |" in markdown(made[FORWARD])


def test_the_guide_names_the_metrics_that_rank():
    text = (ROOT / "docs" / "evaluation.md").read_text()
    words = r"Methods are ranked by `(\w+)` in the (\w+) task\s+and by the arithmetic mean of `(\w+)`"
    sentence = re.search(words, text)
    assert sentence is not None
    assert sentence[1] == ranking_metric(sentence[2])
    assert sentence[3] == ranking_metric("inverse")
    assert tables.GENERATION[0] == ranking_metric("unconditional")
    assert tables.OBSERVED[0] == tables.CONSTRAINED[0] == ranking_metric("forward")
    assert find_metric(sentence[3]).transform == "identity"


def test_controls_are_in_italics_and_never_bold_though_they_are_best(made):
    for table in made.values():
        for block in table.blocks:
            controls = [row for row in block.rows if row.control]
            assert controls
            assert all(row.rank is None and not any(cell.bold for cell in row.cells.values()) for row in controls)
    assert "| *posterior draw* | *0.00" in markdown(next(iter(made.values())))


def test_failures_have_the_worst_rank_and_say_why(made):
    rows = rows_of(made, RECONSTRUCTION)
    failed = rows["dps/published"]
    methods = [row for row in rows.values() if not row.control and row.status != "skipped"]
    assert (failed.rank.first, failed.rank.last) == (len(methods), len(methods))
    assert all(row.rank.last < len(methods) for row in methods if row is not failed)
    text = markdown(made[RECONSTRUCTION])
    assert "diverged: NaN at step 3 \\| sigma 0.2" in text
    assert "skipped: cannot use observations" in text
    assert not any(cell.bold for cell in failed.cells.values())


def test_one_failed_seed_of_three_costs_the_rank_but_keeps_the_numbers(tmp_path):
    found = results_of(tmp_path, seeds=(0, 1, 2))
    chosen = (
        (found.runs["variant"] == "corrected") & (found.runs["method"] == "diffusionpde") & (found.runs["seed"] == 1)
    )
    found.runs.loc[chosen, ["status", "reason"]] = ["over_budget", "more than 100 evaluations"]
    lost = set(found.runs.loc[chosen, "run_id"])
    left = dataclasses.replace(found, metrics=found.metrics[~found.metrics["run_id"].isin(lost)])
    made = {table.key: table for table in tables.all_tables(left)}
    row = rows_of(made, FORWARD)["diffusionpde/corrected"]
    assert row.rank.text() == "3"
    assert "1 of 3 seeds: more than 100 evaluations" in row.reason
    assert (row.cells["crps"].n_ok, row.cells["crps"].n) == (2 * INSTANCES, 3 * INSTANCES)
    assert not row.cells["crps"].bold


def test_single_draws_are_shown_but_never_bold(made):
    rows = rows_of(made, FORWARD)
    assert rows["diffusionpde/corrected"].cells["rel_l2/u"].n_ok == INSTANCES
    assert bold(made, FORWARD, "rel_l2/u") == set()
    assert bold(made, FORWARD, "rel_l2_mean/u")


def test_only_unknown_fields_have_columns(made):
    assert [name for name in made[FORWARD].columns if name.startswith("rel_l2_mean")] == ["rel_l2_mean/u"]
    assert [name for name in made[RECONSTRUCTION].columns if name.startswith("rel_l2_mean")] == [
        "rel_l2_mean/f",
        "rel_l2_mean/u",
    ]


def test_post_processing_has_a_block_of_its_own_ranking(made):
    solved = rows_of(made, FORWARD, block=1)
    assert made[FORWARD].blocks[1].title == "+ solve"
    assert solved["dps/corrected"].cells["crps"].value < rows_of(made, FORWARD)["dps/corrected"].cells["crps"].value
    assert bold(made, FORWARD, "crps", block=1) == {"diffusionpde/corrected"}


@pytest.mark.parametrize(("factor", "word"), [(0.1, " beats "), (0.5, " is tied with "), (2.0, " loses to ")])
def test_the_first_line_below_says_whether_solving_beats_residual_aware_methods(tmp_path, factor, word):
    entries = [Entry(e.method, e.variant, e.error, e.status, e.residual_calls, solved=factor) for e in ENTRIES]
    group = Group(results_of(tmp_path, entries=entries), "poisson-12", "network-p1", "forward")
    assert word in tables.verdict(group)


@pytest.mark.parametrize(("solved", "newton"), [(2.0, 0.1), (0.1, 0.2), (2.0, 3.0)])
def test_the_verdict_names_every_post_processing_and_those_that_win_first(tmp_path, solved, newton):
    entries = [
        Entry(e.method, e.variant, e.error, e.status, e.residual_calls, solved=solved, newton=newton) for e in ENTRIES
    ]
    text = tables.verdict(Group(results_of(tmp_path, entries=entries), "poisson-12", "network-p1", "forward"))
    parts = text.split("; ")
    assert sum(title in text for title in ("+ solve", "+ newton, 1 step")) == 2
    assert "+ newton, 3 steps" not in text
    assert [" beats " in part for part in parts[1:]] == sorted(
        (factor < 0.5 for factor in (solved, newton)), reverse=True
    )
    assert ("+ newton, 1 step" if newton < 0.5 < solved else "+ solve") in parts[1]


def test_linear_solves_that_stopped_are_told(made):
    assert any("stopped at its cap" in note and "`dps/corrected` 3" in note for note in made[FORWARD].notes)


def test_without_a_residual_aware_method_there_is_no_verdict(tmp_path):
    plain = results_of(tmp_path, entries=[e for e in ENTRIES if not e.residual_calls])
    assert "no comparison, no residual-aware method" in tables.verdict(
        Group(plain, "poisson-12", "network-p1", "forward")
    )


def test_residuals_at_the_floor_are_marked_and_count_as_equal(made):
    solved = rows_of(made, FORWARD, block=1)
    cells = [row.cells["residual_rel"] for row in solved.values() if "residual_rel" in row.cells]
    assert all(cell.mark.startswith("≤") for cell in cells)
    assert len(bold(made, FORWARD, "residual_rel", block=1)) == 3


def test_residuals_of_data_that_miss_their_equation_are_meaningless(tmp_path):
    made = {table.key: table for table in tables.all_tables(results_of(tmp_path, floor=0.3))}
    text = markdown(made[FORWARD])
    assert "residual (meaningless †)" in text
    assert "† Meaningless: the data themselves (generated) have a residual of 0.300" in text
    assert bold(made, FORWARD, "residual_rel") == set()
    assert bold(made, FORWARD, "crps") == {"diffusionpde/corrected"}


@pytest.mark.parametrize(
    ("kind", "seeds", "said"),
    [
        ("network", (0,), "*conditional on this trained prior*"),
        ("gaussian", (0,), "Exact prior"),
        ("network", (0, 1, 2), "3 seeds crossed"),
    ],
)
def test_the_header_says_what_the_intervals_are_over(tmp_path, kind, seeds, said):
    found = results_of(tmp_path, kind=kind, seeds=seeds)
    made = list(tables.all_tables(found))
    assert all(said in table.header for table in made)
    assert any(table.key.startswith("4_") for table in made) == (kind == "gaussian")


def test_csv_and_latex_hold_what_the_page_shows(made):
    table = made[RECONSTRUCTION]
    lines = frame(table)
    assert len(lines) == sum(len(block.rows) for block in table.blocks) * len(table.columns)
    assert {"value", "low", "high", "n_ok", "n", "bold", "mark", "rank", "status", "reason"} <= set(lines)
    text = latex(table)
    assert text.count("\\textbf") == sum(
        cell.bold for block in table.blocks for row in block.rows for cell in row.cells.values()
    )
    assert text.count("{") == text.count("}")


def test_the_page_holds_no_seconds_hosts_or_dates_and_depends_on_nothing_else(tmp_path):
    pages = []
    for folder, seconds in (("a", 1.0), ("b", 777.0)):
        found = results_of(tmp_path / folder, seconds=seconds)
        pages.append(tables.page(found, list(tables.all_tables(found)), {"dps": {"deviations": ["Norm a state."]}}))
    assert pages[0] == pages[1]
    assert not any(word in pages[0] for word in ("examplehost", "2031-02-03", "seconds per state"))
    assert "[^dps]: `dps`: Norm a state." in pages[0]
    assert "commit: abc123" in pages[0]


@pytest.mark.slow
def test_equal_results_give_equal_figures_each_with_its_csv(results, tmp_path):
    style.apply()
    for folder in ("a", "b"):
        maps.draw_samples(results, "poisson-12", "network-p1", "forward", tmp_path / folder)
        pareto.draw_pareto(results, "poisson-12", "network-p1", tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    expected = [
        f"{stem}.{end}" for stem in ("pareto_poisson-12", "samples_poisson-12_forward") for end in ("csv", "pdf", "png")
    ]
    assert names == expected
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    shown = pd.read_csv(tmp_path / "a" / "samples_poisson-12_forward.csv")
    assert {"truth u draw", "dps/corrected u std", "diffusionpde/corrected residual"} <= set(shown)


@pytest.mark.slow
def test_the_stage_writes_everything_and_clears_what_is_stale(tmp_path):
    config, root = build(tmp_path)
    out = tmp_path / "reports"
    (out / "tables").mkdir(parents=True)
    (out / "tables" / "table_9_gone.csv").touch()
    report.run(config=config, results=root, out=out)
    pages = {"tables.md", "questions.md", "priors.md", "cost.md", "times.md"}
    assert {path.name for path in out.iterdir()} == pages | {"tables", "figures"}
    assert not (out / "tables" / "table_9_gone.csv").exists()
    assert len(list((out / "figures").glob("*.csv"))) == 1 + len(TASKS)


def test_a_page_of_the_repository_that_cannot_be_written_costs_no_report(capsys):
    def refuse() -> None:
        raise UserError("a reference fits no row")

    report._update("reports/findings.md", refuse)
    assert "reports/findings.md is as it was: a reference fits no row" in capsys.readouterr().err


def test_the_ledger_holds_seconds_per_state_and_training(results):
    timing = results.layout.prior("poisson-12", "network-p1", 0).with_suffix(".timing.json")
    timing.parent.mkdir(parents=True, exist_ok=True)
    timing.write_text(
        json.dumps({"seconds": 61.5, "peak_mib": 100, "device": "cpu", "host": "other", "finished": "2031"})
    )
    config = results.layout.root.parent / "tier.json"
    text = cost.ledger(load_results(config, results.layout.root))
    assert "| train | poisson-12/network-p1/0 | 61.5 | 100 | cpu |" in text
    assert f"| {3.25 / (INSTANCES * DRAWS):.3g} | 60 |" in text
    assert "examplehost, other" in text


def test_preparation_charges_the_prior_to_the_methods_that_call_it():
    """Not to one without a prior, nor to one that trains a denoiser of its own; a student pays prior, pairs and fit."""
    labels = {"pde": "poisson-12", "prior": "network-p1"}
    fit = {"steps": 5, "pairs": {"count": 3}}
    names = {"fit": digest_text(canonical_json(fit)), "pairs": digest_text(canonical_json(fit["pairs"]))}
    plain = digest_text(canonical_json({"steps": 5}))
    timings = pd.DataFrame(
        [
            labels | {"stage": "train", "method": "", "variant": "", "seconds": 100.0},
            labels | {"stage": "pairs", "method": "", "variant": names["pairs"], "seconds": 10.0},
            labels | {"stage": "fit", "method": "piddm", "variant": names["fit"], "seconds": 1.0},
            labels | {"stage": "fit", "method": "pidm", "variant": plain, "seconds": 2.0},
        ]
    )

    def seconds(method: str, settings: dict) -> float:
        return cost.preparation_seconds(timings, labels | {"method": method, "config_json": json.dumps(settings)})

    assert seconds("dps", {"method": {}}) == 100
    assert seconds("direct", {"method": {}}) == 0
    assert seconds("pidm", {"method": {"fit": {"steps": 5}}}) == 2
    assert seconds("piddm", {"method": {"fit": fit}}) == 111


def test_post_processing_has_its_price_beside_what_it_buys(results):
    timed = results.timings[results.timings["stage"] == "sample"].assign(stage="solved")
    timed["seconds"] = 0.5
    dearer = replace(results, timings=pd.concat([results.timings, timed], ignore_index=True))
    text = cost.post_processing(dearer)
    assert f"| {0.5 / 32:.3g} |" in text, "the unconditional task has 32 states"
    assert "| solved |" in text
    assert cost.stages(dearer.timings) == cost.stages(results.timings), "it is part of the stage evaluate"
    assert cost.post_processing(results) == "No times of post-processing were recorded."


@given(st.floats(0, 1e3), st.floats(1e-3, 10), st.floats(1e-3, 10))
def test_from_the_break_even_count_on_sampling_is_cheaper(once, each, rival):
    count = cost.crossing(once, each, rival)
    if each >= rival:
        assert count == float("inf")
    else:
        assert once + each * count == pytest.approx(rival * count)


def test_the_readme_block_is_replaced_and_nothing_else(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{cost.BEGIN}\nold\n{cost.END}\nbelow\n")
    cost.insert_times(readme, "new\n")
    cost.insert_times(readme, "newer\n")
    assert readme.read_text() == f"above\n{cost.BEGIN}\nnewer\n{cost.END}\nbelow\n"
    readme.write_text("no markers")
    with pytest.raises(UserError, match="markers"):
        cost.insert_times(readme, "new")


@given(st.floats(1e-12, 1e9), st.floats(0.5, 1), st.floats(1, 2))
def test_numbers_keep_three_digits_and_their_interval_shares_the_precision(value, down, up):
    text = style.format_value(value, value * down, value * up)
    shown, low, high = (float(part) for part in text.replace("[", "").replace("]", "").replace(",", "").split())
    assert shown == pytest.approx(value, rel=6e-3)
    assert low <= shown <= high
    decimals = {len(part.split("e")[0].partition(".")[2].strip("],")) for part in text.replace("[", "").split()}
    assert len(decimals) == 1


def test_results_that_are_not_there_are_one_clear_error(tmp_path):
    (tmp_path / "tier.json").write_text('{"tier": "x"}')
    with pytest.raises(UserError, match=r"runs\.csv\.gz is missing"):
        load_results(tmp_path / "tier.json", tmp_path)


@given(st.floats(1e-12, 1e12))
def test_three_digits_of_any_size_with_a_mantissa_below_ten(value):
    text = style.format_value(value)
    assert float(text) == pytest.approx(float(f"{value:.3g}"), rel=5e-3)
    mantissa, _, exponent = text.partition("e")
    assert not exponent or 1 <= float(mantissa) < 10
    assert float(text) == float(f"{value:.2e}") or value >= 1000


REASON = "RuntimeError: out of memory\nset `X` | see 50 % of the log\n  at <b> x_t"


def test_a_reason_of_several_lines_with_marks_of_tables_is_one_row():
    row = Row("method", "plain", {}, status="failed", reason=REASON)
    table = Table("1_x", "x", {"crps": "CRPS"}, (Block("", (row,)),), notes=(f"failed: {REASON}",))
    rows = [line for line in markdown(table).splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert len({len(line.replace("\\|", "").split("|")) for line in rows}) == 1
    assert "<b>" not in markdown(table)
    lines = latex(table).splitlines()
    assert all(line.startswith(("%", "\\")) or line.endswith("\\\\") for line in lines)
