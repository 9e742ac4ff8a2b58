"""One sampling job: a method's variant draws states of its tasks under the meter."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jensenbench.core.method import Method
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import TASKS, Task
from jensenbench.data.dataset import Dataset, load_dataset
from jensenbench.errors import Diverged, UserError
from jensenbench.experiment.config import Cell, Tier
from jensenbench.experiment.fits import Fitted, load_fit
from jensenbench.io import provenance
from jensenbench.io.files import canonical_json
from jensenbench.plugins.registry import load_method
from jensenbench.priors.io import LoadedPrior, load_prior
from jensenbench.runtime.devices import pick_device
from jensenbench.runtime.meter import COUNTS, Meter, MeteredDenoiser, MeteredModule, MeteredProblem
from jensenbench.runtime.progress import progress
from jensenbench.runtime.status import status_of
from jensenbench.runtime.timing import usage


@dataclass(frozen=True)
class Outcome:
    """What became of one task: physical samples (instance, draw, C, *grid) if ``status`` is ok, and the cost."""

    status: str
    reason: str = ""
    fields: Tensor | None = None
    n_instances: int = 0
    n_draws: int = 0
    costs: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0.0))
    seconds: float = 0.0


@dataclass(frozen=True)
class Job:
    """Everything that the tasks of one sampling job share."""

    tier: Tier
    cell: Cell
    seed: int
    method: Method
    dataset: Dataset
    prior: LoadedPrior
    device: torch.device
    fit: Fitted = field(default_factory=Fitted)
    module: nn.Module | None = None


def open_job(tier: Tier, cell: Cell, seed: int, data: Path, prior_file: Path, fitted: Path | None) -> Job:
    """Read what the tasks of a cell share, on the tier's device and threads."""
    torch.set_num_threads(tier.threads)
    dataset = load_dataset(data)
    prior = load_prior(prior_file, dataset.pde, data_digest=dataset.digest, settings=tier.prior_settings(cell.prior))
    method, device = load_method(cell.method)(cell.config), pick_device(tier.device)
    prior.on(device)
    if fitted is None and method.capabilities.trains:
        raise UserError(f"method {method.name} trains: run the stage `fit` and name its file with --fitted")
    job = Job(tier, cell, seed, method, dataset, prior, device)
    return job if fitted is None else with_fit(job, load_fit(fitted))


def with_fit(job: Job, fit: Fitted) -> Job:
    """A job with what its method has learnt, and with no module where the fit has failed."""
    job = replace(job, fit=fit)
    if not fit.tensors:
        return job
    module = fit.restore(job.method, job.prior.denoiser, problem_of(job, TASKS["unconditional"]))
    return replace(job, module=module.to(job.device))


def tasks_of(tier: Tier, cell: Cell) -> tuple[Task, ...]:
    """Tasks that a cell runs, in the tier's order."""
    return tuple(task for task in tier.tasks_of(cell.pde) if task.label in cell.tasks)


def sample_task(job: Job, task: Task, observation: MaskObservation | None) -> Outcome:
    """Draw all states of one task in batches with its settings; failures become the outcome's status."""
    job = replace(job, method=type(job.method)(job.cell.config_of(task.label)))
    n_instances = job.tier.samples if observation is None else len(observation.values)
    n_draws = 1 if observation is None else job.tier.draws
    problem = problem_of(job, task, observation)
    reason = job.method.skip(problem)
    if reason:
        return Outcome("skipped", reason, n_instances=n_instances, n_draws=n_draws)
    if job.fit.status != "ok":
        return Outcome(job.fit.status, f"fit: {job.fit.reason}", n_instances=n_instances, n_draws=n_draws)
    meter, start = Meter(budget=job.tier.budget), time.perf_counter()
    fields, status, why = None, "ok", ""
    try:
        batches = list(_batches(job, problem, n_instances, n_draws, meter))
        fields = torch.cat(batches).reshape(n_instances, n_draws, *job.dataset.pde.shape)
    except Exception as error:  # a plug-in's mistake is a row of the table
        status, why = status_of(error)
    return Outcome(status, why, fields, n_instances, n_draws, meter.per_state(), time.perf_counter() - start)


def problem_of(job: Job, task: Task, observation: MaskObservation | None = None) -> Problem:
    """All instances of a task as one problem."""
    pde = job.dataset.pde
    constraints = () if observation is None else task.constraints(pde, observation.values)
    return Problem(
        pde, task.label, job.prior.codec, observation=observation, constraints=constraints,
        scale=job.dataset.field_std, term_scale=job.dataset.term_scale,
    )  # fmt: skip


def key_of(job: Job, task: str, instance: int, draw: int) -> tuple[int, str, str, int, int]:
    """Key of the noise of one state: the same for all methods."""
    return job.seed, job.cell.pde, task, instance, draw


def _batches(job: Job, problem: Problem, n_instances: int, n_draws: int, meter: Meter) -> Iterator[Tensor]:
    pairs = [(instance, draw) for instance in range(n_instances) for draw in range(n_draws)]
    starts = range(0, len(pairs), job.tier.batch)
    label = f"{job.cell.key} {problem.task}"
    for start in progress(starts, label=label, unit="batch"):
        chunk = pairs[start : start + job.tier.batch]
        rows = problem.subset([instance for instance, _ in chunk])
        keys = [key_of(job, problem.task, instance, draw) for instance, draw in chunk]
        meter.begin(len(chunk))
        prior = MeteredDenoiser(job.prior.denoiser, meter)
        module = None if job.module is None else MeteredModule(job.module, meter)
        noise = KeyedNoise(keys, device=job.device)
        x = job.method.sample(prior, MeteredProblem(rows, meter), noise, fitted=module)
        fields = problem.decode(x.detach()).cpu()
        if not torch.isfinite(fields).all():
            raise Diverged("the samples hold NaN or infinite values")
        yield fields


def run_row(job: Job, task: str, outcome: Outcome, command: str) -> dict[str, Any]:
    """Everything that is recorded of one task besides its states."""
    return {**_labels(job), "task": task, **_provenance(job, command), **_row(outcome)}


def _labels(job: Job) -> dict[str, Any]:
    cell = job.cell
    return {"pde": cell.pde, "prior": cell.prior, "method": cell.method, "variant": cell.variant, "seed": job.seed}


def _row(outcome: Outcome) -> dict[str, Any]:
    row = {key: getattr(outcome, key) for key in ("status", "reason", "n_instances", "n_draws", "seconds")}
    return row | outcome.costs


def _provenance(job: Job, command: str) -> dict[str, Any]:
    settings = job.tier.run_settings(job.cell)
    return {
        "config_json": canonical_json(settings),
        "config_digest": provenance.digest_text(canonical_json(settings)),
        "tuned_trials": job.cell.tuned_trials,
        "data_digest": job.dataset.digest,
        "prior_digest": job.prior.digest,
        "fit_digest": job.fit.digest,
        "code_digest": provenance.digest_sampling(job.cell.method, job.dataset.pde.name),
        "environment_digest": provenance.environment_digest(),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
        "command": command,
        **usage(job.device),
    }
