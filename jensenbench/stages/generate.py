"""Stage ``generate``: states of one PDE from its law and solver."""

from pathlib import Path

import torch
from torch import Tensor

from jensenbench.core.pde import PDE
from jensenbench.data.dataset import SPLIT_START, write_dataset
from jensenbench.experiment.config import DataConfig, Tier
from jensenbench.plugins.registry import make_pde
from jensenbench.runtime.progress import progress
from jensenbench.runtime.timing import timed

CHUNK = 250  # states a solver call, for memory


def run(*, tier: Tier, label: str, out: Path) -> None:
    """Write the data file of one PDE of a tier: disjoint index ranges of one data seed."""
    entry = tier.pde(label)
    pde = make_pde(entry.name, entry.settings)
    with timed(out):
        splits = _generate(pde, label, tier.data)
        write_dataset(out, pde, splits, seed=tier.data.seed, label=label)


def _generate(pde: PDE, label: str, data: DataConfig) -> dict[str, Tensor]:
    splits = {}
    for split, count in data.sizes.items():
        starts = range(0, count, CHUNK)
        parts = [
            pde.generate(
                range(SPLIT_START[split] + start, SPLIT_START[split] + min(start + CHUNK, count)), seed=data.seed
            )
            for start in progress(starts, label=f"generate {label} {split}", unit=f"chunk of {CHUNK} states")
        ]
        splits[split] = torch.cat(parts)
    return splits
