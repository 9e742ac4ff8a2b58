"""Teacher pairs for distillation: white noise and the state that a deterministic sampler maps it to, in shards."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import Ge
from torch import Tensor

from jensenbench.core.annotations import Count
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.settings import check_settings
from jensenbench.diffusion.samplers import FlowRule, ode_euler, ode_heun
from jensenbench.diffusion.schedules import probability_flow
from jensenbench.errors import Diverged, UserError
from jensenbench.io.files import canonical_json, write_text
from jensenbench.io.provenance import digest_text
from jensenbench.io.tensorfile import read_tensors, write_tensors
from jensenbench.runtime.progress import progress

FORMAT = 1
SHARD = 512  # pairs per file, in whole batches: a killed run loses at most so many
RULES = {"euler": ode_euler, "heun": ode_heun}


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """Which pairs a fit learns from.

    Attributes:
        count: pairs of a round.
        rounds: rounds of fresh noise; a fit of K steps takes the next one every K/rounds steps.
        schedule: coordinates and time grid, one of ``edm``, ``vp``, ``subvp``, ``flow``.
        rule: ``heun`` (2 steps - 1 evaluations per state) or ``euler``.
        steps: of the sampler.
        batch: pairs per network call.
    """

    count: Count = 2048
    rounds: Count = 1
    schedule: str = "edm"
    rule: Literal["euler", "heun"] = "heun"
    steps: Annotated[int, Ge(2)] = 14
    batch: Count = 128

    def __post_init__(self) -> None:
        check_settings(self, "pairs:")
        probability_flow(self.schedule, self.steps)


@dataclass(frozen=True)
class Pairs:
    """Teacher pairs on disk.

    Attributes:
        files: name of a shard in ``folder``, its round, and the digest of its content.
        status, reason: ``ok``, or why there are no pairs.
    """

    folder: Path
    settings: PairSettings
    files: tuple[tuple[str, int, str], ...] = ()
    status: str = "ok"
    reason: str = ""

    @property
    def digest(self) -> str:
        """Digest of the content."""
        return digest_text(canonical_json([*self.files, self.status]))

    def round(self, number: int) -> tuple[Tensor, Tensor]:
        """Noise and states of a round, each (count, C, *grid) float32, states in prior coordinates."""
        noise, states = zip(*(self._read(name, digest) for name, at, digest in self.files if at == number), strict=True)
        return torch.cat(noise), torch.cat(states)

    def _read(self, name: str, expected: str) -> tuple[Tensor, Tensor]:
        _, tensors, digest = read_tensors(self.folder / name, "pairs", format=FORMAT)
        if digest != expected:
            raise UserError(f"{self.folder / name} is not the file that its index names; run the stage `pairs` again")
        return tensors["noise"], tensors["states"]

    def write(self, path: Path) -> None:
        """Write the index of the shards."""
        content = {"settings": asdict(self.settings), "files": self.files, "status": self.status, "reason": self.reason}
        write_text(path, json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the index that :meth:`write` wrote; raises UserError if it is missing or damaged."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is missing or damaged ({error}); run the stage `pairs`") from error
        files = tuple((name, at, digest) for name, at, digest in content["files"])
        settings = PairSettings(**content["settings"])
        return cls(path.parent, settings, files, content["status"], content["reason"])


def make_pairs(
    prior: Denoiser,
    settings: PairSettings,
    *,
    key: tuple[object, ...],
    folder: Path,
    run: str = "",
    shard: int = SHARD,
    device: torch.device | str = "cpu",
) -> Pairs:
    """Sample the pairs into shards in ``folder``; shards of the same ``run`` that exist already are kept.

    Args:
        key: of the noise; pair i of a round is a function of (key, round, i), whatever the shards.
        run: names everything besides the settings on which the pairs depend.
    """
    found = Pairs(folder, settings)
    shards = _shards(settings, shard)
    for name, at, indices in progress(shards, label="pairs", unit="shard") if len(shards) > 1 else shards:
        meta = {"format": FORMAT, "run": run, "settings": asdict(settings), "key": repr(key), "rows": repr(indices)}
        digest = _existing(folder / name, meta)
        if digest is None:
            parts = [
                _solve(prior, settings, (*key, "pairs", at), batch, device) for batch in _batches(indices, settings)
            ]
            noise, states = (torch.cat(part) for part in zip(*parts, strict=True))
            digest = write_tensors(folder / name, meta, {"noise": noise, "states": states})
        found = replace(found, files=(*found.files, (name, at, digest)))
    return found


def deterministic_sample(prior: Denoiser, settings: PairSettings, noise: Tensor) -> Tensor:
    """State (b, C, *grid) at the end of the prior's probability flow from white ``noise``, in its dtype."""
    rule, step = FlowRule(probability_flow(settings.schedule, settings.steps)), RULES[settings.rule]
    x = rule.start * noise
    for t, t_next in pairwise(rule.times):
        x = step(partial(rule.velocity, prior), x, t, t_next)
    return x


@torch.no_grad()
def _solve(
    prior: Denoiser, settings: PairSettings, key: tuple[object, ...], indices: range, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    noise = KeyedNoise([(*key, index) for index in indices], device=device)(prior.shape).float()
    states = deterministic_sample(prior, settings, noise.double()).float()
    if not torch.isfinite(states).all():
        raise Diverged(f"pairs {indices.start} to {indices.stop - 1}: the teacher's states are NaN or infinite")
    return noise, states


def _shards(settings: PairSettings, size: int) -> list[tuple[str, int, range]]:
    """Name, round and pair indices of every shard: whole batches, so that the size of shards changes no batch."""
    size = max(1, size // settings.batch) * settings.batch
    starts = range(0, settings.count, size)
    return [
        (f"round-{at}-from-{start}.safetensors", at, range(start, min(start + size, settings.count)))
        for at in range(settings.rounds)
        for start in starts
    ]


def _batches(indices: range, settings: PairSettings) -> Iterator[range]:
    for start in range(indices.start, indices.stop, settings.batch):
        yield range(start, min(start + settings.batch, indices.stop))


def _existing(path: Path, meta: dict[str, Any]) -> str | None:
    """Digest of a shard of the same run, None where there is none that can be used."""
    try:
        found, _, digest = read_tensors(path, "pairs", format=FORMAT)
    except UserError:
        return None
    return digest if found == meta else None
