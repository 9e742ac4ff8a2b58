"""Stage ``export``: a data file of the suite in another code's layout, as ``import`` reads it."""

from pathlib import Path

import torch

from jensenbench.data import export as exporters
from jensenbench.data.dataset import load_dataset
from jensenbench.io.schema import SPLITS


def run(*, data: Path, format: str, out: Path) -> None:
    """Write all states of ``data``, splits in the order of ``SPLITS``, and say where each one lies."""
    dataset = load_dataset(data)
    parts = {name: dataset.split(name) for name in SPLITS}
    exporters.write(out, format, dataset.pde, torch.cat(list(parts.values())))
    ranges = ", ".join(f"{name} {len(states)}" for name, states in parts.items())
    print(f"{out}: {dataset.label} as {format}: {ranges}, in this order")
