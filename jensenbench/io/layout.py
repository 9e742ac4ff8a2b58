"""Directory layout of results: where each stage of the workflow reads and writes."""

from dataclasses import dataclass
from pathlib import Path

POSTERIORS = Path("results/published/posteriors")  # reference posteriors, below the repository's root


@dataclass(frozen=True)
class Layout:
    """Paths of one tier below ``results/{tier}``; the workflow's rules use the same patterns."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration of the last run."""
        return self.root / "config.json"

    def job(self, stage: str, key: str) -> Path:
        """Record of a job: all that its stage reads of the configuration."""
        return self.root / "jobs" / stage / f"{key}.json"

    def data(self, pde: str) -> Path:
        return self.root / "data" / f"{pde}.h5"

    def observations(self, pde: str) -> Path:
        return self.root / "observations" / f"{pde}.h5"

    def prior(self, pde: str, prior: str, seed: int | str) -> Path:
        return self.root / "priors" / pde / prior / f"{seed}.safetensors"

    def training(self, pde: str, prior: str, seed: int | str) -> Path:
        """Folder of resumable training state; no output of the workflow."""
        return self.root / "training" / pde / prior / str(seed)

    def pairs(self, pde: str, prior: str, digest: str, seed: int | str) -> Path:
        """Index of the teacher pairs of one setting; their shards are beside it."""
        return self.root / "pairs" / pde / prior / digest / str(seed) / "pairs.json"

    def fit(self, pde: str, prior: str, method: str, digest: str, seed: int | str) -> Path:
        return self.root / "fits" / pde / prior / method / digest / str(seed) / "module.safetensors"

    def fitting(self, pde: str, prior: str, method: str, digest: str, seed: int | str) -> Path:
        """Folder of a fit's resumable state; no output of the workflow."""
        return self.fit(pde, prior, method, digest, seed).with_name("state")

    def samples(self, pde: str, prior: str, method: str, variant: str, seed: int | str) -> Path:
        return self.root / "samples" / pde / prior / method / variant / f"{seed}.h5"

    def tuning(self, pde: str, prior: str, method: str, variant: str, seed: int | str) -> Path:
        """Folder of the runs, metrics and timings of the trials of one variant."""
        return self.root / "tuning" / pde / prior / method / variant / str(seed)

    def evaluation(self, pde: str, prior: str, seed: int | str) -> Path:
        """Folder of the runs, metrics and timings of one (pde, prior, seed)."""
        return self.root / "evaluation" / pde / prior / str(seed)

    def jensen(self, pde: str, prior: str, seed: int | str) -> Path:
        """Curves of the Jensen gap of a prior; visits and the likelihood's gap stand beside them."""
        return self.root / "jensen" / pde / prior / f"{seed}.csv"

    def check(self, name: str) -> Path:
        """Conformance report of a plug-in, or of a prior by pde/prior/seed."""
        return self.root / "conformance" / f"{name}.json"
