"""Stage ``tune``: try settings of one cell on validation states; every trial is a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from jensenbench.core.tasks import Task
from jensenbench.data.dataset import SPLIT_START, Dataset
from jensenbench.data.observations import observe_states
from jensenbench.evaluation.accuracy import Observed
from jensenbench.evaluation.evaluator import Evaluator
from jensenbench.evaluation.metrics import tidy
from jensenbench.evaluation.sets import make_reference
from jensenbench.experiment.config import Cell, Tier
from jensenbench.experiment.runner import Job, open_job, run_row, sample_task, tasks_of
from jensenbench.experiment.trials import SPLIT, trials
from jensenbench.io.schema import RUN_COLUMNS, TIMING_COLUMNS
from jensenbench.io.tables import identified, write_tables


def run(
    *, tier: Tier, cell: Cell, seed: int, data: Path, prior_file: Path, fitted: Path | None, out: Path, command: str
) -> None:
    """Write runs, metrics and timings of all trials of a cell to ``out``.

    Trial 0 is the preset with the tier's settings; a variant that tuning leaves alone has one trial, as it runs.
    Masks, truths and reference states come from the validation split, the test states are never read.
    """
    sizes = tier.tuning
    small = replace(tier, instances=sizes.instances, draws=sizes.draws, samples=sizes.samples)
    job = open_job(small, cell, seed, data, prior_file, fitted)
    observed = {task.label: observe(job.dataset, tier, task) for task in tasks_of(tier, cell) if task.observes}
    reference = make_reference(job.dataset.split(SPLIT), job.dataset.field_std)
    evaluator = Evaluator(job.dataset, job.prior.codec, reference, observed)
    rows: list[dict[str, Any]] = []
    frames: list[pd.DataFrame | None] = []
    for trial in trials(tier, cell):
        tried = replace(job, cell=trial, method=type(job.method)(trial.config))
        for task in tasks_of(tier, cell):
            row, frame = attempt(tried, task, evaluator, command)
            print(f"{trial.key} {task.label}: {row['status']} {row['reason']}".rstrip(), flush=True)
            rows.append(row)
            frames.append(frame)
    timings = [{key: row.get(key) for key in TIMING_COLUMNS} | {"stage": "tune"} for row in rows]
    write_tables(out, rows, frames, timings)


def observe(dataset: Dataset, tier: Tier, task: Task) -> Observed:
    """Data and truth of the first validation states; masks are those of no test state."""
    truth, first = dataset.split(SPLIT, tier.tuning.instances), SPLIT_START[SPLIT]
    return Observed(observe_states(truth, task, dataset, seed=tier.data.seed, first=first), truth)


def attempt(job: Job, task: Task, evaluator: Evaluator, command: str) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """Run row and metrics (without post-processing) of one trial on one task."""
    seen = evaluator.observed.get(task.label)
    outcome = sample_task(job, task, None if seen is None else seen.observation)
    whole = run_row(job, task.label, outcome, command)
    row = identified({key: whole.get(key) for key in (*RUN_COLUMNS, *TIMING_COLUMNS)})
    if outcome.fields is None:
        return row, None
    values, _ = evaluator.score(outcome.fields, task.label, post_process=False)
    return row, tidy(values, row["run_id"])
