"""Stage ``evaluate``: measure the samples of all methods of one (pde, prior, seed), and the controls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from jensenbench.data.dataset import Dataset, load_dataset
from jensenbench.data.observations import load_observation
from jensenbench.errors import UserError
from jensenbench.evaluation.accuracy import Observed
from jensenbench.evaluation.controls import (
    DEFAULT_STATES,
    UNCONDITIONAL,
    Control,
    ControlSetting,
    data_controls,
    optimum,
    posterior_controls,
    posteriors_of,
)
from jensenbench.evaluation.evaluator import Evaluator
from jensenbench.evaluation.metrics import tidy
from jensenbench.evaluation.sets import make_reference
from jensenbench.experiment.digests import stage_digest
from jensenbench.io import provenance
from jensenbench.io.files import canonical_json, open_hdf5, plain
from jensenbench.io.schema import RUN_COLUMNS, STATUSES, TIMING_COLUMNS
from jensenbench.io.tables import identified, write_tables
from jensenbench.priors.io import LoadedPrior, load_prior
from jensenbench.runtime.meter import COUNTS
from jensenbench.runtime.progress import progress
from jensenbench.runtime.timing import timed, usage


@dataclass(frozen=True)
class Sampled:
    """One task of a samples file: its run row so far, its timing row, and where the fields are."""

    row: dict[str, Any]
    timing: dict[str, Any]
    path: Path

    def fields(self) -> Tensor:
        """Physical fields (I, K, C, *grid)."""
        with open_hdf5(self.path) as file:
            group: Any = file[self.row["task"]]
            if "fields" not in group:
                raise UserError(
                    f"{self.path}: task {self.row['task']} is marked ok but holds no fields; sample it again"
                )
            return torch.from_numpy(np.asarray(group["fields"]))


@dataclass(frozen=True)
class Scored:
    """Rows of one task: its run, its metrics where there are states, and the times of their post-processing."""

    row: dict[str, Any]
    metrics: pd.DataFrame | None = None
    timings: tuple[dict[str, Any], ...] = ()


def run(*, data: Path, observations: Path, prior_file: Path, samples: list[Path], out: Path, seed: int) -> None:
    """Write ``runs.csv.gz``, ``metrics.csv.gz`` and ``timings.csv.gz`` of all samples files and controls to ``out``.

    Equal inputs give equal bytes of the first two. A task that failed or was skipped keeps its row.
    """
    torch.set_num_threads(1)  # sums of several threads differ in their last digits
    with timed(out):
        dataset = load_dataset(data)
        loaded = load_prior(prior_file, dataset.pde, data_digest=dataset.digest)
        sampled = [task for path in sorted(samples) for task in read_samples(path)]
        labels = check_samples(sampled, dataset, seed)
        setting = control_setting(dataset, labels[0], seed, read_observed(observations), sampled)
        posteriors = posteriors_of(setting, loaded)
        evaluator = Evaluator(
            dataset,
            loaded.codec,
            make_reference(dataset.split("reference"), dataset.field_std),
            setting.observed,
            {task: optimum(setting, task, posterior) for task, posterior in posteriors.items()},
        )
        scored = [
            score_sampled(evaluator, task) for task in progress(sampled, label=f"evaluate {dataset.label}", unit="task")
        ]
        for control in (*data_controls(setting), *posterior_controls(setting, posteriors)):
            scored.append(score_control(evaluator, control, _control_row(labels, seed, dataset, loaded, control)))
        timings = [task.timing for task in sampled] + [row for one in scored for row in one.timings]
        write_tables(out, [one.row for one in scored], [one.metrics for one in scored], timings)


def read_samples(path: Path) -> Iterator[Sampled]:
    """The tasks of a samples file, without their fields."""
    with open_hdf5(path) as file:
        root = plain(file.attrs)
        for task, group in file.items():
            attributes = plain(group.attrs)
            row = {key: attributes.get(key, root.get(key)) for key in RUN_COLUMNS} | {"task": task}
            timing = {key: attributes.get(key, row.get(key)) for key in TIMING_COLUMNS} | {"stage": "sample"}
            yield Sampled(identified(row), timing, path)


def check_samples(sampled: Sequence[Sampled], dataset: Dataset, seed: int) -> tuple[str, str]:
    """The (pde, prior) labels that all samples share; raises where they do not belong together."""
    if not sampled:
        raise UserError("there are no samples to evaluate; run the stage `sample` first")
    found = {(task.row["pde"], task.row["prior"]) for task in sampled}
    if len(found) > 1:
        raise UserError(
            f"samples of several (pde, prior) pairs were given together: {sorted(found)}; evaluate them one by one"
        )
    for task in sampled:
        if task.row["seed"] != seed:
            raise UserError(f"{task.path} was drawn with seed {task.row['seed']}, asked for {seed}")
        if task.row["data_digest"] != dataset.digest:
            raise UserError(f"{task.path} was made from other data than {dataset.path}; sample it again")
        if task.row["status"] not in STATUSES:
            raise UserError(f"{task.path}: status {task.row['status']!r} is not one of {STATUSES}")
    return found.pop()


def read_observed(path: Path) -> dict[str, Observed]:
    """Data and truth of every observed task."""
    with open_hdf5(path) as file:
        groups: dict[str, Any] = dict(file.items())
        states = {
            task: [torch.from_numpy(np.asarray(group[key])).double() for key in ("truth", "alike") if key in group]
            for task, group in groups.items()
        }
    return {task: Observed(load_observation(path, task), *found) for task, found in states.items()}


def control_setting(
    dataset: Dataset, label: str, seed: int, observed: Mapping[str, Observed], sampled: Sequence[Sampled]
) -> ControlSetting:
    """Controls as large as the largest run, and the prior's own unconditional samples."""
    draws = {task: max([t.row["n_draws"] for t in sampled if t.row["task"] == task], default=1) for task in observed}
    free = [task for task in sampled if task.row["task"] == UNCONDITIONAL]
    states = max([task.row["n_instances"] for task in free], default=DEFAULT_STATES)
    of_prior = [task for task in free if task.row["method"] == "edm" and task.row["status"] == "ok"]
    unconditional = of_prior[0].fields().double().flatten(0, 1) if of_prior else None
    return ControlSetting(dataset, label, seed, observed, draws, states, unconditional)


