"""Stage ``generate``: states of one PDE from its law and solver."""

from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from jensenbench.config import DataConfig, Tier
from jensenbench.dataset import SPLIT_START, write_dataset
from jensenbench.pde import PDE
from jensenbench.registry import make_pde
from jensenbench.timing import timed

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
    with tqdm(total=sum(data.sizes.values()), desc=f"generate {label}", unit="state", disable=None) as bar:
        for split, count in data.sizes.items():
            parts = []
            for start in range(0, count, CHUNK):
                first = SPLIT_START[split] + start
                indices = range(first, first + min(CHUNK, count - start))
                parts.append(pde.generate(indices, seed=data.seed))
                bar.update(len(indices))
            splits[split] = torch.cat(parts)
    return splits
