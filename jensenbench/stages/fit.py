"""Stage ``fit``: what one method learns on one prior, shared by all its cells with equal fit settings."""

import shutil
import time
from pathlib import Path
from typing import Any

import torch

from jensenbench.core.problem import Problem
from jensenbench.core.settings import configure
from jensenbench.data.dataset import Dataset, load_dataset
from jensenbench.experiment.digests import stage_digest
from jensenbench.experiment.fits import Fitted, save_fit
from jensenbench.experiment.jobs import FitJob
from jensenbench.io import provenance
from jensenbench.io.files import canonical_json, read_yaml, write_text
from jensenbench.plugins.registry import load_method
from jensenbench.priors.io import LoadedPrior, load_prior
from jensenbench.priors.pairs import Pairs
from jensenbench.runtime.devices import pick_device
from jensenbench.runtime.status import status_of
from jensenbench.runtime.timing import timed

LOG = "log.csv"  # what a loop writes into its folder of state


def run(*, job: FitJob, data: Path, prior_file: Path, pairs: Path | None = None, out: Path, state_dir: Path) -> None:
    """Write the trained module to ``out``, its timing and log beside it; a fit that fails leaves status and reason.

    A killed run leaves its state in ``state_dir`` and goes on from there when it is started again.
    """
    torch.set_num_threads(job.threads)
    device = pick_device(job.device)
    with timed(out, device) as spent:
        dataset = load_dataset(data)
        prior = load_prior(prior_file, dataset.pde, data_digest=dataset.digest, settings=job.prior_settings)
        made = None if pairs is None else Pairs.load(pairs)
        meta = describe(job, dataset, prior, made)
        spent.earlier = claim(state_dir, meta)
        save_fit(out, fit(job, dataset, prior, made, device, state_dir, meta))
        if (state_dir / LOG).exists():
            (state_dir / LOG).replace(out.with_name(LOG))
        shutil.rmtree(state_dir)


def give_up(*, out: Path, status: str, reason: str) -> None:
    """Leave the reason as the fit of a job that was killed."""
    save_fit(out, Fitted(status, reason))


def fit(
    job: FitJob,
    dataset: Dataset,
    prior: LoadedPrior,
    pairs: Pairs | None,
    device: torch.device,
    state_dir: Path,
    meta: dict[str, Any],
) -> Fitted:
    """Let the method learn; that it skips the problem, or what it raises, becomes the fit's status."""
    if pairs is not None and pairs.status != "ok":
        return Fitted(pairs.status, f"teacher pairs: {pairs.reason}", meta=meta)
    kind = load_method(job.method)
    method = kind(kind.Config(fit=configure(f"{job.method} setting fit", kind.Fit(), job.fit)))
    states = prior.codec.encode(dataset.split("train")).to(device)
    problem = Problem(dataset.pde, "unconditional", prior.codec, scale=dataset.field_std, term_scale=dataset.term_scale)
    if method.capabilities.unconditional and (reason := method.skip(problem)) is not None:
        return Fitted("skipped", reason, meta=meta)
    try:
        module = method.fit(prior.on(device), problem, states, state_dir=state_dir, seed=job.seed, pairs=pairs)
    except Exception as error:  # a plug-in's mistake is a row of the table
        return Fitted(*status_of(error), meta=meta)
    return Fitted(tensors=module.state_dict(), meta=meta)


def describe(job: FitJob, dataset: Dataset, prior: LoadedPrior, pairs: Pairs | None) -> dict[str, Any]:
    """Everything on which the fit depends."""
    return {
        **{key: getattr(job, key) for key in ("method", "pde", "prior", "seed", "device", "threads")},
        "settings": dict(job.fit),
        "data_digest": dataset.digest,
        "prior_digest": prior.digest,
        "pairs_digest": "" if pairs is None else pairs.digest,
        "code_digest": stage_digest("fit", pde=dataset.pde.name, methods=(job.method,)),
        "environment_digest": provenance.environment_digest(),
    }


def claim(state_dir: Path, meta: dict[str, Any]) -> float:
    """Empty the folder of resumable state unless it belongs to the very same fit; the seconds spent on it so far."""
    owner, text, spent = state_dir / "fit.json", canonical_json(meta), 0.0
    if owner.exists():
        earlier = read_yaml(owner)
        if canonical_json(earlier["fit"]) == text:
            last = max(path.stat().st_mtime for path in state_dir.iterdir())
            spent = earlier["spent"] + max(0.0, last - earlier["begun"])
        else:
            shutil.rmtree(state_dir)
    write_text(owner, canonical_json({"fit": meta, "spent": spent, "begun": time.time()}))
    return spent
