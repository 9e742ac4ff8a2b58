"""Stage ``observe``: masks, observation noise and truths, drawn once and read by every method."""

from pathlib import Path

import h5py
import numpy as np

from jensenbench.data.dataset import load_dataset
from jensenbench.data.observations import conditional_resamples, observe_states
from jensenbench.experiment.jobs import ObserveJob
from jensenbench.io.files import write_hdf5


def run(*, job: ObserveJob, data: Path, out: Path) -> None:
    """Write the observations of the first ``job.instances`` test states for every observed task."""
    dataset = load_dataset(data)
    pde = dataset.pde
    truth = dataset.split("test", job.instances)

    def fill(file: h5py.File) -> None:
        file.attrs.update(label=job.label, data_digest=dataset.digest)
        for task in job.tasks:
            if not task.observes:
                continue
            seen = observe_states(truth, task, dataset, seed=job.seed)
            group = file.create_group(task.label)
            group.attrs["noise_std"] = task.noise_std
            group.create_dataset("mask", data=seen.mask.numpy().astype(np.uint8))
            group.create_dataset("values", data=seen.values.numpy())
            group.create_dataset("truth", data=truth.numpy())
            if task.knows("coefficient") and pde.latent and pde.data == "discrete":
                group.create_dataset("alike", data=conditional_resamples(pde, truth, seed=job.seed).numpy())

    write_hdf5(out, fill)
