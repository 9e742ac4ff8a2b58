"""A tier: which data, priors, methods and tasks a run holds. YAML outside, frozen dataclasses inside."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jensenbench.core.method import Method
from jensenbench.core.tasks import TASKS, Task, find_task
from jensenbench.errors import UnknownName, UserError
from jensenbench.experiment.settings import (
    EXACT_KINDS,
    DataConfig,
    PDESettings,
    TaskSettings,
    TierSettings,
    TuningConfig,
    VariantEntry,
    read_settings,
)
from jensenbench.io.files import canonical_json, read_yaml
from jensenbench.io.provenance import ROOT, digest_text, public_modules
from jensenbench.jensen.settings import JensenSettings
from jensenbench.plugins.registry import load_method, make_pde, method_config
from jensenbench.priors.build import check_prior
from jensenbench.priors.pairs import PairSettings


@dataclass(frozen=True)
class PDEEntry:
    """One PDE of a tier; ``source`` = {file, format} where its data are imported."""

    name: str
    settings: Mapping[str, Any]
    label: str
    priors: tuple[str, ...]
    tasks: tuple[Task, ...]
    source: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One sampling job: a method's variant on one prior of one PDE; ``by_task`` holds what some tasks use instead."""

    pde: str
    prior: str
    method: str
    variant: str
    tasks: tuple[str, ...]
    config: Any
    tuned_trials: int
    by_task: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.pde}/{self.prior}/{self.method}/{self.variant}"

    def config_of(self, task: str) -> Any:
        """Settings of the method in a task."""
        return self.by_task.get(task, self.config)

    @property
    def fit(self) -> "FitEntry | None":
        """The fit whose module the method samples with, if it trains."""
        settings = getattr(self.config, "fit", None)
        return None if settings is None else FitEntry(self.pde, self.prior, self.method, settings)


@dataclass(frozen=True)
class PairsEntry:
    """Teacher pairs of one prior of one PDE, shared by all fits that want them."""

    pde: str
    prior: str
    settings: PairSettings

    @property
    def digest(self) -> str:
        return digest_settings(self.settings)

    @property
    def key(self) -> str:
        return f"{self.pde}/{self.prior}/{self.digest}"


@dataclass(frozen=True)
class FitEntry:
    """One fit of a method on one prior of one PDE, shared by all cells whose settings have the same ``fit``."""

    pde: str
    prior: str
    method: str
    fit: Any

    @property
    def digest(self) -> str:
        return digest_settings(self.fit)

    @property
    def key(self) -> str:
        return f"{self.pde}/{self.prior}/{self.method}/{self.digest}"

    @property
    def pairs(self) -> PairsEntry | None:
        """The teacher pairs that the fit learns from, if any."""
        settings = getattr(self.fit, "pairs", None)
        return None if settings is None else PairsEntry(self.pde, self.prior, settings)


