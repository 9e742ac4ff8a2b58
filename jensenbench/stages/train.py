"""Stage ``train``: build or train one prior of one PDE."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from jensenbench import provenance, store
from jensenbench.dataset import load_dataset
from jensenbench.devices import pick_device
from jensenbench.evaluation.prior_quality import PriorQuality
from jensenbench.priors import save_prior
from jensenbench.priors.building import build_prior
from jensenbench.priors.loop import write_log
from jensenbench.timing import timed


def run(
    *,
    data: Path,
    out: Path,
    settings: Mapping[str, Any],
    label: str,
    seed: int,
    device: str = "cpu",
    threads: int = 1,
    state_dir: Path,
) -> None:
    """Write the prior file ``out`` and, beside it, the training log ``<seed>.log.csv`` and ``<seed>.timing.json``.

    A killed run leaves its state in ``state_dir`` and goes on from there when it is started again.
    """
    torch.set_num_threads(threads)
    target = pick_device(device)
    with timed(out, target) as spent:
        watch = provenance.FileWatch(data)
        dataset = load_dataset(data)
        built, trainer = build_prior(
            settings["kind"], settings, dataset, seed=seed, state_dir=state_dir, device=target,
            label=f"train {dataset.label}/{label}/{seed}", guard=watch.check,
            quality=PriorQuality(dataset, states=settings["quality"]) if settings.get("quality") else None,
        )  # fmt: skip
        watch.check()
        store.write_text(out.with_suffix(".log.csv"), write_log(trainer.loop.progress.rows if trainer else []))
        save_prior(out, built, pde=dataset.pde, label=label, seed=seed, data_digest=dataset.digest)
        if trainer:
            trainer.loop.finish()
            spent.earlier = trainer.loop.seconds_before
            spent.entries["states_per_second"] = trainer.loop.states_per_second
