"""Declaration of a tier's configuration: the keys of ``config/*.yaml``, their types, limits, defaults and meaning.

The checks of a configuration, the JSON schema and the tables of the documentation are made from these dataclasses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from annotated_types import MinLen
from pydantic import StringConstraints, WithJsonSchema

from jensenbench.core.annotations import Count, Natural, NonNegative, Positive, Words
from jensenbench.core.settings import build
from jensenbench.errors import UnknownName, UserError
from jensenbench.jensen.settings import JensenSettings

ExactKind = Literal["gaussian", "mixture", "empirical"]
PriorKind = Literal[ExactKind, "network"]
EXACT_KINDS: tuple[str, ...] = get_args(ExactKind)
PRIOR_KINDS: tuple[str, ...] = get_args(PriorKind)
RESERVED = ("tables", "figures")  # folders of the published report itself

Label = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$"),
    Words("a name of letters, digits, `_`, `.` and `-`", "names of letters, digits, `_`, `.` and `-`"),
]
Folder = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_-]+$"),
    Words("the name of a folder", "names of folders"),
]
Prior = Annotated[
    Mapping[str, Any],
    WithJsonSchema({"type": "object", "required": ["kind"], "properties": {"kind": {"enum": list(PRIOR_KINDS)}}}),
]


@dataclass(frozen=True)
class DataConfig:
    """Data seed and number of states of each split.

    Attributes:
        seed: of the data; a constant of the tier.
        train: states that priors and fits learn from.
        validation: states of the validation loss, of tuning and of the Jensen gap.
        test: states from which observations are drawn.
        reference: states with which samples are compared as distributions.
    """

    seed: Natural = 0
    train: Count = 2000
    validation: Count = 256
    test: Count = 16
    reference: Count = 2000

    @property
    def sizes(self) -> dict[str, int]:
        return {"train": self.train, "validation": self.validation, "test": self.test, "reference": self.reference}


@dataclass(frozen=True)
class TuningConfig:
    """Trials of each method, PDE and task, and the validation states that each of them sees.

    Attributes:
        trials: of each method, PDE and task.
        instances: validation states of an observed task.
        draws: samples of each of them.
        samples: states of the unconditional task.
    """

    trials: Count = 8
    instances: Count = 8
    draws: Count = 4
    samples: Count = 256


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """A task with noise on its observations.

    Attributes:
        task: name of the task.
        noise_std: standard deviation of the noise, in units of each field's own.
    """

    task: str
    noise_std: NonNegative = 0.0


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """A published data file.

    Attributes:
        file: path of the file.
        format: name of its format.
    """

    file: str
    format: str


Tasks = Annotated[tuple[str | TaskSettings, ...], MinLen(1)]


@dataclass(frozen=True, kw_only=True)
class PDESettings:
    """One PDE of a tier.

    Attributes:
        pde: name of the PDE.
        settings: of the PDE; what is left out has the PDE's defaults.
        label: name of its data and results; left out: made from the settings.
        priors: labels of the priors on which methods run.
        tasks: instead of the tier's.
        import_: data that are read from a published file instead of generated.
    """

    pde: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    label: Label | None = None
    priors: Annotated[tuple[str, ...], MinLen(1)]
    tasks: Tasks | None = None
    import_: ImportSettings | None = None


@dataclass(frozen=True)
class VariantEntry:
    """One variant of a method with its restrictions and overrides; an empty list is no restriction.

    Attributes:
        kinds: kinds of priors on which the variant runs.
        priors: labels of priors on which it runs.
        pdes: names of PDEs on which it runs.
        tasks: labels of tasks that it does.
        config: settings of the method instead of the variant's preset.
    """

    kinds: tuple[PriorKind, ...] = ()
    priors: tuple[str, ...] = ()
    pdes: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TierSettings:
    """A tier of the benchmark.

    Attributes:
        tier: name of the tier, and of its folder below `results/`.
        publish: whether the tier writes `reports/`, or which sub-folder of it.
        seeds: of training, initialisation and sampling noise.
        device: of trained priors and of what calls them; exact priors run on the CPU.
        threads: of a job; part of every run's key.
        data: data seed and sizes of the splits.
        instances: test states of an observed task.
        draws: samples of each of them, from latents of their own.
        samples: states of the unconditional task.
        batch: states of one network call; part of every run's key.
        budget: network evaluations allowed per state.
        tuning: sizes of the trials of `make tune`.
        jensen: the stage of the Jensen gap; left out: no such stage.
        priors: label of a prior: its `kind` and the settings of that kind.
        pdes: the PDEs, with their priors.
        tasks: names, or `{task, noise_std}`, of the tasks of all PDEs that have no list of their own.
        methods: method: variant: restrictions and overrides.
        extra_methods: also run every other method found, with its first variant.
    """

    tier: Label
    publish: bool | Folder = False
    seeds: Annotated[tuple[Natural, ...], MinLen(1)] = (0,)
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Count = 1
    data: DataConfig = field(default_factory=DataConfig)
    instances: Count = 4
    draws: Count = 4
    samples: Count = 512
    batch: Count = 128
    budget: Positive = 1e9
    tuning: TuningConfig = field(default_factory=TuningConfig)
    jensen: JensenSettings | None = None
    priors: Annotated[Mapping[Label, Prior], MinLen(1)]
    pdes: Annotated[tuple[PDESettings, ...], MinLen(1)]
    tasks: Tasks
    methods: Annotated[Mapping[str, Mapping[str, VariantEntry | None]], MinLen(1)]
    extra_methods: bool = False

    def __post_init__(self) -> None:
        if self.publish in RESERVED:
            raise UserError(f"publish = {self.publish!r} is a folder of reports/ itself; choose another name")
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds = {list(self.seeds)} repeats a seed; list each of them once")
        for label, settings in self.priors.items():
            if settings.get("kind") not in PRIOR_KINDS:
                raise UnknownName(f"kind of prior {label!r}", settings.get("kind"), PRIOR_KINDS)
        _require_states(self)


def read_settings(raw: Mapping[str, Any]) -> TierSettings:
    """Check the plain values of a configuration; what is wrong raises UserError with one line."""
    return build("config key", TierSettings, raw)


def _require_states(tier: TierSettings) -> None:
    """Refuse jobs that use more states than the tier has."""
    used = [("instances", tier.instances, "test"), ("tuning: instances", tier.tuning.instances, "validation")]
    if tier.jensen:
        splits = {"law_states": "train", "states": "validation", "visits": "validation"}
        used += [(f"jensen: {key}", getattr(tier.jensen, key), split) for key, split in splits.items()]
    for key, wanted, split in used:
        there = tier.data.sizes[split]
        if wanted > there:
            raise UserError(f"{key} = {wanted} needs as many {split} states, data.{split} is {there}")
