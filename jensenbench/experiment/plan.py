"""The plan of a tier: every job with its record, its inputs, the digests that make it stale, and what it asks for."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jensenbench.core.method import learns_denoiser
from jensenbench.experiment.config import Tier
from jensenbench.experiment.digests import stage_digest
from jensenbench.experiment.expand import Jobs, expand, pairs_job
from jensenbench.experiment.jobs import (
    FitJob,
    GenerateJob,
    JensenJob,
    ObserveJob,
    PairsJob,
    PriorJob,
    SampleJob,
    TrainJob,
    TuneJob,
    digest,
)
from jensenbench.io.layout import Layout
from jensenbench.io.provenance import digest_file
from jensenbench.io.sources import digest_sources
from jensenbench.plugins.registry import load_method

SHARED = {
    "collect": "stages.collect",
    "report": "stages.report",
    "winners": "stages.winners",
    "check_prior": "checks.prior",
    "conformance": "reporting.pages.conformance",
    "jensen_page": "reporting.jensen.page",
}  # jobs that read no plug-in, and their modules
CHECKS = {"method": "method", "pde": "certificate"}  # module of the check of each kind of plug-in
MEMORY = 4000  # MB of a job
MINUTES = {
    "generate": 60,
    "train": 240,
    "pairs": 240,
    "fit": 480,
    "sample": 120,
    "tune": 480,
    "evaluate": 240,
    "jensen": 60,
}
Entry = dict[str, Any]


def make_plan(tier: Tier, config_file: Path) -> dict[str, Any]:
    """All jobs of a tier by stage and key, as plain values."""
    jobs = expand(tier)
    planner = Planner(tier, jobs)
    return {
        "tier": tier.name,
        "publish": tier.publish,
        "seeds": list(tier.seeds),
        "config_file": str(config_file),
        "results": str(planner.layout.root),
        "reports": str(tier.reports),
        "jobs": {
            "generate": planner.entries(jobs.generate, planner.generate),
            "observe": planner.entries(jobs.observe, planner.observe),
            "train": planner.entries(jobs.train, planner.train),
            "pairs": planner.entries(jobs.pairs, planner.pairs),
            "fit": planner.entries(jobs.fit, planner.fit),
            "sample": planner.entries(jobs.sample, planner.sample),
            "tune": planner.entries(jobs.tune, planner.tune),
            "jensen": planner.entries(jobs.jensen, planner.jensen),
            "evaluate": planner.evaluations(),
        },
        "winners": {"job": asdict(jobs.winners), "digest": digest(jobs.winners)},
        "checks": check_entries(tier),
        "code": {name: digest_sources([f"jensenbench.{module}"]) for name, module in SHARED.items()},
    }


def check_entries(tier: Tier) -> dict[str, Entry]:
    """Conformance checks of the tier's plug-ins, by ``kind-name``."""
    plugins = [("method", "methods", name) for name in tier.methods]
    plugins += [("pde", "pdes", name) for name in sorted({entry.name for entry in tier.pdes})]
    return {
        f"{kind}-{name}": {
            "kind": kind,
            "name": name,
            "code": digest_sources([f"jensenbench.checks.{CHECKS[kind]}", f"{package}.{name}"]),
        }
        for kind, package, name in plugins
    }


