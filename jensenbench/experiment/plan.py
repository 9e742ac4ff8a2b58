"""The plan that the workflow reads: every job of a tier with the digests on which it depends.

Loading a plan needs no torch: it is made by a subprocess and kept until the configuration or the
sources change.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jensenbench.errors import UserError
from jensenbench.io.files import canonical_json, write_text
from jensenbench.io.provenance import (
    ROOT,
    digest_file,
    digest_fitting,
    digest_pairs,
    digest_sampling,
    digest_sources,
    digest_text,
    public_modules,
)

if TYPE_CHECKING:
    from jensenbench.experiment.config import Cell, FitEntry, PairsEntry, PDEEntry, Tier

FOLDER = Path("results/.plan")
_SHARED = {
    **{stage: f"stages.{stage}" for stage in ("observe", "evaluate", "collect", "report", "winners")},
    "check_prior": "checks.prior",
    "conformance": "reporting.pages.conformance",
    "jensen_page": "reporting.jensen.page",
}
_CHECKS = {"method": "method", "pde": "certificate"}  # module of the check of each kind of plug-in


def load_plan(config: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of a configuration, made anew when the configuration or a source file has changed.

    Raises UserError with the one line that the subprocess printed when the configuration is wrong.
    """
    text = canonical_json(dict(config))
    settings = FOLDER / f"config-{digest_text(text)}.json"
    path = FOLDER / f"plan-{digest_text(text + _everything())}.json"
    if not path.exists():
        if not settings.exists():
            write_text(settings, text)
        command = [sys.executable, "-m", "jensenbench", "plan", "--tier", str(settings), "--out", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["the plan could not be made"])[-1]
            raise UserError(last.removeprefix("jensenbench plan: "))
    return json.loads(path.read_text())


def _everything() -> str:
    modules = [f"{package}.{name}" for package in ("methods", "pdes") for name in public_modules(package)]
    modules += [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "jensenbench").rglob("*.py")]
    tuned = sorted((ROOT / "config" / "methods").glob("*.yaml"))
    return digest_sources(modules) + "".join(digest_file(path) for path in tuned)


def make_plan(tier: "Tier", config_file: Path) -> dict[str, Any]:
    """All jobs of a tier: what they read, which digests make them stale, what they ask of the machine."""
    root = f"results/{tier.name}"
    pairs = [(entry, prior) for entry in tier.pdes for prior in entry.priors]
    return {
        "tier": tier.name,
        "publish": tier.publish,
        "seeds": list(tier.seeds),
        "device": tier.device,
        "config_file": str(config_file),
        "results": root,
        "reports": str(tier.reports),
        "pdes": {entry.label: _pde_job(tier, entry) for entry in tier.pdes},
        "priors": {f"{entry.label}/{prior}": _prior_job(tier, entry, prior) for entry, prior in pairs},
        "pairs": {key: _pairs_job(tier, entry) for key, entry in tier.pairs.items()},
        "fits": {key: _fit_job(tier, entry) for key, entry in tier.fits.items()},
        "cells": {cell.key: _cell_job(tier, cell) for cell in tier.cells},
        "evaluations": [f"{entry.label}/{prior}" for entry, prior in pairs],
        "checks": _check_jobs(tier),
        "jensen": digest_text(canonical_json(asdict(tier.jensen))) if tier.jensen else "",
        "code": {name: digest_sources([f"jensenbench.{module}"]) for name, module in _SHARED.items()},
    }


def _pde_job(tier: "Tier", entry: "PDEEntry") -> dict[str, Any]:
    stage = "import_data" if entry.source else "generate"
    source = entry.source.get("file")
    settings = {"pde": entry.name, "settings": entry.settings, "data": tier.data.sizes, "seed": tier.data.seed}
    settings |= {"source": entry.source, "file": digest_file(Path(source)) if source else None}
    tasks = [task.label for task in entry.tasks]
    return {
        "code": digest_sources([f"jensenbench.stages.{stage}", f"pdes.{entry.name}"]),
        "settings": digest_text(canonical_json(settings)),
        "observations": digest_text(canonical_json({"tasks": tasks, "instances": tier.instances})),
        "tasks": tasks,
        "import": source,
        "resources": {"mem_mb": 4000, "runtime": 60, "gpu": 0},
    }


