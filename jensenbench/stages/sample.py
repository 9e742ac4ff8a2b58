"""Stage ``sample``: one method's variant draws states for all tasks of one (PDE, prior, seed)."""

from dataclasses import replace
from pathlib import Path

import h5py
import torch

from jensenbench.data.dataset import load_dataset
from jensenbench.data.observations import load_observation
from jensenbench.experiment.config import Cell, Tier
from jensenbench.experiment.runner import Job, Outcome, _labels, _provenance, _row, open_job, sample_task, tasks_of
from jensenbench.io.files import write_hdf5
from jensenbench.plugins.registry import load_method
from jensenbench.priors.io import load_prior


def run(
    *,
    tier: Tier,
    cell: Cell,
    seed: int,
    data: Path,
    observations: Path,
    prior_file: Path,
    fitted: Path | None = None,
    out: Path,
    command: str,
) -> None:
    """Sample every task of a cell and write the samples file; a task that fails is a row with its reason.

    ``fitted`` is the fit of a method that trains; if that has failed, its status is that of every task.
    """
    job = open_job(tier, cell, seed, data, prior_file, fitted)
    outcomes = {}
    for task in tasks_of(tier, cell):
        data_of_task = load_observation(observations, task.label) if task.observes else None
        outcomes[task.label] = outcome = sample_task(job, task, data_of_task)
        print(f"{cell.key} {task.label}: {outcome.status} {outcome.reason}".rstrip(), flush=True)
    write_samples(out, job, outcomes, command)


def write_samples(out: Path, job: Job, outcomes: dict[str, Outcome], command: str) -> None:
    """Write the outcomes of a sampling job with their provenance."""
    shared = _provenance(job, command)

    def fill(file: h5py.File) -> None:
        file.attrs.update(_labels(job), prior_kind=job.prior.kind)
        for label, outcome in outcomes.items():
            group = file.create_group(label)
            group.attrs.update(shared | _row(outcome))
            if outcome.fields is not None:
                group.create_dataset("fields", data=outcome.fields.numpy())

    write_hdf5(out, fill)


def write_failure(
    *,
    tier: Tier,
    cell: Cell,
    seed: int,
    data: Path,
    prior_file: Path,
    out: Path,
    command: str,
    status: str,
    reason: str,
) -> None:
    """Write rows for a job that was killed before it could write its own."""
    dataset = load_dataset(data)
    prior = load_prior(prior_file, dataset.pde, data_digest=dataset.digest, settings=tier.prior_settings(cell.prior))
    job = Job(tier, cell, seed, load_method(cell.method)(cell.config), dataset, prior, torch.device("cpu"))
    blank = Outcome(status, reason, n_draws=tier.draws)
    sizes = {task.label: tier.instances if task.observes else tier.samples for task in tasks_of(tier, cell)}
    write_samples(out, job, {label: replace(blank, n_instances=count) for label, count in sizes.items()}, command)
