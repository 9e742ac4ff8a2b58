"""Stage ``train``: build or train one prior of one PDE."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from jensenbench.dataset import load_dataset
from jensenbench.devices import pick_device
from jensenbench.priors import save_prior
from jensenbench.priors.building import build_prior
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
    """Write the prior file ``out`` and, beside it, ``<seed>.timing.json``.

    A killed run leaves its state in ``state_dir`` and goes on from there when it is started again.
    """
    torch.set_num_threads(threads)
    target = pick_device(device)
    with timed(out, target) as earlier:
        dataset = load_dataset(data)
        name = f"{dataset.label}/{label}/{seed}"
        built, trainer = build_prior(
            settings["kind"], settings, dataset, seed=seed, state_dir=state_dir, device=target, label=f"train {name}"
        )
        save_prior(out, built, pde=dataset.pde, label=label, seed=seed, data_digest=dataset.digest)
        if trainer:
            trainer.finish()
            earlier.append(trainer.seconds_before)
