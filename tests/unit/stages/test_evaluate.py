"""Stages ``evaluate`` and ``collect`` from files to tables, with exact draws as the method."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from jensenbench.core.noise import KeyedNoise
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import find_task
from jensenbench.data.dataset import Dataset, load_dataset, write_dataset
from jensenbench.errors import UserError
from jensenbench.evaluation.accuracy import LEVELS, TABLED, coverage_name
from jensenbench.evaluation.controls import ControlSetting, data_controls
from jensenbench.evaluation.statistics import from_replicates, separate
from jensenbench.io.files import write_hdf5
from jensenbench.io.tables import Tables, read_csv, read_tables, write_csv
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.build import build_prior
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.io import load_prior, save_prior
from jensenbench.stages import collect, evaluate

TASKS = (find_task("forward"), find_task("reconstruction_30"), find_task("reconstruction_30", noise_std=0.05))
SPARSE = "reconstruction_30"
INSTANCES, DRAWS, STATES = 6, 8, 200
ATTRIBUTES: dict[str, Any] = {
    "status": "ok", "reason": "", "nfe": 30.0, "vjp": 0.0, "jvp": 0.0, "residual_calls": 0.0, "tuned_trials": 0,
    "config_json": "{}", "config_digest": "c", "prior_digest": "p", "code_digest": "k", "environment_digest": "e",
    "versions": "v", "git_commit": "g", "command": "run", "seconds": 1.5, "peak_mib": 10.0, "device": "cpu",
    "host": "h", "finished": "now",
}  # fmt: skip


class Bench:
    """Files of a small exact problem below ``root``, and samples files made on demand."""

    def __init__(self, root: Path):
        self.root = root
        pde = make_pde("poisson", {"n": 8})
        starts = {
            "train": (0, 400),
            "validation": (10**7, 250),
            "test": (2 * 10**7, INSTANCES),
            "reference": (3 * 10**7, 800),
        }
        splits = {name: pde.generate(range(at, at + count), seed=0) for name, (at, count) in starts.items()}
        write_dataset(root / "data.h5", pde, splits, seed=0)
        self.dataset: Dataset = load_dataset(root / "data.h5")
        built, _ = build_prior("gaussian", {"kind": "gaussian"}, self.dataset, seed=0, state_dir=root)
        save_prior(root / "prior.safetensors", built, pde=pde, label="exact", seed=0, data_digest=self.dataset.digest)
        self.prior = load_prior(root / "prior.safetensors", pde)
        self.data = {
            t.label: [t.observe(s, pde, self.dataset.field_std, seed=0, index=i) for i, s in enumerate(splits["test"])]
            for t in TASKS
        }
        write_hdf5(root / "observations.h5", lambda file: self.fill_observations(file, splits["test"]))

    def fill_observations(self, file: h5py.File, truth: Tensor) -> None:
        for label, parts in self.data.items():
            group = file.create_group(label)
            group.attrs["noise_std"] = parts[0].noise_std
            group["mask"] = torch.cat([part.mask for part in parts]).numpy().astype(np.uint8)
            group["values"] = torch.cat([part.values for part in parts]).numpy()
            group["truth"] = truth.numpy()

    def exact_draws(self, task: str) -> Tensor:
        """Independent exact posterior draws (I, K, C, *grid)."""
        prior = self.prior.denoiser
        assert isinstance(prior, GaussianPrior)
        data = evaluate.read_observed(self.root / "observations.h5")[task].observation
        posterior = prior.posterior(
            Problem(self.dataset.pde, task, self.prior.codec, observation=data, scale=self.dataset.field_std)
        )
        keys = [[("test", task, i, k) for i in range(INSTANCES)] for k in range(DRAWS)]
        return torch.stack([posterior.sample(KeyedNoise(key)) for key in keys], 1)

    def states(self, first: int = 10**6, count: int = STATES) -> Tensor:
        return self.dataset.pde.generate(range(first, first + count), seed=0)[:, None]

    def samples(self, method: str, tasks: Mapping[str, Tensor | None], **changes: Any) -> Path:
        """Write a samples file; a task without fields failed."""
        path = self.root / f"{method}.h5"

        def fill(file: h5py.File) -> None:
            file.attrs.update(pde="poisson-8", prior="exact", prior_kind="gaussian", method=method, variant="v", seed=0)
            for label, fields in tasks.items():
                group = file.create_group(label)
                group.attrs.update(ATTRIBUTES | {"data_digest": self.dataset.digest} | changes)
                if fields is None:
                    group.attrs.update(status="diverged", reason="NaN at call 3", n_instances=INSTANCES, n_draws=DRAWS)
                else:
                    group.attrs.update(n_instances=fields.shape[0], n_draws=fields.shape[1])
                    group["fields"] = fields.numpy()

        write_hdf5(path, fill)
        return path

    def evaluate(self, samples: list[Path], out: str = "out", seed: int = 0) -> Path:
        evaluate.run(
            data=self.root / "data.h5", observations=self.root / "observations.h5",
            prior_file=self.root / "prior.safetensors", samples=samples, out=self.root / out, seed=seed,
        )  # fmt: skip
        return self.root / out


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    return Bench(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="module")
def evaluated(bench: Bench) -> Tables:
    exact = {label: bench.exact_draws(label) for label in bench.data}
    edm = bench.samples("edm", {"unconditional": bench.states(), **exact})
    wrong = {label: 0.5 * fields for label, fields in exact.items()}
    dps = bench.samples("dps", {"unconditional": None, **wrong})
    return read_tables(bench.evaluate([edm, dps]))


def numbers(tables: Tables, task: str, metric: str, method: str, variant: str = "v") -> np.ndarray:
    """All values of a metric of one run."""
    runs, metrics = tables["runs"], tables["metrics"]
    chosen = runs[(runs["task"] == task) & (runs["method"] == method) & (runs["variant"] == variant)]
    found = metrics[metrics["run_id"].isin(chosen["run_id"]) & (metrics["metric"] == metric)]
    return found["value"].to_numpy()


def mean(*key: Any) -> float:
    return float(numbers(*key).mean())


def test_every_task_of_every_file_and_every_control_has_a_row(evaluated):
    runs, metrics, timings = evaluated["runs"], evaluated["metrics"], evaluated["timings"]
    assert runs["run_id"].is_unique
    assert set(metrics["run_id"]) <= set(runs["run_id"])
    assert (timings["stage"] == "sample").sum() == 2 * (1 + len(TASKS))
    processed = timings[timings["stage"] != "sample"]
    assert set(processed["stage"]) == {"solved", "newton1", "newton3"}
    assert (processed["seconds"] > 0).all()
    found = set(zip(runs["variant"], runs["task"], strict=True))
    for task in TASKS:
        for control in ("truth", "training_mean", "unconditional_prior", "posterior_mean", "posterior_draw"):
            assert (control, task.label) in found
    assert {("data_floor", "unconditional"), ("float32_floor", "unconditional")} <= found


def test_a_failed_task_keeps_its_row_and_has_no_metrics(evaluated):
    runs, metrics = evaluated["runs"], evaluated["metrics"]
    row = runs[(runs["method"] == "dps") & (runs["task"] == "unconditional")].iloc[0]
    assert (row["status"], row["reason"]) == ("diverged", "NaN at call 3")
    assert row["run_id"] not in set(metrics["run_id"])


def test_exact_draws_score_like_the_exact_posterior(evaluated):
    for task in (SPARSE, "reconstruction_30_noise0.05"):
        for metric in ("crps", "rel_l2/u", "posterior_mean_error/f", "coverage_50"):
            runs = (("edm",), ("control", "posterior_draw"))
            ours, control = (numbers(evaluated, task, metric, *run).reshape(INSTANCES, -1).mean(1) for run in runs)
            assert abs(np.log(ours / control).mean()) < 0.5, (task, metric)
        for field in "fu":
            assert mean(evaluated, task, f"posterior_std_ratio/{field}", "edm") == pytest.approx(1, abs=0.1)
        assert mean(evaluated, task, "coverage_90", "edm") == pytest.approx(0.9, abs=0.05)
        assert mean(evaluated, task, "spread_skill", "edm") == pytest.approx(1, abs=0.3)


def test_exact_draws_are_calibrated_at_every_level(evaluated):
    """Within three standard errors of eight independent entries an instance, the fields being smooth."""
    for task in (SPARSE, "reconstruction_30_noise0.05"):
        for level in LEVELS:
            error = np.sqrt(level * (1 - level) / (8 * INSTANCES))
            assert abs(mean(evaluated, task, coverage_name(level), "control", "posterior_draw") - level) < 3 * error


def test_rounding_decides_nothing_where_the_data_determine_the_rest(evaluated):
    for level in LEVELS:
        share = numbers(evaluated, "forward", coverage_name(level), "control", "posterior_draw")
        assert share == pytest.approx(np.full(INSTANCES, level))


def test_levels_of_curves_are_measured_once_a_run(evaluated):
    """Tables show two levels after post-processing too; the others cost rows and stand in no table."""
    served = {name for name in evaluated["metrics"]["metric"] if "coverage" in name and "@" in name}
    assert {name.split("@")[0] for name in served} == {coverage_name(level) for level in TABLED}


def test_the_exact_posterior_mean_is_the_best_point_estimate(evaluated):
    best = mean(evaluated, SPARSE, "rel_l2_mean/f", "control", "posterior_mean")
    assert mean(evaluated, SPARSE, "rel_l2/f", "control", "posterior_draw") > 1.2 * best  # √2 where far from 0
    for variant in ("training_mean", "unconditional_prior"):
        assert mean(evaluated, SPARSE, "rel_l2_mean/f", "control", variant) > best
    assert mean(evaluated, SPARSE, "error_over_optimum/f", "control", "posterior_mean") == pytest.approx(1)
    assert mean(evaluated, SPARSE, "rel_l2_mean/f", "control", "truth") == 0


def test_a_biased_method_loses(evaluated):
    values = {method: np.log(numbers(evaluated, SPARSE, "crps", method)) for method in ("edm", "dps")}
    assert values["edm"].shape == (INSTANCES,)
    assert separate(values).best == {"edm"}


def test_the_solver_restores_the_equation_and_forward_tasks(evaluated):
    assert mean(evaluated, "forward", "rel_l2_mean/u@solved", "edm") < 1e-12
    assert mean(evaluated, SPARSE, "residual_rel@solved", "dps") < 1e-12
    assert mean(evaluated, SPARSE, "refused@solved", "dps") == 0


def test_newton_steps_restore_the_equation_and_the_data(evaluated):
    for steps, size in (("1", 0.02), ("3", 1e-3)):
        assert mean(evaluated, SPARSE, f"data_misfit@newton{steps}", "dps") < size * mean(
            evaluated, SPARSE, "data_misfit", "dps"
        )
    assert mean(evaluated, "forward", "rel_l2_mean/u@newton3", "dps") < 1e-3
    assert mean(evaluated, "unconditional", "moved/u@newton3", "edm") < 1e-6
    assert mean(evaluated, SPARSE, "unconverged@newton1", "edm") == 0


def test_amplitude_and_law_of_the_free_data_stand_beside_every_residual(evaluated):
    for task in ("unconditional", SPARSE):
        for metric in ("std_ratio/f", "free_law/gradient_energy/f", "residual_own", "moved/f@solved"):
            assert len(numbers(evaluated, task, metric, "edm")), (task, metric)
        assert mean(evaluated, task, "std_ratio/f", "edm") == pytest.approx(1, abs=0.15)
    assert mean(evaluated, SPARSE, "std_ratio/f", "dps") == pytest.approx(0.5, abs=0.1)
    assert mean(evaluated, SPARSE, "free_law/gradient_energy/f", "dps") == pytest.approx(0.25, abs=0.1)
    replicates = numbers(evaluated, SPARSE, "std_ratio/f@bootstrap", "dps")
    low, high = from_replicates(np.array([0.5]), replicates[None]).interval()
    assert 0.3 < low < mean(evaluated, SPARSE, "std_ratio/f", "dps") < high < 0.7


def test_only_exact_data_are_pasted(evaluated):
    metrics = evaluated["metrics"].merge(evaluated["runs"][["run_id", "task"]], on="run_id")
    pasted = metrics[metrics["metric"].str.endswith("@pasted")]
    assert set(pasted["task"]) == {"forward", SPARSE}
    assert mean(evaluated, SPARSE, "data_misfit@pasted", "dps") == 0
    assert mean(evaluated, SPARSE, "data_misfit", "dps") > 0.1


def test_fresh_data_score_like_the_floor(evaluated):
    floor = mean(evaluated, "unconditional", "sliced_w2", "control", "data_floor")
    ours = mean(evaluated, "unconditional", "sliced_w2", "edm")
    assert ours == pytest.approx(floor, rel=0.3)
    replicates = numbers(evaluated, "unconditional", "sliced_w2@bootstrap", "edm")
    low, high = from_replicates(np.array([ours]), replicates[None]).interval()
    assert 0 < low < ours < high
    assert mean(evaluated, "unconditional", "mmse", "edm") < 0.02


def test_floors_are_there_for_the_reports(bench, evaluated):
    variants = {"data_floor": bench.dataset.floor, "float32_floor": bench.dataset.floor_float32}
    for variant, floor in variants.items():
        found = mean(evaluated, "unconditional", "residual_floor", "control", variant)
        assert found == pytest.approx(floor, rel=1e-6)
    rounded = mean(evaluated, "unconditional", "residual_rel", "control", "float32_floor")
    assert rounded == pytest.approx(bench.dataset.floor_float32, rel=0.5)


def test_equal_inputs_give_equal_bytes_in_any_order(bench):
    one = bench.samples("edm", {"unconditional": bench.states(), SPARSE: bench.exact_draws(SPARSE)})
    two = bench.samples("dps", {SPARSE: None})
    first, second = bench.evaluate([one, two], "first"), bench.evaluate([two, one], "second")
    for name in ("runs", "metrics"):
        assert (first / f"{name}.csv.gz").read_bytes() == (second / f"{name}.csv.gz").read_bytes()


def test_without_unconditional_samples_their_control_is_skipped(bench):
    runs = read_tables(bench.evaluate([bench.samples("dps", {SPARSE: None})], "few"))["runs"]
    row = runs[(runs["variant"] == "unconditional_prior") & (runs["task"] == SPARSE)].iloc[0]
    assert row["status"] == "skipped"
    assert "edm" in row["reason"]


@pytest.mark.parametrize(
    ("changes", "seed", "message"),
    [({"data_digest": "other"}, 0, "other data"), ({"status": "fine"}, 0, "fine"), ({}, 3, "seed 0, asked for 3")],
)
def test_samples_that_do_not_belong_are_refused(bench, changes, seed, message):
    path = bench.samples("odd", {SPARSE: bench.exact_draws(SPARSE)}, **changes)
    with pytest.raises(UserError, match=message):
        bench.evaluate([path], "odd", seed)


def test_samples_given_twice_or_of_another_size_are_refused(bench):
    path = bench.samples("odd", {SPARSE: bench.exact_draws(SPARSE)})
    with pytest.raises(UserError, match="odd/v on reconstruction_30 was given twice"):
        bench.evaluate([path, path], "odd")
    short = bench.samples("odd", {SPARSE: bench.exact_draws(SPARSE)[:2]})
    with pytest.raises(UserError, match="2 instances, the observations 6"):
        bench.evaluate([short], "odd")
    with pytest.raises(UserError, match="no samples"):
        bench.evaluate([], "odd")
    assert not (bench.root / "odd").exists()


def test_collect_joins_folders_and_names_what_is_there_twice(bench):
    one = bench.evaluate([bench.samples("dps", {SPARSE: None})], "one")
    collect.run(folders=[one], out=bench.root / "all")
    for name in ("runs", "metrics"):
        assert (one / f"{name}.csv.gz").read_bytes() == (bench.root / "all" / f"{name}.csv.gz").read_bytes()
    with pytest.raises(UserError, match=r"poisson-8 exact .*one and in .*one"):
        collect.run(folders=[one, one], out=bench.root / "twice")


def test_collect_refuses_another_schema(bench):
    one = bench.evaluate([bench.samples("dps", {SPARSE: None})], "schema")
    runs = read_csv(one / "runs.csv.gz")
    write_csv(one / "runs.csv.gz", runs.assign(schema_version=99))
    with pytest.raises(UserError, match="schema version 99"):
        collect.run(folders=[one], out=bench.root / "all")
    write_csv(one / "runs.csv.gz", runs.drop(columns="nfe"))
    with pytest.raises(UserError, match="nfe"):
        collect.run(folders=[one], out=bench.root / "all")


def test_the_floor_is_that_of_states_on_which_nothing_was_trained(bench):
    unseen = torch.cat([bench.dataset.split("validation"), bench.dataset.split("test")])
    setting = ControlSetting(bench.dataset, "poisson-8", 0, {}, {}, len(unseen) - 3, None)
    (floor, rounded) = data_controls(setting)
    assert torch.equal(floor.fields[:, 0], unseen[:-3])
    assert torch.equal(rounded.fields, floor.fields.float().double())
    assert not floor.reason
    few, _ = data_controls(replace(setting, states=len(unseen) + 1))
    assert few.reason == f"only {len(unseen)} states were not trained on"
