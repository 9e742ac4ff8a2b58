"""Observations of data files: drawn once from the test states, stored in HDF5, read by every method."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import PDE
from jensenbench.core.tasks import Task
from jensenbench.data.dataset import Dataset
from jensenbench.io.files import open_hdf5

RESAMPLES = 64  # re-simulated states per instance
START = 40_000_000  # first sample index of re-simulated states, after those of all splits


def observe_states(states: Tensor, task: Task, dataset: Dataset, *, seed: int, first: int = 0) -> MaskObservation:
    """Observations of states (I, C, *grid); masks and noise belong to the instance indices from ``first`` on."""
    parts = [
        task.observe(state, dataset.pde, dataset.field_std, seed=seed, index=first + index)
        for index, state in enumerate(states)
    ]
    mask, values = (torch.cat([getattr(part, name) for part in parts]) for name in ("mask", "values"))
    return MaskObservation(mask, values, task.noise_std)


def conditional_resamples(pde: PDE, truth: Tensor, *, seed: int) -> Tensor:
    """(I, RESAMPLES, C, *grid) states with the coefficients of the truths and latent parameters drawn anew."""
    resampled = [
        pde.resimulate(
            state.expand(RESAMPLES, *state.shape), range(START + i * RESAMPLES, START + (i + 1) * RESAMPLES), seed=seed
        )
        for i, state in enumerate(truth)
    ]
    return torch.stack(resampled)


def load_observation(path: Path, task: str) -> MaskObservation:
    """Stored observation of all instances (I, C, *grid) of a task."""
    with open_hdf5(path) as file:
        group: Any = file[task]
        mask = torch.from_numpy(np.asarray(group["mask"])).bool()
        values = torch.from_numpy(np.asarray(group["values"]))
        return MaskObservation(mask, values, float(group.attrs["noise_std"]))
