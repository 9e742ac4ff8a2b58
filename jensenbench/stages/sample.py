"""Stage ``sample``: one variant of a method draws states for all tasks of one (PDE, prior, seed)."""

from dataclasses import replace
from pathlib import Path

import h5py
import torch

from jensenbench.data.dataset import load_dataset
from jensenbench.data.observations import load_observation
from jensenbench.experiment.jobs import SampleJob
from jensenbench.experiment.runner import (
    Outcome,
    Run,
    labels,
    make_method,
    open_run,
    outcome_row,
    provenance_of,
    sample_task,
)
from jensenbench.io.files import write_hdf5
from jensenbench.priors.io import load_prior


def run(
    *,
    job: SampleJob,
    data: Path,
    observations: Path,
    prior_file: Path,
    fitted: Path | None = None,
    out: Path,
    command: str,
) -> None:
    """Sample every task of a job and write the samples file; a task that fails is a row with its reason.

    ``fitted`` is the fit of a method that learns; if that has failed, its status is that of every task.
    """
    opened = open_run(job, data, prior_file, fitted)
    outcomes = {}
    for task in job.tasks:
        observation = load_observation(observations, task.label) if task.observes else None
        outcomes[task.label] = outcome = sample_task(opened, task, observation)
        print(f"{job.cell} {task.label}: {outcome.status} {outcome.reason}".rstrip(), flush=True)
    write_samples(out, opened, outcomes, command)


def give_up(*, job: SampleJob, data: Path, prior_file: Path, out: Path, command: str, status: str, reason: str) -> None:
    """Leave rows with the reason as the result of a job that was killed before it could write its own."""
    dataset = load_dataset(data)
    prior = load_prior(prior_file, dataset.pde, data_digest=dataset.digest, settings=job.prior_settings)
    killed = Run(job, make_method(job), dataset, prior, torch.device("cpu"))
    blank = Outcome(status, reason, n_draws=job.draws)
    sizes = {task.label: job.instances if task.observes else job.samples for task in job.tasks}
    write_samples(out, killed, {label: replace(blank, n_instances=count) for label, count in sizes.items()}, command)


def write_samples(out: Path, run: Run, outcomes: dict[str, Outcome], command: str) -> None:
    """Write the outcomes of a sampling job with their provenance."""

    def fill(file: h5py.File) -> None:
        file.attrs.update(labels(run), prior_kind=run.prior.kind)
        for label, outcome in outcomes.items():
            group = file.create_group(label)
            group.attrs.update(provenance_of(run, label, command) | outcome_row(outcome))
            if outcome.fields is not None:
                group.create_dataset("fields", data=outcome.fields.numpy())

    write_hdf5(out, fill)
