"""What one tier left behind, as the reports read it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jensenbench.core.tasks import TASKS
from jensenbench.data.dataset import Dataset, load_dataset
from jensenbench.errors import UserError
from jensenbench.experiment.config import EXACT_KINDS
from jensenbench.io.files import open_hdf5, read_yaml
from jensenbench.io.layout import Layout
from jensenbench.io.schema import TIMING_COLUMNS
from jensenbench.io.tables import read_tables

CONTROL = "control"


@dataclass(frozen=True)
class Results:
    """Runs, metrics and timings of a tier, with its plain settings and its files."""

    layout: Layout
    settings: Mapping[str, Any]
    runs: pd.DataFrame
    metrics: pd.DataFrame
    timings: pd.DataFrame

    @property
    def tier(self) -> str:
        return self.settings["tier"]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """(pde, prior) in the order of the configuration, then of the alphabet."""
        found = sorted(set(zip(self.runs["pde"], self.runs["prior"], strict=True)))
        order = list(self.settings.get("priors", {}))
        return sorted(found, key=lambda pair: (pair[0], order.index(pair[1]) if pair[1] in order else len(order)))

    def tasks(self, pde: str, prior: str) -> list[str]:
        """Tasks that were run, in the suite's order, noise-free ones first."""
        chosen = self.select(pde, prior)["task"].unique()
        names = list(TASKS)

        def position(label: str) -> tuple[int, str]:
            name = label.split("_noise")[0]
            return (names.index(name) if name in names else len(names), label)

        return sorted(chosen, key=position)

    def select(self, pde: str, prior: str, task: str | None = None) -> pd.DataFrame:
        """Runs of a (pde, prior), of one task or of all."""
        chosen = (self.runs["pde"] == pde) & (self.runs["prior"] == prior)
        return self.runs[chosen if task is None else chosen & (self.runs["task"] == task)]

    def dataset(self, pde: str) -> Dataset:
        return load_dataset(self.layout.data(pde))

    def training(self, pde: str, prior: str) -> pd.DataFrame:
        """Training logs of all seeds of a prior, one row per check; empty for a closed form."""
        folder = self.layout.prior(pde, prior, 0).parent
        logs = [(seed, folder / f"{seed}.log.csv") for seed in sorted(self.runs["seed"].unique())]
        parts = [pd.read_csv(path).assign(prior=prior, seed=seed) for seed, path in logs if path.exists()]
        parts = [log for log in parts if len(log)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"prior": [], "seed": []})

    def jensen(self, pde: str, prior: str) -> list[Path]:
        """Tables of the stage ``jensen`` of all seeds of a prior; none of a tier that has not run it."""
        folder = self.layout.root / "jensen" / pde / prior
        return sorted(path for path in folder.glob("*.csv") if path.stem.isdigit())

    def exact(self, prior: str) -> bool:
        """Whether the prior is known in closed form rather than trained."""
        return self.settings.get("priors", {}).get(prior, {}).get("kind") in EXACT_KINDS

    def suffix(self, pde: str, prior: str) -> str:
        """Part of a file name that tells the priors of a PDE apart, empty where there is one."""
        return f"{pde}_{prior}" if sum(label == pde for label, _ in self.pairs) > 1 else pde


def load_results(config: Path, root: Path) -> Results:
    """Read a tier's collected tables; missing or foreign ones are one clear error."""
    tables = read_tables(root)
    if tables["runs"].empty:
        raise UserError(f"{root / 'runs.csv.gz'} holds no run: sample and evaluate first")
    beside = pd.DataFrame(list(_timings_beside(root)), columns=[*TIMING_COLUMNS, "states_per_second"])
    frames = [frame for frame in (tables["timings"], beside) if not frame.empty]
    timings = pd.concat(frames, ignore_index=True).reindex(columns=beside.columns) if frames else beside
    return Results(Layout(root), read_yaml(config), tables["runs"], tables["metrics"], timings)


_STAGES = {  # folder: stage, and what the parts of a path below it are
    "data": ("generate", ("pde",)),
    "priors": ("train", ("pde", "prior", "seed")),
    "pairs": ("pairs", ("pde", "prior", "variant", "seed")),
    "fits": ("fit", ("pde", "prior", "method", "variant", "seed")),
    "evaluation": ("evaluate", ("pde", "prior", "seed")),
}


def _timings_beside(root: Path) -> Iterator[dict[str, Any]]:
    """Timing rows that stages keep as ``*.timing.json`` beside their files; settings' digests stand for variants."""
    for path in sorted(root.rglob("*.timing.json")):
        folder, *labels = path.relative_to(root).parts
        if folder in _STAGES:
            labels[-1] = labels[-1].removesuffix(".timing.json")
            stage, names = _STAGES[folder]
            yield {**read_yaml(path), **dict(zip(names, labels, strict=False)), "stage": stage}


def read_samples(path: Path, task: str) -> np.ndarray | None:
    """Sampled fields (instance, draw, C, *grid) of a task as float64, None where there are none."""
    with open_hdf5(path) as file:
        group: Any = file.get(task)
        if group is None or "fields" not in group:
            return None
        return np.asarray(group["fields"], dtype=np.float64)
