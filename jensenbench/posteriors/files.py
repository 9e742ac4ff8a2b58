"""Reference-posterior files: one per task and instance, with data, moments, draws, diagnostics and a digest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from jensenbench.core.observations import MaskObservation
from jensenbench.io import tensorfile
from jensenbench.posteriors.chains import ChainSettings
from jensenbench.posteriors.diagnostics import diagnose
from jensenbench.posteriors.state import ChainState

FORMAT = 1
STAGE = "reference-posterior"
LARGEST_RHAT = 1.01
LEAST_ESS = 400.0
SAME_DATA = 1e-6  # largest deviation of observed values, in units of each field's std, of data that are the same


@dataclass(frozen=True)
class ReferencePosterior:
    """Posterior of one instance, as estimated by its chains.

    Attributes:
        status: ``ok``, or ``failed`` where the chains did not converge; ``reason`` then says how.
        observation: the data, a batch of one.
        mean, std: (C, *grid) of the states, float64, over all recorded steps.
        latents: (n, k) float32 noise of stored draws; the PDE's solver makes states of it.
        rhat, ess: (F,) of the functionals: the data potential, then block means of every field.
        meta: settings, digests, acceptance and the like.
    """

    status: str
    reason: str
    observation: MaskObservation
    mean: Tensor
    std: Tensor
    latents: Tensor
    rhat: Tensor
    ess: Tensor
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_chains(
        cls,
        state: ChainState,
        settings: ChainSettings,
        observation: MaskObservation,
        scale: Tensor,
        meta: Mapping[str, Any],
    ) -> Self:
        """Summary of finished chains."""
        found = diagnose(state.traces)
        status, reason = verdict(found.rhat, found.ess)
        count, unit = settings.chains * settings.steps, scale.reshape(-1, *[1] * (state.total.ndim - 1))
        mean = state.total / count
        variance = (state.squares / count - mean.square()).clamp(min=0) * count / (count - 1)
        numbers = {
            "beta": float(state.beta[0]), "acceptance": state.accepted / settings.steps, "refused": state.refused,
            "informed_directions": state.reference.std.shape[1],
            "exchanged": [2 * swapped / settings.steps for swapped in state.swapped.tolist()],
        }  # fmt: skip
        return cls(
            status, reason, observation, mean * unit, variance.sqrt() * unit, state.kept.flatten(0, 1), found.rhat,
            found.ess, {**meta, **numbers},
        )  # fmt: skip

    def save(self, path: Path) -> str:
        """Write the file; equal content gives equal bytes. Returns its digest."""
        data = {"mask": self.observation.mask, "values": self.observation.values}
        tensors = {name: getattr(self, name) for name in ("mean", "std", "latents", "rhat", "ess")}
        shown = {"status": self.status, "reason": self.reason, "noise_std": self.observation.noise_std}
        return tensorfile.write_tensors(path, {**self.meta, **shown, "format": FORMAT}, {**data, **tensors})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file; raises UserError if it is damaged or foreign."""
        meta, tensors, _ = tensorfile.read_tensors(path, STAGE, format=FORMAT)
        data = MaskObservation(tensors.pop("mask"), tensors.pop("values"), float(meta.pop("noise_std")))
        return cls(meta.pop("status"), meta.pop("reason"), data, **tensors, meta=meta)

    def is_of(self, observation: MaskObservation, scale: Tensor) -> bool:
        """Whether these are the data (a batch of one) of this posterior, up to rounding on another machine."""
        mine, unit = self.observation, scale.reshape(-1, *[1] * (self.mean.ndim - 1))
        if mine.mask.shape != observation.mask.shape or mine.noise_std != observation.noise_std:
            return False
        same = torch.equal(mine.mask.bool(), observation.mask.bool())
        return same and bool(((mine.values - observation.values).abs() <= SAME_DATA * unit).all())


def verdict(rhat: Tensor, ess: Tensor) -> tuple[str, str]:
    """Status and reason: ``ok`` if every functional has R-hat < 1.01 and an effective sample size > 400."""
    worst, least = float(rhat.max()), float(ess.min())
    if worst < LARGEST_RHAT and least > LEAST_ESS:
        return "ok", ""
    return "failed", (
        f"the chains did not converge: largest R-hat {worst:.3f} (must be < {LARGEST_RHAT}), smallest effective sample "
        f"size {least:.0f} (must be > {LEAST_ESS:.0f}); give them more steps"
    )