@dataclass(frozen=True)
class Tier:
    """A checked tier; see ``config/default.yaml`` for what the keys mean."""

    name: str
    publish: bool | str
    seeds: tuple[int, ...]
    device: str
    threads: int
    data: DataConfig
    instances: int
    draws: int
    samples: int
    batch: int
    budget: float
    priors: Mapping[str, Mapping[str, Any]]
    pdes: tuple[PDEEntry, ...]
    methods: Mapping[str, Mapping[str, VariantEntry]]
    tuning: TuningConfig = field(default_factory=TuningConfig)
    jensen: JensenSettings | None = None

    @property
    def reports(self) -> Path:
        """Folder of the tier's report: below ``reports/`` for a tier that is published, else beside its results."""
        if self.publish is False:
            return Path("results", self.name, "reports")
        return Path("reports") if self.publish is True else Path("reports", self.publish)

    def pde(self, label: str) -> PDEEntry:
        """The entry of a PDE by its label."""
        for entry in self.pdes:
            if entry.label == label:
                return entry
        raise UnknownName("PDE label", label, [entry.label for entry in self.pdes])

    def tasks_of(self, label: str) -> tuple[Task, ...]:
        return self.pde(label).tasks

    def prior_settings(self, prior: str) -> dict[str, Any]:
        """Settings of a prior by its label, ``kind`` among them."""
        if prior not in self.priors:
            raise UnknownName("prior", prior, self.priors)
        return dict(self.priors[prior])

    def prior_kind(self, prior: str) -> str:
        return self.prior_settings(prior)["kind"]

    def prior_seed(self, prior: str, seed: int) -> int:
        """Exact priors do not depend on a training seed: they are built once, as seed 0."""
        return 0 if self.prior_kind(prior) in EXACT_KINDS else seed

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All sampling jobs, without their seeds."""
        return tuple(
            self._cell(entry, prior, load_method(method), variant, options)
            for entry in self.pdes
            for prior in entry.priors
            for method, variants in self.methods.items()
            for variant, options in variants.items()
            if self._wanted(entry, prior, options)
        )

    def cell(self, key: str) -> Cell:
        """A sampling job by ``pde/prior/method/variant``."""
        for cell in self.cells:
            if cell.key == key:
                return cell
        raise UnknownName("cell", key, [cell.key for cell in self.cells])

    @cached_property
    def fits(self) -> dict[str, FitEntry]:
        """All fits by their key, without their seeds."""
        found = [cell.fit for cell in self.cells if cell.fit is not None]
        return {fit.key: fit for fit in found}

    @cached_property
    def pairs(self) -> dict[str, PairsEntry]:
        """All sets of teacher pairs by their key, without their seeds."""
        found = [fit.pairs for fit in self.fits.values() if fit.pairs is not None]
        return {pairs.key: pairs for pairs in found}

    def fit(self, key: str) -> FitEntry:
        """A fit by ``pde/prior/method/digest``."""
        if key not in self.fits:
            raise UnknownName("fit", key, self.fits)
        return self.fits[key]

    def pairs_of(self, key: str) -> PairsEntry:
        """Teacher pairs by ``pde/prior/digest``."""
        if key not in self.pairs:
            raise UnknownName("teacher pairs", key, self.pairs)
        return self.pairs[key]

    def run_settings(self, cell: Cell) -> dict[str, Any]:
        """Everything of the configuration on which a sampling job's numbers depend."""
        shared = ("instances", "draws", "samples", "batch", "budget", "device", "threads")
        counts = {key: getattr(self, key) for key in shared}
        by_task = {task: asdict(config) for task, config in cell.by_task.items() if task in cell.tasks}
        settings = {"method": asdict(cell.config), **({"method_by_task": by_task} if by_task else {})}
        return {**settings, "tasks": list(cell.tasks), **counts}

    def untuned(self, cell: Cell) -> Any:
        """Settings of a cell before any tuning: its preset with the tier's own."""
        return method_config(load_method(cell.method), cell.variant, self.methods[cell.method][cell.variant].config)

    def _wanted(self, entry: PDEEntry, prior: str, options: VariantEntry) -> bool:
        kind_fits = not options.kinds or self.prior_kind(prior) in options.kinds
        prior_fits = not options.priors or prior in options.priors
        return kind_fits and prior_fits and (not options.pdes or entry.name in options.pdes)

    def _cell(self, entry: PDEEntry, prior: str, method: type[Method], variant: str, options: VariantEntry) -> Cell:
        tuned = tuned_settings(method.name)
        found, by_task = split_tasks(tuned.get("settings", {}).get(variant, {}).get(entry.name, {}))
        trials = tuned.get("trials", {}).get(variant, {}).get(entry.name, 0)
        config = method_config(method, variant, found, options.config)
        changed = {
            task: method_config(method, variant, {**found, **own}, options.config) for task, own in by_task.items()
        }
        if method.capabilities.trains != hasattr(config, "fit"):
            raise UserError(f"method {method.name}: capabilities.trains and a field `fit` of its Config go together")
        tasks = tuple(task.label for task in entry.tasks if not options.tasks or task.label in options.tasks)
        changed = {task: own for task, own in changed.items() if task in tasks and own != config}
        if any(getattr(own, "fit", None) != getattr(config, "fit", None) for own in changed.values()):
            raise UserError(f"config/methods/{method.name}.yaml: a task's settings must not change what the fit is")
        return Cell(entry.label, prior, method.name, variant, tasks, config, trials, changed)