def _prior_job(tier: "Tier", entry: "PDEEntry", prior: str) -> dict[str, Any]:
    settings = {"prior": tier.prior_settings(prior), "device": tier.device, "threads": tier.threads}
    exact, processes = tier.prior_seed(prior, 1) == 0, tier.prior_settings(prior).get("processes", 1)
    return {
        "seeds": sorted({tier.prior_seed(prior, seed) for seed in tier.seeds}),
        "kind": tier.prior_kind(prior),
        "code": digest_sources(["jensenbench.stages.train", f"pdes.{entry.name}"]),
        "jensen": _followed(tier, entry, prior),
        "learnt": _learnt(tier, entry, prior),
        "settings": digest_text(canonical_json(settings)),
        "resources": {"mem_mb": 4000, "runtime": 240, "gpu": 0 if exact else _gpus(tier) * processes},
        "cores": tier.threads * processes,
    }


def _followed(tier: "Tier", entry: "PDEEntry", prior: str) -> str:
    """Digest of what the curves of a prior depend on: sources, and the methods that are followed, with settings."""
    from jensenbench.experiment.trajectories import cells_digest, cells_of

    cells = cells_of(tier, entry.label, prior)
    methods = {f"methods.{cell.method}" for cell in cells}
    sources = digest_sources(["jensenbench.stages.jensen", f"pdes.{entry.name}", *sorted(methods)])
    tasks = canonical_json([asdict(task) for task in tier.tasks_of(entry.label)])
    return digest_text(sources + cells_digest(cells) + tasks)


def _learnt(tier: "Tier", entry: "PDEEntry", prior: str) -> list[str]:
    """Fits whose denoisers the stage ``jensen`` follows."""
    from jensenbench.experiment.trajectories import cells_of, denoiser_fit

    if tier.jensen is None or not tier.jensen.visits:
        return []
    fits = map(denoiser_fit, cells_of(tier, entry.label, prior))
    return sorted({fit.key for fit in fits if fit is not None})


def _pairs_job(tier: "Tier", entry: "PairsEntry") -> dict[str, Any]:
    return {
        **_seeds(tier, entry.prior),
        "code": digest_pairs(tier.pde(entry.pde).name),
        "settings": digest_text(canonical_json({"device": tier.device, "threads": tier.threads})),
        "resources": {"mem_mb": 4000, "runtime": 240, "gpu": _gpus(tier)},
    }


def _fit_job(tier: "Tier", entry: "FitEntry") -> dict[str, Any]:
    return {
        **_seeds(tier, entry.prior),
        "pairs": entry.pairs.digest if entry.pairs else "",
        "code": digest_fitting(entry.method, tier.pde(entry.pde).name),
        "settings": digest_text(canonical_json({"device": tier.device, "threads": tier.threads})),
        "resources": {"mem_mb": 4000, "runtime": 480, "gpu": _gpus(tier)},
    }


def _seeds(tier: "Tier", prior: str) -> dict[str, Any]:
    """Seeds of a job, and the seed of the prior that each of them reads."""
    return {
        "seeds": list(tier.seeds),
        "prior_seeds": {str(seed): tier.prior_seed(prior, seed) for seed in tier.seeds},
    }


def _cell_job(tier: "Tier", cell: "Cell") -> dict[str, Any]:
    return {
        **_seeds(tier, cell.prior),
        "fit": cell.fit.digest if cell.fit else "",
        "code": digest_sampling(cell.method, tier.pde(cell.pde).name),
        "settings": digest_text(canonical_json(tier.run_settings(cell))),
        "tasks": list(cell.tasks),
        "tuning": _tuning(tier, cell),
        "resources": {"mem_mb": 4000, "runtime": 120, "gpu": _gpus(tier)},
    }


def _tuning(tier: "Tier", cell: "Cell") -> dict[str, str]:
    """Digests on which the trials of a cell depend."""
    from jensenbench.experiment.trials import trials

    tried = trials(tier, cell)
    settings = {"trials": [asdict(trial.config) for trial in tried], "shared": tier.run_settings(tried[0])}
    settings |= {"sizes": asdict(tier.tuning)}
    return {
        "code": digest_sources(
            ["jensenbench.stages.tune", f"methods.{cell.method}", f"pdes.{tier.pde(cell.pde).name}"]
        ),
        "settings": digest_text(canonical_json(settings)),
    }


def _check_jobs(tier: "Tier") -> dict[str, dict[str, str]]:
    """Conformance jobs of the tier's plug-ins, by ``kind-name``."""
    plugins = [("method", f"methods.{name}") for name in tier.methods]
    plugins += [("pde", f"pdes.{name}") for name in sorted({entry.name for entry in tier.pdes})]
    return {
        f"{kind}-{module.split('.')[1]}": {
            "kind": kind,
            "name": module.split(".")[1],
            "code": digest_sources([f"jensenbench.checks.{_CHECKS[kind]}", module]),
        }
        for kind, module in plugins
    }


def _gpus(tier: "Tier") -> int:
    return int(tier.device == "cuda")
