"""Methods of a tier, followed on a few states by the code that the benchmark runs: where do they call a denoiser?"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.core.method import Iterative
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import Task
from jensenbench.data.dataset import SPLIT_START, Dataset
from jensenbench.data.observations import observe_states
from jensenbench.experiment.fits import Fitted
from jensenbench.experiment.jobs import FitJob, JensenJob
from jensenbench.experiment.runner import Run, make_method, noise_key, problem_of, with_fit
from jensenbench.io.files import canonical_json
from jensenbench.jensen.curves import Row, Subject
from jensenbench.jensen.settings import JensenSettings
from jensenbench.jensen.trajectory_gap import PriorCalls, trajectory_rows
from jensenbench.priors.io import LoadedPrior
from jensenbench.runtime.meter import Meter, MeteredDenoiser, MeteredProblem
from jensenbench.runtime.progress import progress
from jensenbench.runtime.status import status_of

MISSING = Fitted("failed", "it was not given to this stage")
SPLIT = "validation"  # no law is built from it, and no table reads it


@dataclass(frozen=True)
class Trajectory:
    """What became of the runs of one method on one task: their calls, or why there are none.

    ``levels`` are those of the denoiser's latest call whenever the method evaluated the equation.
    """

    visits: PriorCalls | None = None
    residual_of: str = ""
    levels: tuple[float, ...] = ()
    reason: str = ""


def visits_of(
    job: JensenJob, dataset: Dataset, prior: LoadedPrior, subject: Subject, fits: Sequence[Fitted] = ()
) -> Iterator[Row]:
    """Rows of every variant of a job, for the unconditional and its first observed task.

    ``fits`` are those of the methods that learn a denoiser.
    """
    for sample in progress(job.samples, label=f"{dataset.label} visits", unit="variant"):
        run = Run(sample, make_method(sample), dataset, prior, torch.device("cpu"))
        owner, fit = "prior", sample.fit() if isinstance(run.method, Iterative) else None
        if fit is not None:
            owner, run = "own", with_fit(run, next((found for found in fits if is_of(found, fit)), MISSING))
        for task, observation in chosen_tasks(run, job):
            trajectory = trace(run, task, observation, job.settings)
            labels = {"method": sample.method, "variant": sample.variant, "task": task.label, "denoiser": owner}
            for row in rows_of(run, trajectory, subject, job.settings):
                yield labels | seen_at(trajectory) | row


def is_of(fit: Fitted, job: FitJob) -> bool:
    """Whether a fit's file is that of a job."""
    wanted = {"pde": job.pde, "prior": job.prior, "method": job.method, "settings": dict(job.fit)}
    return canonical_json({name: fit.meta[name] for name in wanted}) == canonical_json(wanted)


def seen_at(trajectory: Trajectory) -> Row:
    """Where a method evaluates the equation."""
    if not trajectory.residual_of:
        return {}
    return {
        "residual_of": trajectory.residual_of,
        "residual_low": min(trajectory.levels),
        "residual_high": max(trajectory.levels),
    }


def rows_of(run: Run, trajectory: Trajectory, subject: Subject, settings: JensenSettings) -> Iterator[Row]:
    """One row a level, and one that says what is not drawn."""
    if trajectory.visits is None:
        yield {"usable": False, "reason": trajectory.reason}
        return
    low = max(settings.lowest, run.prior.denoiser.sigma_min)
    high = min(settings.highest, run.prior.denoiser.sigma_max)
    inside = trajectory.visits.within(low, high)
    count, there = len(trajectory.visits.sigma) - len(inside.sigma), len(trajectory.visits.sigma)
    if len(inside.sigma):
        trained = run.module is not None or run.prior.kind == "network"
        yield from trajectory_rows(subject, settings, inside, trained=trained)
    if count:
        yield {"usable": False, "reason": f"{count} of {there} calls lie outside sigma = {low:g} to {high:g}"}


