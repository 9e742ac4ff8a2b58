"""Sampled reference posterior of all instances of a task, with which samples of methods are compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from jensenbench.core.noise import Noise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import PDE
from jensenbench.io.layout import POSTERIORS
from jensenbench.io.provenance import ROOT
from jensenbench.posteriors.files import ReferencePosterior

PUBLISHED = ROOT / POSTERIORS


class SampledPosterior:
    """Posterior of every instance of a task from stored chains; NaN where an instance has none that converged.

    Attributes:
        mean, std: (I, C, *grid).
        draws: (I, n, C, *grid), solved again from the stored noise.
        note: which instances have none, and why.
    """

    def __init__(self, pde: PDE, found: Mapping[int, ReferencePosterior], count: int):
        usable = {index: reference for index, reference in found.items() if reference.status == "ok"}
        stored = min((len(reference.latents) for reference in usable.values()), default=1)
        blank = torch.full((count, *pde.shape), torch.nan, dtype=torch.float64)
        self.mean, self.std, self.draws = blank, blank.clone(), blank[:, None].repeat_interleave(stored, 1)
        for index, reference in usable.items():
            self.mean[index], self.std[index] = reference.mean, reference.std
            self.draws[index] = pde.latent_map()(reference.latents[:stored].double())
        reasons = [
            f"instance {index}: {found[index].reason if index in found else 'none'}"
            for index in range(count)
            if index not in usable
        ]
        self.note = f"no reference posterior for {'; '.join(reasons)}" if reasons else ""

    @classmethod
    def find(cls, folder: Path, pde: PDE, observation: MaskObservation, scale: Tensor) -> Self | None:
        """The posteriors of these data (I instances) in a folder of a task; None where it holds none of them."""
        found = {}
        for index in range(len(observation.mask)):
            path = folder / f"{index}.safetensors"
            if path.exists():
                reference = ReferencePosterior.load(path)
                if reference.is_of(observation.subset([index]), scale):
                    found[index] = reference
        return cls(pde, found, len(observation.mask)) if found else None

    def sample(self, noise: Noise) -> Tensor:
        """One of the stored draws per instance, (I, C, *grid)."""
        uniform = torch.special.ndtr(noise((1,))[:, 0])
        chosen = (uniform * self.draws.shape[1]).long().clamp(max=self.draws.shape[1] - 1)
        return self.draws[torch.arange(len(chosen)), chosen]
