"""All jobs of a tier, stage by stage."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, TypeVar

from jensenbench.core.method import Method
from jensenbench.core.settings import configure
from jensenbench.core.tasks import Task
from jensenbench.errors import UserError
from jensenbench.evaluation.tuning import proposals, trial_name, tuned_ranges
from jensenbench.experiment.config import PDEEntry, Tier, VariantEntry
from jensenbench.experiment.jobs import (
    FitJob,
    GenerateJob,
    JensenJob,
    ObserveJob,
    PairsJob,
    SampleJob,
    TrainJob,
    TuneJob,
    WinnersJob,
    shared,
)
from jensenbench.experiment.tuned import Tuned, find_tuned
from jensenbench.plugins.registry import load_method, method_config


class Keyed(Protocol):
    """A record that names itself."""

    @property
    def key(self) -> str: ...


Job = TypeVar("Job", bound=Keyed)


@dataclass(frozen=True)
class Jobs:
    """The records of a tier by their keys; trials and curves by the key of the samples or of the prior."""

    generate: Mapping[str, GenerateJob]
    observe: Mapping[str, ObserveJob]
    train: Mapping[str, TrainJob]
    pairs: Mapping[str, PairsJob]
    fit: Mapping[str, FitJob]
    sample: Mapping[str, SampleJob]
    tune: Mapping[str, TuneJob]
    jensen: Mapping[str, JensenJob]
    winners: WinnersJob


def expand(tier: Tier) -> Jobs:
    """All jobs of a tier."""
    samples = by_key(sample_jobs(tier))
    fits = by_key(filter(None, (job.fit() for job in samples.values())))
    trains = by_key(train_jobs(tier))
    return Jobs(
        generate=by_key(generate_job(tier, entry) for entry in tier.pdes),
        observe=by_key(observe_job(tier, entry) for entry in tier.pdes),
        train=trains,
        pairs=by_key(filter(None, map(pairs_job, fits.values()))),
        fit=fits,
        sample=samples,
        tune={key: tune_job(tier, job) for key, job in samples.items() if job.seed == min(tier.seeds)},
        jensen=jensen_jobs(tier, trains, samples),
        winners=winners_job(tier),
    )


def by_key(jobs: Iterable[Job]) -> dict[str, Job]:
    """Jobs by their keys; equal jobs are one."""
    return {job.key: job for job in jobs}


def generate_job(tier: Tier, entry: PDEEntry) -> GenerateJob:
    """The data of one PDE."""
    return GenerateJob(
        label=entry.label, pde=entry.name, settings=entry.settings, sizes=tier.data.sizes, seed=tier.data.seed,
        source=entry.source,
    )  # fmt: skip


def observe_job(tier: Tier, entry: PDEEntry) -> ObserveJob:
    """The observations of one PDE."""
    return ObserveJob(label=entry.label, tasks=entry.tasks, instances=tier.instances, seed=tier.data.seed)


def train_jobs(tier: Tier) -> Iterator[TrainJob]:
    """One prior for each seed; exact priors are built once."""
    for entry in tier.pdes:
        for prior in entry.priors:
            machine = {"device": tier.device_of(prior), "threads": tier.threads}
            for seed in sorted({tier.prior_seed(prior, seed) for seed in tier.seeds}):
                settings = tier.prior_settings(prior)
                yield TrainJob(pde=entry.label, prior=prior, prior_settings=settings, seed=seed, **machine)


def pairs_job(fit: FitJob) -> PairsJob | None:
    """The teacher pairs that a fit learns from, if any."""
    if "pairs" not in fit.fit:
        return None
    return PairsJob(settings=fit.fit["pairs"], **shared(fit))


def sample_jobs(tier: Tier) -> Iterator[SampleJob]:
    """Samples of all variants on all priors that they want, with each seed."""
    for entry in tier.pdes:
        for prior in entry.priors:
            for method, variants in tier.methods.items():
                for variant, options in variants.items():
                    if is_wanted(tier, entry, prior, options):
                        job = sample_job(tier, entry, prior, load_method(method), variant, options)
                        yield from (replace(job, seed=seed) for seed in tier.seeds)


def is_wanted(tier: Tier, entry: PDEEntry, prior: str, options: VariantEntry) -> bool:
    """Whether a variant's restrictions admit a prior of a PDE."""
    kind_fits = not options.kinds or tier.prior_kind(prior) in options.kinds
    prior_fits = not options.priors or prior in options.priors
    return kind_fits and prior_fits and (not options.pdes or entry.name in options.pdes)


