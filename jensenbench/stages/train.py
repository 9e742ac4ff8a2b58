"""Stage ``train``: build or train one prior of one PDE."""

import resource
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from jensenbench import store
from jensenbench.dataset import load_dataset
from jensenbench.devices import pick_device
from jensenbench.priors import BuiltPrior, build_prior, save_prior


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
    started, target = time.perf_counter(), pick_device(device)
    dataset = load_dataset(data)
    name = f"{dataset.label}/{label}/{seed}"
    built = build_prior(
        settings["kind"], settings, dataset, seed=seed, state_dir=state_dir, device=target, label=f"train {name}"
    )
    save_prior(out, built, pde=dataset.pde, label=label, seed=seed, data_digest=dataset.digest)
    if built.trainer:
        built.trainer.finish()
    timing = store.canonical_json(_timing(built, time.perf_counter() - started, target))
    store.write_text(out.with_suffix(".timing.json"), f"{timing}\n")


def _timing(built: BuiltPrior, seconds: float, device: torch.device) -> dict[str, Any]:
    return {
        "seconds": seconds + (built.trainer.seconds_before if built.trainer else 0.0),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "host": socket.gethostname(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