@dataclass(frozen=True)
class Planner:
    """Turns the jobs of a tier into entries of its plan: input files, digests, requests."""

    tier: Tier
    all: Jobs

    @cached_property
    def layout(self) -> Layout:
        return Layout(Path("results", self.tier.name))

    @cached_property
    def names(self) -> dict[str, str]:
        """Module of the PDE of each label."""
        return {entry.label: entry.name for entry in self.tier.pdes}

    def entries(self, jobs: Mapping[str, Any], plan: Any) -> dict[str, Entry]:
        """The entries of one stage."""
        return {key: {"job": asdict(job), "digest": digest(job), **plan(job)} for key, job in jobs.items()}

    def generate(self, job: GenerateJob) -> Entry:
        stage = "import_data" if job.source else "generate"
        file = job.source.get("file")
        content = {"content": digest_file(Path(file))} if file else {}
        inputs = {"source": file} if file else {}
        return {**self._requests("generate"), **content, "inputs": inputs, "code": stage_digest(stage, pde=job.pde)}

    def observe(self, job: ObserveJob) -> Entry:
        return {**self._requests("generate"), "code": stage_digest("observe", pde=self.names[job.label])}

    def train(self, job: TrainJob) -> Entry:
        processes = job.prior_settings.get("processes", 1)
        code = stage_digest("train", pde=self.names[job.pde])
        return {**self._requests("train", job, gpus=processes), "cores": job.threads * processes, "code": code}

    def pairs(self, job: PairsJob) -> Entry:
        inputs = {"prior": self._prior(job)}
        return {
            **self._requests("pairs", job),
            "inputs": inputs,
            "code": stage_digest("pairs", pde=self.names[job.pde]),
        }

    def fit(self, job: FitJob) -> Entry:
        code = stage_digest("fit", pde=self.names[job.pde], methods=(job.method,))
        made, inputs = pairs_job(job), {"prior": self._prior(job)}
        if made is not None:
            inputs["pairs"] = str(self.layout.pairs(*made.key.split("/")))
        return {**self._requests("fit", job), "inputs": inputs, "code": code}

    def sample(self, job: SampleJob) -> Entry:
        code = stage_digest("sample", pde=self.names[job.pde], methods=(job.method,))
        return {**self._requests("sample", job), "inputs": self._sampled_with(job), "code": code}

    def tune(self, job: TuneJob) -> Entry:
        first = job.trials[0]
        code = stage_digest("tune", pde=self.names[first.pde], methods=(first.method,))
        return {**self._requests("tune", first), "inputs": self._sampled_with(first), "code": code}

    def jensen(self, job: JensenJob) -> Entry:
        methods = tuple(sorted({sample.method for sample in job.samples}))
        fits = [sample.fit() for sample in job.samples if learns_denoiser(load_method(sample.method))]
        inputs = {"fits": sorted({str(self.layout.fit(*fit.key.split("/"))) for fit in fits if fit is not None})}
        code = stage_digest("jensen", pde=self.names[job.pde], methods=methods)
        return {**self._requests("jensen"), "inputs": inputs, "code": code}

    def evaluations(self) -> dict[str, Entry]:
        """One evaluation for each PDE, prior and seed, of the samples of all methods."""
        found: dict[str, Entry] = {}
        for job in self.all.sample.values():
            key = f"{job.pde}/{job.prior}/{job.seed}"
            if key not in found:
                inputs: dict[str, Any] = {"prior": self._prior(job), "samples": []}
                code = stage_digest("evaluate", pde=self.names[job.pde])
                found[key] = {**self._requests("evaluate"), "inputs": inputs, "code": code}
            found[key]["inputs"]["samples"].append(str(self.layout.samples(*job.key.split("/"))))
        return found

    def _sampled_with(self, job: SampleJob) -> dict[str, str]:
        fit = job.fit()
        return {"prior": self._prior(job)} | (
            {} if fit is None else {"fitted": str(self.layout.fit(*fit.key.split("/")))}
        )

    def _prior(self, job: PriorJob) -> str:
        """The prior file that a job reads: exact priors are built once for all seeds."""
        seed = self.tier.prior_seed(job.prior, job.seed)
        return str(self.layout.prior(job.pde, job.prior, seed))

    def _requests(self, stage: str, job: PriorJob | None = None, *, gpus: int = 1) -> Entry:
        """Memory, minutes and GPUs of a job; GPUs only where its device is one."""
        on_gpu = gpus if job is not None and job.device == "cuda" else 0
        return {"resources": {"mem_mb": MEMORY, "runtime": MINUTES[stage], "gpu": on_gpu}}
