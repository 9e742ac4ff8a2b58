"""Tuning: what is tried, what is stored, who wins, and what becomes of the winner."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jensenbench.cli import main
from jensenbench.core.settings import ranges, tunable
from jensenbench.core.tasks import find_task
from jensenbench.data.dataset import load_dataset
from jensenbench.errors import UserError
from jensenbench.evaluation.tuning import merged, parse_trial, proposals, trial_name, trial_table, tuned_ranges, winners
from jensenbench.experiment.config import parse_tier
from jensenbench.experiment.expand import expand
from jensenbench.experiment.runner import make_method, open_run, sample_task
from jensenbench.experiment.tuned import split_tasks
from jensenbench.io.files import read_yaml, write_record
from jensenbench.io.provenance import ROOT
from jensenbench.io.sources import public_modules
from jensenbench.io.tables import read_tables
from jensenbench.plugins.registry import load_method
from jensenbench.stages import tune
from jensenbench.stages import winners as winners_stage
from tests.support.stages import prepare

PDE, PRIOR = "poisson-8", "gaussian-p1"
DPS = load_method("dps")
TASKS = ["unconditional", "reconstruction_30"]


@pytest.fixture(scope="module")
def tier():
    raw = read_yaml(ROOT / "config" / "micro.yaml")
    methods = {"dps": {"corrected": {"config": {"steps": 4}}, "published": {"config": {"steps": 4}}}}
    return parse_tier({**raw, "tasks": TASKS, "methods": methods, "extra_methods": False})


@pytest.fixture(scope="module")
def files(tier, tmp_path_factory):
    return prepare(expand(tier), tmp_path_factory.mktemp("tune"))


def run_tune(tier, files, variant):
    out = files.tuning(PDE, PRIOR, "dps", variant, 0)
    job = expand(tier).tune[f"{PDE}/{PRIOR}/dps/{variant}/0"]
    tune.run(job=job, data=files.data(PDE), prior_file=files.prior(PDE, PRIOR, 0), out=out, command="by hand")
    return out


@pytest.fixture(scope="module")
def tuned(tier, files):
    return [run_tune(tier, files, variant) for variant in ("corrected", "published")]


@given(st.integers(1, 40))
def test_trials_are_the_preset_and_a_latin_hypercube_of_logarithms(count):
    found = proposals(DPS, "corrected", count)
    low, high = tuned_ranges(DPS, "corrected")["zeta"]
    assert found[0] == {}
    assert len(found) == count
    assert found == proposals(DPS, "corrected", count)
    shares = [np.log(trial["zeta"] / low) / np.log(high / low) for trial in found[1:]]
    assert all(0 <= share <= 1 for share in shares)
    strata = sorted(share * (count - 1) for share in shares)
    assert all(index - 0.05 <= value <= index + 1.05 for index, value in enumerate(strata))


@pytest.mark.parametrize("name", public_modules("methods"))
def test_published_variants_are_tried_as_they_are_and_ranges_hold_numbers(name):
    method = load_method(name)
    assert not any(variant.startswith(("published", "detached", "inversebench")) for variant in method.tunes)
    for variant, preset in method.variants.items():
        trials = proposals(method, variant, 5)
        assert len(trials) == (5 if variant in method.tunes else 1)
        for trial in trials:
            method(replace(preset, **trial))
        assert all(isinstance(getattr(preset, setting), int | float) for setting in tuned_ranges(method, variant))


def test_variants_that_tune_have_something_to_tune():
    for name in public_modules("methods"):
        method = load_method(name)
        assert all(ranges(method.variants[variant]) for variant in method.tunes), name


def test_names_of_trials_come_apart_again():
    assert parse_trial(trial_name(7, "a-b")) == (7, "a-b")
    assert trial_name(7, "corrected").startswith("tune-07")
    with pytest.raises(UserError, match="0 < low < high"):
        tunable(1.0, 2.0, 2.0)


def test_every_trial_is_a_run_on_validation_states(tier, files, tuned):
    tables = read_tables(tuned[0])
    runs = tables["runs"]
    assert set(runs["variant"]) == {trial_name(number, "corrected") for number in range(3)}
    assert set(runs["task"]) == set(TASKS)
    assert runs["run_id"].is_unique
    assert (runs["status"] == "ok").all()
    sizes = runs[runs["task"] == "reconstruction_30"].iloc[0]
    assert (sizes["n_instances"], sizes["n_draws"]) == (2, 2)
    weights = {json.loads(text)["method"]["zeta"] for text in runs["config_json"]}
    assert weights == {1.0, *(trial["zeta"] for trial in proposals(DPS, "corrected", 3)[1:])}
    dataset = load_dataset(files.data(PDE))
    job = expand(tier).tune[f"{PDE}/{PRIOR}/dps/corrected/0"]
    run = open_run(job.trials[0], files.data(PDE), files.prior(PDE, PRIOR, 0), None)
    seen = tune.observe(run, find_task("reconstruction_30"), job.data_seed)
    assert torch.equal(seen.truth, dataset.split("validation", 2))
    test = find_task("reconstruction_30").mask(dataset.pde, seed=tier.data.seed, index=0)
    assert not torch.equal(seen.observation.mask[0], test)


def test_a_published_variant_has_its_published_setting_only(tuned):
    runs = read_tables(tuned[1])["runs"]
    assert set(runs["variant"]) == {"tune-00-published"}


def test_winners_have_the_smallest_criterion_and_say_where_they_come_from(tier, files, tuned, tmp_path):
    out, methods = tmp_path / "tuning" / "trials.csv", tmp_path / "methods"
    winners_stage.run(job=expand(tier).winners, folders=tuned, out=out, methods=methods)
    table = pd.read_csv(out)
    assert len(table) == 3 * 2 + 2
    assert len(read_tables(out.parent)["runs"]) == len(table)
    content = read_yaml(methods / "dps.yaml")
    assert set(content["settings"]) == {"corrected"}
    shared, by_task = split_tasks(content["settings"]["corrected"]["poisson"])
    assert (shared, set(by_task)) == ({}, set(TASKS))
    for task, own in by_task.items():
        part = table[(table["variant"] == "corrected") & (table["task"] == task)]
        best = part.loc[part["value"].idxmin()]
        assert own == json.loads(best["settings"])
        assert content["provenance"]["corrected"]["poisson"]["won_by"][task] == best["trial"]
    origin = content["provenance"]["corrected"]["poisson"]
    assert (origin["split"], origin["tier"]) == ("validation", "micro")
    assert content["trials"]["corrected"]["poisson"] == 3
    assert origin["data"] == ["poisson"]


def fabricated(values):
    """A trial table of one method: ``values`` by (pde, trial), zeta = trial + 1."""
    rows = [
        {
            "pde": pde, "prior": PRIOR, "method": "dps", "variant": "corrected", "task": "forward", "trial": trial,
            "status": "ok", "criterion": "crps", "value": value, "n": 4,
            "settings": json.dumps({"zeta": trial + 1.0}), "run_id": f"{pde}{trial}",
        }
        for (pde, trial), value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_failed_trial_cannot_win_and_the_preset_wins_ties():
    names = {"p-8": "poisson", "p-16": "poisson", "d": "darcy"}
    tied = {("d", 0): 0.5, ("d", 1): 0.5}
    failed = {
        ("p-8", 0): 0.4,
        ("p-16", 0): 0.4,
        ("p-8", 1): 0.1,
        ("p-16", 1): np.nan,
        ("p-8", 2): 0.2,
        ("p-16", 2): 0.3,
    }
    found = {winner.pde: winner for winner in winners(fabricated(tied | failed), names)}
    assert found["darcy"].settings == {"zeta": 1.0}
    assert (found["poisson"].trial, found["poisson"].settings) == (2, {"zeta": 3.0})
    assert winners(fabricated({("d", 0): np.nan}), names) == []


def test_a_run_that_did_not_end_well_has_no_value():
    run = {
        "pde": PDE, "prior": PRIOR, "method": "dps", "variant": "tune-01-corrected", "task": "forward", "status": "ok",
        "run_id": "a", "config_json": json.dumps({"method": {"zeta": 2.0}}),
    }  # fmt: skip
    runs = pd.DataFrame([run, {**run, "run_id": "b", "status": "diverged", "variant": "tune-02-corrected"}])
    metrics = pd.DataFrame({"run_id": ["a", "a", "b"], "metric": "crps", "value": [0.1, 0.4, 0.1]})
    table = trial_table(runs, metrics).set_index("trial")
    assert table["value"][1] == pytest.approx(0.25), "the arithmetic mean, as tables rank"
    assert np.isnan(table["value"][2])


def test_what_a_file_held_before_stays(tmp_path):
    path = ROOT / "config" / "methods" / "diffusionpde.yaml"
    before = read_yaml(path)
    (winner,) = winners(fabricated({("d", 0): 0.5}).assign(method="diffusionpde"), {"d": "darcy"})
    after = merged(before, [winner], {"split": "validation"})
    assert after["settings"]["published"] == before["settings"]["published"]
    own, old = (dict(content["settings"]["corrected"]["darcy"]) for content in (after, before))
    assert own.pop("tasks") == {**old.pop("tasks"), "forward": {"zeta": 1.0}}
    assert own == old
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    winners_stage.write(copy, [winner], {"split": "validation"})
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert copy.read_text().splitlines()[: len(comments)] == comments
    assert read_yaml(copy)["settings"] == after["settings"]


def test_settings_of_a_task_reach_its_samples_and_no_other(tier, files, monkeypatch):
    written = {"settings": {"corrected": {"poisson": {"zeta": 0.5, "tasks": {"reconstruction_30": {"zeta": 0.0}}}}}}
    monkeypatch.setattr("jensenbench.experiment.tuned.tuned_settings", lambda name: written if name == "dps" else {})
    job = expand(tier).sample[f"{PDE}/{PRIOR}/dps/corrected/0"]
    assert make_method(job, "reconstruction_30").config.zeta == 0.0
    assert make_method(job, "unconditional").config.zeta == 0.5
    assert job.settings()["method_by_task"]["reconstruction_30"]["zeta"] == 0.0
    assert "method_by_task" not in replace(job, by_task={}).settings()
    run = open_run(job, files.data(PDE), files.prior(PDE, PRIOR, 0), None)
    task = find_task("reconstruction_30")
    data = tune.observe(run, task, 0).observation
    free = replace(run, job=replace(job, config={**job.config, "zeta": 0.0}, by_task={}))
    assert torch.equal(sample_task(run, task, data).fields, sample_task(free, task, data).fields)
    guided = replace(run, job=replace(job, by_task={}))
    assert not torch.equal(sample_task(run, task, data).fields, sample_task(guided, task, data).fields)


TRIED = {
    "settings": {"corrected": {"darcy": {"tasks": {"inverse": {"zeta": 3.0}, "forward": {"zeta": 1.0}}}}},
    "trials": {"corrected": {"darcy": 8}},
    "provenance": {"corrected": {"darcy": {"data": ["darcy-two_valued"], "won_by": {"inverse": 2, "forward": 0}}}},
}
NOISY = {"task": "inverse", "noise_std": 0.05}


@pytest.mark.parametrize(
    ("law", "given", "counts"),
    [
        ("two_valued", {}, {"inverse": 8, "forward": 8}),
        ("two_valued", {"steps": 9}, {"inverse": 8, "forward": 8}),
        ("two_valued", {"zeta": 2.0}, {}),
        ("lognormal", {}, {}),
    ],
)
def test_a_run_is_called_tuned_where_its_settings_come_from_trials_of_its_task_and_data(
    monkeypatch, law, given, counts
):
    """Not with noise, on a task without trials, on another distribution, or where the tier sets what was tuned."""
    monkeypatch.setattr("jensenbench.experiment.tuned.tuned_settings", lambda name: TRIED if name == "dps" else {})
    raw = read_yaml(ROOT / "config" / "micro.yaml") | {
        "pdes": [{"pde": "darcy", "settings": {"n": 12, "law": law}, "priors": ["network-p1"]}],
        "priors": {"network-p1": {"kind": "network", "power": 1, "steps": 10}},
        "tasks": ["unconditional", "forward", "inverse", NOISY, "reconstruction_3"],
        "methods": {"dps": {"corrected": {"config": given}}},
        "extra_methods": False,
    }
    (job,) = expand(parse_tier(raw)).sample.values()
    assert job.tuned_trials == counts


def test_every_file_of_tuned_settings_names_the_data_of_its_trials():
    for path in (ROOT / "config" / "methods").glob("*.yaml"):
        content = read_yaml(path)
        for variant, pdes in content["trials"].items():
            for pde in pdes:
                origin = content["provenance"][variant][pde]
                assert origin["data"], (path, variant, pde)
                assert set(origin["won_by"]) == set(content["settings"][variant][pde]["tasks"])


def test_more_validation_states_than_there_are_is_one_line():
    raw = read_yaml(ROOT / "config" / "micro.yaml")
    with pytest.raises(UserError, match="instances = 99 needs as many validation states"):
        parse_tier({**raw, "tuning": {"instances": 99}})
    with pytest.raises(UserError, match="trials = 0"):
        parse_tier({**raw, "tuning": {"trials": 0}})


def test_the_commands_do_the_same(tier, files, tmp_path):
    raw = {**read_yaml(ROOT / "config" / "micro.yaml"), "tasks": TASKS[1:], "extra_methods": False}
    jobs = expand(parse_tier({**raw, "methods": {"dps": {"corrected": {"config": {"steps": 3}}}}}))
    write_record(tmp_path / "tune.json", asdict(jobs.tune[f"{PDE}/{PRIOR}/dps/corrected/0"]))
    write_record(tmp_path / "winners.json", asdict(jobs.winners))
    done = main(
        [
            *("tune", "--job", str(tmp_path / "tune.json"), "--data", str(files.data(PDE))),
            *("--prior-file", str(files.prior(PDE, PRIOR, 0)), "--out", str(tmp_path / "trials")),
        ]
    )
    assert done == 0
    winners_job, out = tmp_path / "winners.json", tmp_path / "all" / "trials.csv"
    command = ["winners", "--job", str(winners_job), "--out", str(out), "--methods"]
    assert main([*command, str(tmp_path / "methods"), str(tmp_path / "trials")]) == 0
    assert (tmp_path / "methods" / "dps.yaml").exists()
