"""Stage ``reference-posterior``: sample the posteriors of noisy tasks with the numerical solver as forward map."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import LatentMap
from jensenbench.data.dataset import Dataset, load_dataset
from jensenbench.data.observations import load_observation
from jensenbench.errors import UnknownName, UserError
from jensenbench.experiment.jobs import ObserveJob
from jensenbench.io import provenance
from jensenbench.io.sources import digest_sources
from jensenbench.posteriors.chains import SAVE_EVERY, Chains, ChainSettings
from jensenbench.posteriors.files import ReferencePosterior
from jensenbench.posteriors.target import Target
from jensenbench.runtime.progress import progress

STATE = "chains.safetensors"


@dataclass(frozen=True)
class Instance:
    """One posterior: the data of one instance of a task."""

    dataset: Dataset
    label: str
    task: str
    index: int
    observation: MaskObservation

    @property
    def name(self) -> str:
        return f"{self.label}/{self.task}/{self.index}"


def run(
    *,
    job: ObserveJob,
    data: Path,
    observations: Path,
    out: Path,
    state_dir: Path,
    settings: ChainSettings,
    task: str | None = None,
    instances: int | None = None,
) -> None:
    """Write ``<out>/<label>/<task>/<instance>.safetensors`` for the noisy tasks of a PDE.

    What is there already, of the same data and settings, stays. A killed run leaves its state in ``state_dir`` and goes
    on from there. Chains that did not converge are written too, marked as failed.
    """
    torch.set_num_threads(1)  # sums of several threads differ in their last digits
    dataset = load_dataset(data)
    if dataset.source != "generated":
        raise UserError(f"{data}: reference posteriors need generated data: the law of {dataset.source} is not known")
    latent = dataset.pde.latent_map()
    for name in noisy_tasks(job, task):
        observation = load_observation(observations, name)
        count = len(observation.mask) if instances is None else instances
        if not 0 < count <= len(observation.mask):
            raise UserError(f"instances = {count}: {observations} holds {len(observation.mask)} of {name}")
        for index in range(count):
            instance = Instance(dataset, job.label, name, index, observation.subset([index]))
            path = out / job.label / name / f"{index}.safetensors"
            reference = finished(path, instance, settings) or sample(latent, instance, settings, path, state_dir)
            print(f"{instance.name}: {summary(reference)}", flush=True)


def noisy_tasks(job: ObserveJob, task: str | None) -> list[str]:
    """Labels of the observed tasks with noise, or the one that is asked for."""
    names = [found.label for found in job.tasks if found.observes and found.noise_std > 0]
    if not names:
        raise UserError(
            f"the tier has no task with noise for {job.label}; add {{task: reconstruction_3, noise_std: 0.05}}"
        )
    if task is None:
        return names
    if task not in names:
        raise UnknownName(f"noisy task of {job.label}", task, names)
    return [task]


def finished(path: Path, instance: Instance, settings: ChainSettings) -> ReferencePosterior | None:
    """The posterior in a file, if it is that of the same data and settings."""
    if not path.exists():
        return None
    found = ReferencePosterior.load(path)
    same = found.is_of(instance.observation, instance.dataset.field_std)
    earlier = asdict(ChainSettings()) | found.meta["settings"]  # a file from before a setting has its default
    return found if same and earlier == asdict(settings) else None


def sample(
    latent: LatentMap, instance: Instance, settings: ChainSettings, path: Path, state_dir: Path
) -> ReferencePosterior:
    """Run the chains of one posterior to their end and write the file."""
    folder, scale = state_dir / instance.name, instance.dataset.field_std
    meta = describe(instance, settings)
    chains = Chains(
        Target(latent, instance.observation, scale), settings, scale,
        key=("reference-posterior", instance.name), path=folder / STATE, meta=meta,
    )  # fmt: skip
    for end in progress(range(SAVE_EVERY, settings.total + SAVE_EVERY, SAVE_EVERY), label=instance.name, unit="part"):
        chains.run(end)
    reference = ReferencePosterior.of_chains(chains.state, settings, instance.observation, scale, meta)
    reference.save(path)
    shutil.rmtree(folder)
    return reference


def describe(instance: Instance, settings: ChainSettings) -> dict[str, Any]:
    """Everything on which the chains depend."""
    pde = instance.dataset.pde
    modules = ["jensenbench.stages.reference_posterior", f"pdes.{pde.name}"]
    return {
        "pde": instance.label,
        "pde_settings": asdict(pde.config),
        "task": instance.task,
        "instance": instance.index,
        "settings": asdict(settings),
        "field_std": instance.dataset.field_std.tolist(),
        "data_digest": instance.dataset.digest,
        "code_digest": digest_sources(modules),
        "environment_digest": provenance.environment_digest(),
        "versions": provenance.versions(),
    }


def summary(reference: ReferencePosterior) -> str:
    """One line on a posterior."""
    return (
        f"{reference.status}, largest R-hat {float(reference.rhat.max()):.4f}, smallest effective sample size "
        f"{float(reference.ess.min()):.0f}, acceptance {reference.meta['acceptance']:.2f}"
    )