def chosen_tasks(run: Run, job: JensenJob) -> Iterator[tuple[Task, MaskObservation | None]]:
    """The unconditional task and the first observed one that the method does not skip, of those of its job."""
    tasks = run.job.tasks
    yield from ((task, None) for task in tasks if not task.observes and not configured(run, task)[0])
    states = run.dataset.split(SPLIT, job.settings.visits)
    for task in tasks:
        if task.observes:
            seen = observe_states(states, task, run.dataset, seed=job.data_seed, first=SPLIT_START[SPLIT])
            if not configured(run, task, seen)[0]:
                yield task, seen
                return


def configured(run: Run, task: Task, observation: MaskObservation | None = None) -> tuple[str | None, Run, Problem]:
    """Why a method skips a task, the run with its settings, and the problem of all states."""
    own = run.of_task(task.label)
    problem = problem_of(own, task, observation)
    return own.method.skip(problem), own, problem


def trace(run: Run, task: Task, observation: MaskObservation | None, settings: JensenSettings) -> Trajectory:
    """The calls of ``settings.visits`` runs."""
    capabilities = run.method.capabilities
    if not capabilities.uses_prior:
        return Trajectory(reason="it calls no prior")
    if capabilities.trains and not isinstance(run.method, Iterative):
        return Trajectory(reason="what it learns makes samples of noise at once: it visits no noisy state")
    if run.fit.status != "ok":
        return Trajectory(reason=f"its fit: {run.fit.reason}")
    _, own, problem = configured(run, task, observation)
    runs, levels, reason = together(own, problem, settings)
    if runs is None and not reason:
        runs, levels, reason = apart(own, problem, settings)
    if runs is None:
        return Trajectory(reason=reason)
    return Trajectory(PriorCalls.of_probes(runs), capabilities.residual_of if levels else "", tuple(levels))


Probes = list[tuple[Tensor, Tensor, Tensor]]  # of one run
Runs = tuple[list[Probes] | None, list[float], str]  # with the levels at which R is evaluated, and why there are none


def together(run: Run, problem: Problem, settings: JensenSettings) -> Runs:
    """All runs in one batch; None where some call of the prior is not about all of them, so that rows have no names."""
    count = settings.visits
    if run.method.capabilities.couples_batch:
        return None, [], ""
    probes, levels, reason = attempt(run, problem, range(count), settings)
    if reason or any(len(call[0]) != count for call in probes):
        return None, levels, reason
    runs = [[(sigma[i : i + 1], x[i : i + 1], d[i : i + 1]) for sigma, x, d in probes] for i in range(count)]
    return runs, levels, ""


def apart(run: Run, problem: Problem, settings: JensenSettings) -> Runs:
    """Each run on its own."""
    runs, levels = [], []
    for index in range(settings.visits):
        probes, seen, reason = attempt(run, problem, [index], settings)
        if reason:
            return None, levels, reason
        runs.append(probes)
        levels += seen
    return runs, levels, ""


class Watched(MeteredProblem):
    """A metered problem that notes at which level the denoiser was last called when the equation is evaluated."""

    def __init__(self, problem: Problem, meter: Meter, levels: list[float]):
        super().__init__(problem, meter)
        self._levels = levels

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        self._note()
        return super().terms(x)

    def residual(self, x: Tensor, scheme: str = "own") -> dict[str, Tensor]:
        self._note()
        return super().residual(x, scheme)

    def _note(self) -> None:
        self._levels.append(float(self._meter.probes[-1][0][0]) if self._meter.probes else math.inf)


def attempt(
    run: Run, problem: Problem, rows: Sequence[int], settings: JensenSettings
) -> tuple[Probes, list[float], str]:
    """Sample some states of a problem: calls of the denoiser, levels of evaluations of R, and why that has failed."""
    meter, levels = Meter(budget=settings.visit_calls, record=True), []
    meter.begin(len(rows))
    noise = KeyedNoise([noise_key(run, problem.task, index, 0) for index in rows], device=run.device)
    watched = Watched(problem.subset(rows), meter, levels)
    try:
        if isinstance(run.method, Iterative):
            model = run.method.model(run.prior.denoiser, run.module)
            run.method.final_state(MeteredDenoiser(model, meter), watched, noise)
        else:
            run.method.sample(MeteredDenoiser(run.prior.denoiser, meter), watched, noise)
    except Exception as error:  # a plug-in's mistake is a row of the table
        return [], [], status_of(error)[1]
    return meter.probes, levels, ""
