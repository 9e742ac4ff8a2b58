"""Stage ``tune``: try settings of one cell on validation states; every trial is a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from jensenbench.core.tasks import Task
from jensenbench.data.dataset import SPLIT_START
from jensenbench.data.observations import observe_states
from jensenbench.evaluation.accuracy import Observed
from jensenbench.evaluation.evaluator import Evaluator
from jensenbench.evaluation.metrics import tidy
from jensenbench.evaluation.sets import make_reference
from jensenbench.evaluation.tuning import SPLIT
from jensenbench.experiment.jobs import TuneJob
from jensenbench.experiment.runner import Run, make_method, open_run, run_row, sample_task
from jensenbench.io.schema import RUN_COLUMNS, TIMING_COLUMNS
from jensenbench.io.tables import identified, write_tables


def run(*, job: TuneJob, data: Path, prior_file: Path, fitted: Path | None = None, out: Path, command: str) -> None:
    """Write runs, metrics and timings of all trials to ``out``.

    Masks, truths and reference states come from the validation split, the test states are never read.
    """
    first, tasks = open_run(job.trials[0], data, prior_file, fitted), job.trials[0].tasks
    observed = {task.label: observe(first, task, job.data_seed) for task in tasks if task.observes}
    reference = make_reference(first.dataset.split(SPLIT), first.dataset.field_std)
    evaluator = Evaluator(first.dataset, first.prior.codec, reference, observed)
    rows: list[dict[str, Any]] = []
    frames: list[pd.DataFrame | None] = []
    for trial in job.trials:
        tried = replace(first, job=trial, method=make_method(trial))
        for task in tasks:
            row, frame = attempt(tried, task, evaluator, command)
            print(f"{trial.cell} {task.label}: {row['status']} {row['reason']}".rstrip(), flush=True)
            rows.append(row)
            frames.append(frame)
    timings = [{key: row.get(key) for key in TIMING_COLUMNS} | {"stage": "tune"} for row in rows]
    write_tables(out, rows, frames, timings)


def observe(run: Run, task: Task, seed: int) -> Observed:
    """Data and truth of the first validation states; masks are those of no test state."""
    truth, first = run.dataset.split(SPLIT, run.job.instances), SPLIT_START[SPLIT]
    return Observed(observe_states(truth, task, run.dataset, seed=seed, first=first), truth)


def attempt(run: Run, task: Task, evaluator: Evaluator, command: str) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """Run row and metrics (without post-processing) of one trial on one task."""
    seen = evaluator.observed.get(task.label)
    outcome = sample_task(run, task, None if seen is None else seen.observation)
    whole = run_row(run, task.label, outcome, command)
    row = identified({key: whole.get(key) for key in (*RUN_COLUMNS, *TIMING_COLUMNS)})
    if outcome.fields is None:
        return row, None
    values = evaluator.score(outcome.fields, task.label, post_process=False).metrics
    return row, tidy(values, row["run_id"])
