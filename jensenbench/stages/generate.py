"""Stage ``generate``: states of one PDE from their distribution and its solver."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from jensenbench.core.pde import PDE
from jensenbench.data.dataset import SPLIT_START, write_dataset
from jensenbench.experiment.jobs import GenerateJob
from jensenbench.plugins.registry import make_pde
from jensenbench.runtime.progress import progress
from jensenbench.runtime.timing import timed

CHUNK = 250  # states per solver call, for memory


def run(*, job: GenerateJob, out: Path) -> None:
    """Write the data file of one PDE: disjoint index ranges of one data seed."""
    pde = make_pde(job.pde, job.settings)
    with timed(out):
        write_dataset(out, pde, _generate(pde, job.label, job.sizes, job.seed), seed=job.seed, label=job.label)


def _generate(pde: PDE, label: str, sizes: Mapping[str, int], seed: int) -> dict[str, Tensor]:
    splits = {}
    for split, count in sizes.items():
        starts = range(0, count, CHUNK)
        parts = [
            pde.generate(range(SPLIT_START[split] + start, SPLIT_START[split] + min(start + CHUNK, count)), seed=seed)
            for start in progress(starts, label=f"generate {label} {split}", unit=f"chunk of {CHUNK} states")
        ]
        splits[split] = torch.cat(parts)
    return splits
