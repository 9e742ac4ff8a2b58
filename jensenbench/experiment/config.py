"""A tier: which data, priors, methods and tasks a run holds. YAML outside, frozen dataclasses inside."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jensenbench.core.method import Method
from jensenbench.core.settings import configure
from jensenbench.core.tasks import Task, find_task
from jensenbench.errors import UnknownName, UserError
from jensenbench.io.files import read_yaml
from jensenbench.io.provenance import public_modules
from jensenbench.jensen.settings import JensenSettings
from jensenbench.plugins.registry import load_method, make_pde, method_config

EXACT_KINDS = ("gaussian", "mixture", "empirical")
PRIOR_KINDS = (*EXACT_KINDS, "network")


@dataclass(frozen=True)
class DataConfig:
    """Data seed and number of states of each split."""

    seed: int = 0
    train: int = 2000
    validation: int = 256
    test: int = 16
    reference: int = 2000

    @property
    def sizes(self) -> dict[str, int]:
        return {"train": self.train, "validation": self.validation, "test": self.test, "reference": self.reference}


@dataclass(frozen=True)
class TuningConfig:
    """Trials of each method, PDE and task, and the validation states that each of them sees."""

    trials: int = 8
    instances: int = 8
    draws: int = 4
    samples: int = 256

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise UserError(f"tuning: {name} = {value!r} must be a positive whole number")


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
class VariantEntry:
    """One variant of a method with its restrictions and overrides; empty tuples mean no restriction."""

    kinds: tuple[str, ...] = ()
    priors: tuple[str, ...] = ()
    pdes: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


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


def read_tier(path: Path) -> Tier:
    """Parse and check a tier; every unknown name is refused with the nearest known one."""
    return parse_tier(read_yaml(path))


def parse_tier(raw: Mapping[str, Any]) -> Tier:
    """Build a :class:`Tier` from plain values."""
    _check_keys(raw)
    priors = {label: _prior(label, settings) for label, settings in raw["priors"].items()}
    default_tasks = tuple(_task(item) for item in raw["tasks"])
    pdes = tuple(_pde(entry, priors, default_tasks) for entry in raw["pdes"])
    _refuse_duplicates([entry.label for entry in pdes])
    data = configure("data setting", DataConfig(), raw.get("data", {}))
    tier = Tier(
        name=raw["tier"],
        publish=raw.get("publish", False),
        seeds=tuple(raw.get("seeds", [0])),
        device=raw.get("device", "cpu"),
        threads=raw.get("threads", 1),
        data=data,
        instances=_positive(raw, "instances", 4),
        draws=_positive(raw, "draws", 4),
        samples=_positive(raw, "samples", 512),
        batch=_positive(raw, "batch", 128),
        budget=float(raw.get("budget", 1e9)),
        priors=priors,
        pdes=pdes,
        methods=_methods(raw["methods"], priors, extra=raw.get("extra_methods", False)),
        tuning=configure("tuning setting", TuningConfig(), raw.get("tuning", {})),
        jensen=configure("jensen setting", JensenSettings(), raw["jensen"]) if "jensen" in raw else None,
    )
    if tier.instances > data.test:
        raise UserError(f"instances = {tier.instances} needs as many test states, data.test is {data.test}")
    if tier.tuning.instances > data.validation:
        raise UserError(
            f"tuning: instances = {tier.tuning.instances} needs as many validation states, data.validation is "
            f"{data.validation}"
        )
    if tier.jensen:
        _require_states(tier.jensen, data)
    return tier


def _require_states(jensen: JensenSettings, data: DataConfig) -> None:
    """Refuse curves of more states than the tier generates."""
    for key, split in (("law_states", "train"), ("states", "validation"), ("visits", "validation")):
        wanted, there = getattr(jensen, key), data.sizes[split]
        if wanted > there:
            raise UserError(f"jensen: {key} = {wanted} needs as many {split} states, data.{split} is {there}")


_REQUIRED = ("tier", "priors", "pdes", "tasks", "methods")
_OPTIONAL = (
    "publish", "seeds", "device", "threads", "data", "instances", "draws", "samples", "batch", "budget",
    "extra_methods", "tuning", "jensen",
)  # fmt: skip


def _check_keys(raw: Mapping[str, Any]) -> None:
    for key in raw:
        if key not in (*_REQUIRED, *_OPTIONAL):
            raise UnknownName("config key", key, (*_REQUIRED, *_OPTIONAL))
    for key in _REQUIRED:
        if key not in raw:
            raise UserError(f"the configuration lacks {key!r}; see config/default.yaml")
    if raw.get("device", "cpu") not in ("cpu", "cuda"):
        raise UnknownName("device", raw["device"], ("cpu", "cuda"))


def _positive(raw: Mapping[str, Any], key: str, default: int) -> int:
    value = raw.get(key, default)
    if not isinstance(value, int) or value < 1:
        raise UserError(f"{key} = {value!r} must be a positive whole number")
    return value


def _prior(label: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    if settings.get("kind") not in PRIOR_KINDS:
        raise UnknownName(f"kind of prior {label!r}", settings.get("kind"), PRIOR_KINDS)
    return settings


def _task(item: str | Mapping[str, Any]) -> Task:
    if isinstance(item, str):
        return find_task(item)
    for key in item:
        if key not in ("task", "noise_std"):
            raise UnknownName("task setting", key, ("task", "noise_std"))
    return find_task(item["task"], noise_std=float(item.get("noise_std", 0)))


def _pde(raw: Mapping[str, Any], priors: Mapping[str, Any], tasks: tuple[Task, ...]) -> PDEEntry:
    known = ("pde", "settings", "label", "priors", "tasks", "import")
    for key in raw:
        if key not in known:
            raise UnknownName("PDE setting", key, known)
    for prior in raw["priors"]:
        if prior not in priors:
            raise UnknownName("prior", prior, priors)
    settings = raw.get("settings", {})
    pde = make_pde(raw["pde"], settings)
    tasks = tuple(_task(item) for item in raw["tasks"]) if "tasks" in raw else tasks
    for task in tasks:
        reason = task.unsupported(pde)
        if reason:
            raise UserError(f"{pde.label} has no task {task.name!r}: {reason}; list its own `tasks:` beside the PDE")
    return PDEEntry(
        name=raw["pde"],
        settings=settings,
        label=raw.get("label") or pde.label,
        priors=tuple(raw["priors"]),
        tasks=tasks,
        source=raw.get("import", {}),
    )


def _methods(raw: Mapping[str, Any], priors: Mapping[str, Any], *, extra: bool) -> dict[str, dict[str, VariantEntry]]:
    chosen = dict(raw)
    if extra:
        for name in public_modules("methods"):
            chosen.setdefault(name, {next(iter(load_method(name).variants)): {}})
    return {method: _variants(load_method(method), variants, priors) for method, variants in chosen.items()}


def _variants(method: type[Method], raw: Mapping[str, Any], priors: Mapping[str, Any]) -> dict[str, VariantEntry]:
    entries = {}
    for variant, options in raw.items():
        method_config(method, variant, (options or {}).get("config", {}))
        entries[variant] = entry = configure(f"option of {method.name}/{variant}", VariantEntry(), options or {})
        for prior in entry.priors:
            if prior not in priors:
                raise UnknownName(f"prior of {method.name}/{variant}", prior, priors)
    return entries


def _refuse_duplicates(labels: list[str]) -> None:
    repeated = {label for label in labels if labels.count(label) > 1}
    if repeated:
        raise UserError(f"several PDEs of the tier are labelled {sorted(repeated)}; give them a `label:`")