def sample_job(
    tier: Tier, entry: PDEEntry, prior: str, method: type[Method], variant: str, options: VariantEntry
) -> SampleJob:
    """Samples of a variant with the first seed: its preset, then the tuned settings, then the tier's own."""
    tuned = find_tuned(method.name, variant, entry.name, entry.label)
    config = method_config(method, variant, tuned.shared, options.config)
    if method.capabilities.trains != hasattr(config, "fit"):
        raise UserError(f"method {method.name}: capabilities.trains and a field `fit` of its Config go together")
    tasks = tuple(task for task in entry.tasks if not options.tasks or task.label in options.tasks)
    by_task = {
        task.label: method_config(method, variant, {**tuned.shared, **tuned.by_task[task.label]}, options.config)
        for task in tasks
        if task.label in tuned.by_task
    }
    if any(getattr(own, "fit", None) != getattr(config, "fit", None) for own in by_task.values()):
        raise UserError(f"config/methods/{method.name}.yaml: a task's settings must not change what the fit is")
    return SampleJob(
        pde=entry.label, prior=prior, prior_settings=tier.prior_settings(prior), method=method.name, variant=variant,
        preset=variant, config=asdict(config), tasks=tasks, tuned_trials=tuned_trials(tuned, tasks, options),
        seed=tier.seeds[0],
        by_task={task: asdict(own) for task, own in by_task.items() if own != config},
        instances=tier.instances, draws=tier.draws, samples=tier.samples, batch=tier.batch, budget=tier.budget,
        device=tier.device_of(prior), threads=tier.threads,
    )  # fmt: skip


def tuned_trials(tuned: Tuned, tasks: Iterable[Task], options: VariantEntry) -> dict[str, int]:
    """Trials behind the settings that each task runs with, where there are any and the tier does not replace these."""
    return {
        task.label: tuned.trials[task.label]
        for task in tasks
        if task.label in tuned.trials and not set(tuned.by_task.get(task.label, {})) & set(options.config)
    }


def tune_job(tier: Tier, job: SampleJob) -> TuneJob:
    """Trials of a variant on validation states, named ``tune-07-variant``.

    Trial 0 is the preset with the tier's settings; a variant that tuning leaves alone has one trial, as it runs.
    """
    method, sizes = load_method(job.method), tier.tuning
    free = bool(tuned_ranges(method, job.variant))
    own = tier.methods[job.method][job.variant].config
    config: Any = method_config(method, job.variant, own if free else job.config)
    first = replace(
        job, config=asdict(config), by_task={} if free else job.by_task, tuned_trials={}, instances=sizes.instances,
        draws=sizes.draws, samples=sizes.samples,
    )  # fmt: skip
    changes = enumerate(proposals(method, job.variant, sizes.trials))
    trials = tuple(
        replace(
            first,
            variant=trial_name(number, job.variant),
            config=asdict(configure(f"{job.method} setting", config, change)),
        )
        for number, change in changes
    )
    return TuneJob(trials=trials, data_seed=tier.data.seed)


def jensen_jobs(tier: Tier, trains: Mapping[str, TrainJob], samples: Mapping[str, SampleJob]) -> dict[str, JensenJob]:
    """Curves of every prior with its first seed; its variants are traced with the first seed that reads it."""
    if tier.jensen is None:
        return {}
    jobs = {}
    for train in trains.values():
        if train.seed == tier.prior_seed(train.prior, min(tier.seeds)):
            same = (job for job in samples.values() if (job.pde, job.prior) == (train.pde, train.prior))
            traced = tuple(job for job in same if job.seed == min(tier.seeds)) if tier.jensen.visits else ()
            jobs[train.key] = JensenJob(pde=train.pde, settings=tier.jensen, samples=traced, data_seed=tier.data.seed)
    return jobs


def winners_job(tier: Tier) -> WinnersJob:
    """How the trials of a tier become settings."""
    sizes = tier.tuning
    return WinnersJob(
        tier=tier.name, pdes={entry.label: entry.name for entry in tier.pdes}, instances=sizes.instances,
        draws=sizes.draws, samples=sizes.samples,
    )  # fmt: skip
