"""Jobs: one small record for each run of a stage, with all that the stage reads of the configuration.

The plan writes the records as JSON files, the workflow hands a stage its file, and the digest of a record tells
whether a result is stale: a setting that a job does not hold cannot make it run again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from jensenbench.core.tasks import Task
from jensenbench.errors import UserError
from jensenbench.io.files import canonical_json
from jensenbench.io.provenance import digest_text
from jensenbench.jensen.settings import JensenSettings

Record = TypeVar("Record")
Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class GenerateJob:
    """States of one PDE: drawn from their distribution, or imported from ``source`` = {file, format}."""

    label: str
    pde: str
    settings: Settings
    sizes: Mapping[str, int]
    seed: int
    source: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.label


@dataclass(frozen=True, kw_only=True)
class ObserveJob:
    """Observations of the first ``instances`` test states of one PDE."""

    label: str
    tasks: tuple[Task, ...]
    instances: int
    seed: int

    @property
    def key(self) -> str:
        return self.label


@dataclass(frozen=True, kw_only=True)
class PriorJob:
    """What every job on one prior of one PDE reads; ``prior_settings`` hold its ``kind``."""

    pde: str
    prior: str
    prior_settings: Settings
    seed: int
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class TrainJob(PriorJob):
    """One prior of one PDE."""

    @property
    def key(self) -> str:
        return f"{self.pde}/{self.prior}/{self.seed}"


@dataclass(frozen=True, kw_only=True)
class PairsJob(PriorJob):
    """Teacher pairs of one prior, which all fits with these settings share."""

    settings: Settings

    @property
    def key(self) -> str:
        return f"{self.pde}/{self.prior}/{digest(self.settings)}/{self.seed}"


@dataclass(frozen=True, kw_only=True)
class FitJob(PriorJob):
    """What one method learns on one prior, shared by all samples of the method with these settings ``fit``."""

    method: str
    fit: Settings

    @property
    def key(self) -> str:
        return f"{self.pde}/{self.prior}/{self.method}/{digest(self.fit)}/{self.seed}"


@dataclass(frozen=True, kw_only=True)
class SampleJob(PriorJob):
    """Samples of one variant of a method on one prior.

    Attributes:
        variant: name in every table; ``preset`` is the method's own variant whose settings ``config`` replaces.
        by_task: settings that a task has instead of ``config``, by its label.
        tuned_trials: number of trials from which a task's settings were chosen, by its label.
        instances, draws: of an observed task; ``samples`` states of the unconditional one.
        batch: states of one network call.
        budget: network evaluations allowed per state.
    """

    method: str
    variant: str
    preset: str
    config: Settings
    by_task: Mapping[str, Settings] = field(default_factory=dict)
    tuned_trials: Mapping[str, int] = field(default_factory=dict)
    tasks: tuple[Task, ...]
    instances: int
    draws: int
    samples: int
    batch: int
    budget: float

    @property
    def cell(self) -> str:
        """Name of the job without its seed."""
        return f"{self.pde}/{self.prior}/{self.method}/{self.variant}"

    @property
    def key(self) -> str:
        return f"{self.cell}/{self.seed}"

    def settings(self) -> dict[str, Any]:
        """Everything of the configuration on which the numbers depend, as it is stored with them."""
        shared = ("instances", "draws", "samples", "batch", "budget", "device", "threads")
        changed = {"method_by_task": dict(self.by_task)} if self.by_task else {}
        tasks = [task.label for task in self.tasks]
        return {"method": self.config, **changed, "tasks": tasks, **{key: getattr(self, key) for key in shared}}

    def fit(self) -> FitJob | None:
        """The fit whose module the method samples with, if it learns."""
        if "fit" not in self.config:
            return None
        return FitJob(method=self.method, fit=self.config["fit"], **shared(self))


@dataclass(frozen=True, kw_only=True)
class TuneJob:
    """Trials of one variant's settings on validation states; masks and noise come from ``data_seed``."""

    trials: tuple[SampleJob, ...]
    data_seed: int


@dataclass(frozen=True, kw_only=True)
class JensenJob:
    """Curves of the Jensen gap of one prior, and the methods that are traced where they call it."""

    pde: str
    settings: JensenSettings
    samples: tuple[SampleJob, ...] = ()
    data_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class WinnersJob:
    """How a tier's trials become settings: the PDE of each label, and the states that a trial saw."""

    tier: str
    pdes: Mapping[str, str]
    instances: int
    draws: int
    samples: int


def shared(job: PriorJob) -> dict[str, Any]:
    """What a job hands on to the jobs whose results it reads: prior, seed, machine."""
    return {one.name: getattr(job, one.name) for one in fields(PriorJob)}


def digest(settings: Any) -> str:
    """Digest of a record or a mapping of settings: the name of what they make."""
    return digest_text(canonical_json(settings if isinstance(settings, Mapping) else asdict(settings)))


def read_job(path: Path, kind: type[Record]) -> Record:
    """A job's record from its file; raises UserError where the file is none of this kind."""
    try:
        return TypeAdapter(kind).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UserError(f"{path} is no job of this stage ({reason}); start the workflow again to write it") from error
