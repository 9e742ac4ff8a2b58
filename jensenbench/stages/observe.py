"""Stage ``observe``: masks, observation noise and truths, drawn once and read by every method."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from jensenbench import store
from jensenbench.config import Tier
from jensenbench.dataset import Dataset, load_dataset
from jensenbench.pde import PDE
from jensenbench.problem import MaskObservation, Task

ALIKE = 64  # re-simulated states of an instance
START = 40_000_000  # of their sample indices, after those of all splits


def run(*, tier: Tier, label: str, data: Path, out: Path) -> None:
    """Write the observations of the first ``tier.instances`` test states for every observed task."""
    dataset = load_dataset(data)
    pde = dataset.pde
    truth = dataset.split("test", tier.instances)

    def fill(file: h5py.File) -> None:
        file.attrs.update(label=label, data_digest=dataset.digest)
        for task in tier.tasks_of(label):
            if not task.observes:
                continue
            seen = look_at(truth, task, dataset, seed=tier.data.seed)
            group = file.create_group(task.label)
            group.attrs["noise_std"] = task.noise_std
            group.create_dataset("mask", data=seen.mask.numpy().astype(np.uint8))
            group.create_dataset("values", data=seen.values.numpy())
            group.create_dataset("truth", data=truth.numpy())
            if task.knows("coefficient") and pde.latent and pde.data == "discrete":
                group.create_dataset("alike", data=alike(pde, truth, seed=tier.data.seed).numpy())

    store.write_hdf5(out, fill)


def look_at(states: Tensor, task: Task, dataset: Dataset, *, seed: int, first: int = 0) -> MaskObservation:
    """Data of states (I, C, *grid); masks and noise are those of the indices from ``first`` on."""
    parts = [
        task.observe(state, dataset.pde, dataset.field_std, seed=seed, index=first + index)
        for index, state in enumerate(states)
    ]
    mask, values = (torch.cat([getattr(part, name) for part in parts]) for name in ("mask", "values"))
    return MaskObservation(mask, values, task.noise_std)


def alike(pde: PDE, truth: Tensor, *, seed: int) -> Tensor:
    """(I, ALIKE, C, *grid) states with the coefficients of the truths and latent parameters of their own."""
    rows = [
        pde.resimulate(state.expand(ALIKE, *state.shape), range(START + i * ALIKE, START + (i + 1) * ALIKE), seed=seed)
        for i, state in enumerate(truth)
    ]
    return torch.stack(rows)


def load_observation(path: Path, task: str) -> MaskObservation:
    """Stored observation of all instances (I, C, *grid) of a task."""
    with store.open_hdf5(path) as file:
        group: Any = file[task]
        mask = torch.from_numpy(np.asarray(group["mask"])).bool()
        values = torch.from_numpy(np.asarray(group["values"]))
        return MaskObservation(mask, values, float(group.attrs["noise_std"]))
