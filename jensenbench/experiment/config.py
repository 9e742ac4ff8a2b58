"""A tier: which data, priors, methods and tasks a run holds. YAML outside, frozen dataclasses inside."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
from jensenbench.io.files import read_yaml
from jensenbench.io.sources import public_modules
from jensenbench.jensen.settings import JensenSettings
from jensenbench.plugins.registry import load_method, make_pde, method_config
from jensenbench.priors.build import check_prior


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

    def prior_settings(self, prior: str) -> dict[str, Any]:
        """Settings of a prior by its label, ``kind`` among them."""
        if prior not in self.priors:
            raise UnknownName("prior", prior, self.priors)
        return dict(self.priors[prior])

    def prior_kind(self, prior: str) -> str:
        return self.prior_settings(prior)["kind"]

    def device_of(self, prior: str) -> str:
        """Exact priors run on the CPU, with whatever calls them; a network runs on the tier's device."""
        return "cpu" if self.prior_kind(prior) in EXACT_KINDS else self.device

    def prior_seed(self, prior: str, seed: int) -> int:
        """Exact priors do not depend on a training seed: they are built once, as seed 0."""
        return 0 if self.prior_kind(prior) in EXACT_KINDS else seed


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
        reason = task.unsupported(pde)
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