def digest_settings(settings: Any) -> str:
    """Digest of a dataclass of settings: the name of what they make."""
    return digest_text(canonical_json(asdict(settings)))


def split_tasks(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Settings of a variant on a PDE in ``config/methods``: for all tasks, and what ``tasks:`` changes for each."""
    shared = {key: value for key, value in settings.items() if key != "tasks"}
    return shared, {task: dict(own) for task, own in settings.get("tasks", {}).items()}


def tuned_settings(method: str) -> dict[str, Any]:
    """Settings of ``config/methods/{method}.yaml``, empty when there are none."""
    path = ROOT / "config" / "methods" / f"{method}.yaml"
    return read_yaml(path) if path.exists() else {}


def read_tier(path: Path) -> Tier:
    """Parse and check a tier; every unknown name is refused with the nearest known one."""
    return parse_tier(read_yaml(path))


def parse_tier(raw: Mapping[str, Any]) -> Tier:
    """Build a :class:`Tier` from plain values."""
    settings = read_settings(raw)
    tasks = tuple(map(_task, settings.tasks))
    pdes = tuple(_pde(entry, settings.priors, tasks) for entry in settings.pdes)
    _refuse_duplicates([entry.label for entry in pdes])
    return Tier(
        name=settings.tier,
        publish=settings.publish,
        seeds=settings.seeds,
        device=settings.device,
        threads=settings.threads,
        data=settings.data,
        instances=settings.instances,
        draws=settings.draws,
        samples=settings.samples,
        batch=settings.batch,
        budget=float(settings.budget),
        priors=settings.priors,
        pdes=pdes,
        methods=_methods(settings),
        tuning=settings.tuning,
        jensen=settings.jensen,
    )


def _task(item: str | TaskSettings) -> Task:
    return find_task(item) if isinstance(item, str) else find_task(item.task, noise_std=float(item.noise_std))


def _pde(settings: PDESettings, priors: Mapping[str, Any], tasks: tuple[Task, ...]) -> PDEEntry:
    for prior in settings.priors:
        if prior not in priors:
            raise UnknownName("prior", prior, priors)
    pde = make_pde(settings.pde, settings.settings)
    tasks = tasks if settings.tasks is None else tuple(map(_task, settings.tasks))
    for task in tasks:
        reason = task.refusal(pde)
        if reason:
            raise UserError(f"{pde.label} has no task {task.name!r}: {reason}; list its own `tasks:` beside the PDE")
    for prior in settings.priors:
        check_prior(prior, priors[prior], pde, imported=settings.import_ is not None)
    return PDEEntry(
        name=settings.pde,
        settings=settings.settings,
        label=settings.label or pde.label,
        priors=settings.priors,
        tasks=tasks,
        source=asdict(settings.import_) if settings.import_ else {},
    )


def _methods(settings: TierSettings) -> dict[str, dict[str, VariantEntry]]:
    chosen = dict(settings.methods)
    if settings.extra_methods:
        for name in public_modules("methods"):
            chosen.setdefault(name, {next(iter(load_method(name).variants)): None})
    return {
        method: {variant: _variant(method, variant, entry, settings.priors) for variant, entry in variants.items()}
        for method, variants in chosen.items()
    }


def _variant(method: str, variant: str, entry: VariantEntry | None, priors: Mapping[str, Any]) -> VariantEntry:
    """The entry of a variant, whose names and overrides exist."""
    entry = entry or VariantEntry()
    method_config(load_method(method), variant, entry.config)
    known = {"prior": (entry.priors, priors), "PDE": (entry.pdes, public_modules("pdes"))}
    known["task"] = (tuple(task.split("_noise")[0] for task in entry.tasks), TASKS)
    for kind, (names, existing) in known.items():
        for name in names:
            if name not in existing:
                raise UnknownName(f"{kind} of {method}/{variant}", name, existing)
    return entry


def _refuse_duplicates(labels: list[str]) -> None:
    repeated = {label for label in labels if labels.count(label) > 1}
    if repeated:
        raise UserError(f"several PDEs of the tier are labelled {sorted(repeated)}; give them a `label:`")
