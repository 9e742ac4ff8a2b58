"""Methods of a tier, followed on a few states by the code that the benchmark runs: where do they call a denoiser?"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from jensenbench.core.method import Iterative
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import Task
from jensenbench.data.dataset import SPLIT_START, Dataset
from jensenbench.data.observations import observe_states
from jensenbench.experiment.config import Cell, FitEntry, Tier
from jensenbench.experiment.fits import Fitted
from jensenbench.experiment.runner import Job, key_of, problem_of, tasks_of, with_fit
from jensenbench.io.files import canonical_json
from jensenbench.jensen.curves import Row, Subject
from jensenbench.jensen.settings import JensenSettings
from jensenbench.jensen.trajectory_gap import PriorCalls, trajectory_rows
from jensenbench.plugins.registry import load_method
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
    tier: Tier,
    dataset: Dataset,
    prior: LoadedPrior,
    seed: int,
    subject: Subject,
    settings: JensenSettings,
    fits: Sequence[Fitted] = (),
) -> Iterator[Row]:
    """Rows of every variant that runs on a prior, for the unconditional and its first observed task.

    ``fits`` are those of the methods that learn a denoiser.
    """
    cells = cells_of(tier, dataset.label, prior.label)
    for cell in progress(cells if settings.visits else [], label=f"{dataset.label} visits", unit="variant"):
        job = Job(tier, cell, seed, load_method(cell.method)(cell.config), dataset, prior, torch.device("cpu"))
        owner, entry = "prior", denoiser_fit(cell)
        if entry is not None:
            owner, job = "own", with_fit(job, next((fit for fit in fits if is_of(fit, entry)), MISSING))
        for task, observation in chosen_tasks(job, settings):
            trajectory = trace(job, task, observation, settings)
            labels = {"method": cell.method, "variant": cell.variant, "task": task.label, "denoiser": owner}
            for row in rows_of(job, trajectory, subject, settings):
                yield labels | seen_at(trajectory) | row


def cells_of(tier: Tier, pde: str, prior: str) -> list[Cell]:
    """Variants that run on a prior."""
    return [cell for cell in tier.cells if (cell.pde, cell.prior) == (pde, prior)]


def denoiser_fit(cell: Cell) -> FitEntry | None:
    """The fit of a method that walks through noisy states with a model of its own; None of all others."""
    return cell.fit if issubclass(load_method(cell.method), Iterative) else None


def is_of(fit: Fitted, entry: FitEntry) -> bool:
    """Whether a fit's file is that of an entry of the tier."""
    wanted = {"pde": entry.pde, "prior": entry.prior, "method": entry.method, "settings": asdict(entry.fit)}
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


def rows_of(job: Job, trajectory: Trajectory, subject: Subject, settings: JensenSettings) -> Iterator[Row]:
    """One row a level, and one that says what is not drawn."""
    if trajectory.visits is None:
        yield {"usable": False, "reason": trajectory.reason}
        return
    low = max(settings.lowest, job.prior.denoiser.sigma_min)
    high = min(settings.highest, job.prior.denoiser.sigma_max)
    inside = trajectory.visits.within(low, high)
    count, there = len(trajectory.visits.sigma) - len(inside.sigma), len(trajectory.visits.sigma)
    if len(inside.sigma):
        trained = job.module is not None or job.prior.kind == "network"
        yield from trajectory_rows(subject, settings, inside, trained=trained)
    if count:
        yield {"usable": False, "reason": f"{count} of {there} calls lie outside sigma = {low:g} to {high:g}"}


def chosen_tasks(job: Job, settings: JensenSettings) -> Iterator[tuple[Task, MaskObservation | None]]:
    """The unconditional task and the first observed one that the method does not skip, of those that its cell runs."""
    tasks = tasks_of(job.tier, job.cell)
    yield from ((task, None) for task in tasks if not task.observes and not configured(job, task)[0])
    states = job.dataset.split(SPLIT, settings.visits)
    for task in tasks:
        if task.observes:
            seen = observe_states(states, task, job.dataset, seed=job.tier.data.seed, first=SPLIT_START[SPLIT])
            if not configured(job, task, seen)[0]:
                yield task, seen
                return


def configured(job: Job, task: Task, observation: MaskObservation | None = None) -> tuple[str | None, Job, Problem]:
    """Why a method skips a task, the job with its settings, and the problem of all states."""
    own = replace(job, method=type(job.method)(job.cell.config_of(task.label)))
    problem = problem_of(own, task, observation)
    return own.method.skip(problem), own, problem


def trace(job: Job, task: Task, observation: MaskObservation | None, settings: JensenSettings) -> Trajectory:
    """The calls of ``settings.visits`` runs."""
    capabilities = job.method.capabilities
    if not capabilities.uses_prior:
        return Trajectory(reason="it calls no prior")
    if capabilities.trains and denoiser_fit(job.cell) is None:
        return Trajectory(reason="what it learns makes samples of noise at once: it visits no noisy state")
    if job.fit.status != "ok":
        return Trajectory(reason=f"its fit: {job.fit.reason}")
    _, own, problem = configured(job, task, observation)
    runs, levels, reason = together(own, problem, settings)
    if runs is None and not reason:
        runs, levels, reason = apart(own, problem, settings)
    if runs is None:
        return Trajectory(reason=reason)
    return Trajectory(PriorCalls.of_probes(runs), capabilities.residual_of if levels else "", tuple(levels))


Probes = list[tuple[Tensor, Tensor, Tensor]]  # of one run
Runs = tuple[list[Probes] | None, list[float], str]  # with the levels at which R is evaluated, and why there are none


def together(job: Job, problem: Problem, settings: JensenSettings) -> Runs:
    """All runs in one batch; None where some call of the prior is not about all of them, so that rows have no names."""
    count = settings.visits
    if job.method.capabilities.couples_batch:
        return None, [], ""
    probes, levels, reason = attempt(job, problem, range(count), settings)
    if reason or any(len(call[0]) != count for call in probes):
        return None, levels, reason
    runs = [[(sigma[i : i + 1], x[i : i + 1], d[i : i + 1]) for sigma, x, d in probes] for i in range(count)]
    return runs, levels, ""


def apart(job: Job, problem: Problem, settings: JensenSettings) -> Runs:
    """Each run on its own."""
    runs, levels = [], []
    for index in range(settings.visits):
        probes, seen, reason = attempt(job, problem, [index], settings)
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
    job: Job, problem: Problem, rows: Sequence[int], settings: JensenSettings
) -> tuple[Probes, list[float], str]:
    """Sample some states of a problem: calls of the denoiser, levels of evaluations of R, and why that has failed."""
    meter, levels = Meter(budget=settings.visit_calls, record=True), []
    meter.begin(len(rows))
    noise = KeyedNoise([key_of(job, problem.task, index, 0) for index in rows], device=job.device)
    watched = Watched(problem.subset(rows), meter, levels)
    try:
        if isinstance(job.method, Iterative):
            model = job.method.model(job.prior.denoiser, job.module)
            job.method.final_state(MeteredDenoiser(model, meter), watched, noise)
        else:
            job.method.sample(MeteredDenoiser(job.prior.denoiser, meter), watched, noise)
    except Exception as error:  # a plug-in's mistake is a row of the table
        return [], [], status_of(error)[1]
    return meter.probes, levels, ""


def cells_digest(cells: list[Cell]) -> str:
    """Settings of the variants of a prior, on which its table of visits depends."""
    return ";".join(f"{cell.key}:{cell.tasks}:{cell.config!r}:{dict(cell.by_task)!r}" for cell in cells)
