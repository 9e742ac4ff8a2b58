"""Runs of a method: states of each task, drawn under the meter, with their cost, status and provenance."""

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
from jensenbench.experiment.digests import stage_digest
from jensenbench.experiment.fits import Fitted, load_fit
from jensenbench.experiment.jobs import SampleJob
from jensenbench.io import provenance
from jensenbench.io.files import canonical_json
from jensenbench.plugins.registry import load_method, method_config
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
class Run:
    """What the tasks of one sampling job share: the job's record, and what it names, loaded."""

    job: SampleJob
    method: Method
    dataset: Dataset
    prior: LoadedPrior
    device: torch.device
    fit: Fitted = field(default_factory=Fitted)
    module: nn.Module | None = None

    def of_task(self, task: str) -> "Run":
        """The same run with the method's settings in a task."""
        return replace(self, method=make_method(self.job, task))


def make_method(job: SampleJob, task: str = "") -> Method:
    """The method of a job with its settings, or with those of a task."""
    kind = load_method(job.method)
    return kind(method_config(kind, job.preset, job.by_task.get(task, job.config)))


def open_run(job: SampleJob, data: Path, prior_file: Path, fitted: Path | None) -> Run:
    """Load what the tasks of a job share, on its device and threads.

    ``fitted`` is the fit of a method that learns; if that has failed, its status is that of every task.
    """
    torch.set_num_threads(job.threads)
    dataset = load_dataset(data)
    prior = load_prior(prior_file, dataset.pde, data_digest=dataset.digest, settings=job.prior_settings)
    method, device = make_method(job), pick_device(job.device)
    prior.on(device)
    if fitted is None and method.capabilities.trains:
        raise UserError(f"method {method.name} trains: run the stage `fit` and name its file with --fitted")
    run = Run(job, method, dataset, prior, device)
    return run if fitted is None else with_fit(run, load_fit(fitted))


def with_fit(run: Run, fit: Fitted) -> Run:
    """A run with what its method has learnt, and with no module where the fit has failed."""
    run = replace(run, fit=fit)
    if not fit.tensors:
        return run
    module = fit.restore(run.method, run.prior.denoiser, problem_of(run, TASKS["unconditional"]))
    return replace(run, module=module.to(run.device))


def sample_task(run: Run, task: Task, observation: MaskObservation | None) -> Outcome:
    """Draw all states of one task in batches with its settings; failures become the outcome's status."""
    run = run.of_task(task.label)
    n_instances = run.job.samples if observation is None else len(observation.values)
    n_draws = 1 if observation is None else run.job.draws
    problem = problem_of(run, task, observation)
    reason = run.method.skip(problem)
    if reason:
        return Outcome("skipped", reason, n_instances=n_instances, n_draws=n_draws)
    if run.fit.status != "ok":
        return Outcome(run.fit.status, f"fit: {run.fit.reason}", n_instances=n_instances, n_draws=n_draws)
    meter, start = Meter(budget=run.job.budget), time.perf_counter()
    fields, status, why = None, "ok", ""
    try:
        batches = list(_batches(run, problem, n_instances, n_draws, meter))
        fields = torch.cat(batches).reshape(n_instances, n_draws, *run.dataset.pde.shape)
    except Exception as error:  # a plug-in's mistake is a row of the table
        status, why = status_of(error)
    return Outcome(status, why, fields, n_instances, n_draws, meter.per_state(), time.perf_counter() - start)


def problem_of(run: Run, task: Task, observation: MaskObservation | None = None) -> Problem:
    """All instances of a task as one problem."""
    pde = run.dataset.pde
    constraints = () if observation is None else task.constraints(pde, observation.values)
    return Problem(
        pde, task.label, run.prior.codec, observation=observation, constraints=constraints,
        scale=run.dataset.field_std, term_scale=run.dataset.term_scale,
    )  # fmt: skip


def noise_key(run: Run, task: str, instance: int, draw: int) -> tuple[int, str, str, int, int]:
    """Key of the noise of one state: the same for all methods."""
    return run.job.seed, run.job.pde, task, instance, draw


def _batches(run: Run, problem: Problem, n_instances: int, n_draws: int, meter: Meter) -> Iterator[Tensor]:
    states = [(instance, draw) for instance in range(n_instances) for draw in range(n_draws)]
    starts = range(0, len(states), run.job.batch)
    for start in progress(starts, label=f"{run.job.cell} {problem.task}", unit="batch"):
        chunk = states[start : start + run.job.batch]
        part = problem.subset([instance for instance, _ in chunk])
        keys = [noise_key(run, problem.task, instance, draw) for instance, draw in chunk]
        meter.begin(len(chunk))
        prior = MeteredDenoiser(run.prior.denoiser, meter)
        module = None if run.module is None else MeteredModule(run.module, meter)
        noise = KeyedNoise(keys, device=run.device)
        x = run.method.sample(prior, MeteredProblem(part, meter), noise, fitted=module)
        fields = problem.decode(x.detach()).cpu()
        if not torch.isfinite(fields).all():
            raise Diverged("the samples hold NaN or infinite values")
        yield fields


def run_row(run: Run, task: str, outcome: Outcome, command: str) -> dict[str, Any]:
    """Everything that is recorded of one task besides its states."""
    return {**labels(run), "task": task, **provenance_of(run, task, command), **outcome_row(outcome)}


def labels(run: Run) -> dict[str, Any]:
    """Names under which a run stands in every table."""
    return {key: getattr(run.job, key) for key in ("pde", "prior", "method", "variant", "seed")}


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    """Status, sizes and cost of one task."""
    row = {key: getattr(outcome, key) for key in ("status", "reason", "n_instances", "n_draws", "seconds")}
    return row | outcome.costs


def provenance_of(run: Run, task: str, command: str) -> dict[str, Any]:
    """What made the states of a task: settings, digests, versions, machine."""
    settings = canonical_json(run.job.settings())
    return {
        "config_json": settings,
        "config_digest": provenance.digest_text(settings),
        "tuned_trials": run.job.tuned_trials.get(task, 0),
        "data_digest": run.dataset.digest,
        "prior_digest": run.prior.digest,
        "fit_digest": run.fit.digest,
        "code_digest": stage_digest("sample", pde=run.dataset.pde.name, methods=(run.job.method,)),
        "environment_digest": provenance.environment_digest(),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
        "command": command,
        **usage(run.device),
    }