def score_sampled(evaluator: Evaluator, task: Sampled) -> Scored:
    """Rows of one task of a method; no metrics where it did not end well."""
    if task.row["status"] != "ok":
        return Scored(task.row)
    fields, name = task.fields(), task.row["task"]
    if name != UNCONDITIONAL and name not in evaluator.observed:
        raise UserError(f"{task.path}: the observations file has no task {name!r}; run the stage `observe` again")
    expected = len(evaluator.observed[name].truth) if name in evaluator.observed else len(fields)
    if len(fields) != expected:
        raise UserError(
            f"{task.path}: {name} has {len(fields)} instances, the observations {expected}; sample it again"
        )
    score = evaluator.score(fields, name)
    times = tuple(task.timing | usage() | {"stage": stage, "seconds": spent} for stage, spent in score.seconds.items())
    row = task.row | {"reason": task.row["reason"] or score.note}
    return Scored(row, tidy(score.metrics, row["run_id"]), times)


def score_control(evaluator: Evaluator, control: Control, row: dict[str, Any]) -> Scored:
    """Rows of a control; its post-processing is not timed."""
    if control.fields is None:
        return Scored(row)
    score = evaluator.score(control.fields, control.task, post_process=control.post_process)
    values = score.metrics
    floors = {"data_floor": evaluator.dataset.floor, "float32_floor": evaluator.dataset.floor_float32}
    if control.variant in floors:
        values["residual_floor"] = torch.tensor(floors[control.variant])
    note = "; ".join(text for text in (control.reason, score.note) if text)
    return Scored(row | {"reason": note}, tidy(values, row["run_id"]))


def _control_row(
    labels: tuple[str, str], seed: int, dataset: Dataset, prior: LoadedPrior, control: Control
) -> dict[str, Any]:
    instances, draws = (0, 0) if control.fields is None else control.fields.shape[:2]
    settings = canonical_json({"instances": instances, "draws": draws})
    row = dict.fromkeys(RUN_COLUMNS, "") | dict.fromkeys(COUNTS, 0.0)
    return identified(
        row
        | {
            "pde": labels[0], "prior": labels[1], "method": "control", "variant": control.variant, "task": control.task,
            "seed": seed, "status": "skipped" if control.fields is None else "ok", "reason": control.reason,
            "n_instances": instances, "n_draws": draws, "tuned_trials": 0, "config_json": settings,
            "config_digest": provenance.digest_text(settings), "data_digest": dataset.digest,
            "prior_digest": prior.digest, "code_digest": stage_digest("evaluate", pde=dataset.pde.name),
            "environment_digest": provenance.environment_digest(), "versions": provenance.versions(),
            "git_commit": provenance.git_commit(),
        }
    )  # fmt: skip
