"""Training loop with AdamW and EMA: bitwise resumption from checkpoints, rollback after a divergence, a CSV log."""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from jensenbench.core.annotations import Count, NonNegative, Positive, Share
from jensenbench.core.settings import check_settings
from jensenbench.errors import TrainingDiverged, UserError
from jensenbench.io import provenance
from jensenbench.io.files import canonical_json, replacing, write_text
from jensenbench.io.sources import digest_sources
from jensenbench.numerics.random import seed_of
from jensenbench.priors import parallel
from jensenbench.priors.log import Progress, write_log
from jensenbench.runtime.progress import LOG_SECONDS

CHECKPOINT_SECONDS = 30.0
EXPLODED = 1e3  # a loss so many times its moving average counts as a divergence
USUAL_DECAY = 0.5**0.01  # of that moving average: a half-life of 100 steps

Loss = Callable[[nn.Module, int], tuple[Tensor, Mapping[str, Tensor | float]]]
Check = Callable[[nn.Module, int], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How a network is optimised.

    Attributes:
        steps, batch: number of steps, states per step.
        lr, flat: learning rate of AdamW, held for that share of the steps, then a half cosine to zero.
        weight_decay: of AdamW (Loshchilov and Hutter 2019).
        ema: half-life of the weights' moving average, as a share of the steps.
        clip: largest gradient norm.
        checks: evenly spaced points at which the log gets a row.
    """

    steps: Count = 1000
    batch: Count = 32
    lr: Positive = 2e-3
    flat: Share = 0.3
    weight_decay: NonNegative = 0.01
    ema: Share = 0.02
    clip: Positive = 1.0
    checks: Count = 10

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def betas(self) -> tuple[float, float]:
        """Decays of AdamW's moments."""
        return 0.9, 0.99

    def rate(self, step: int) -> float:
        """Learning rate of a step: constant, then a half cosine."""
        falling = max(0.0, step / self.steps - self.flat) / max(1 - self.flat, 1e-9)
        return self.lr * (1 + math.cos(math.pi * falling)) / 2

    def decay(self, step: int) -> float:
        """Decay of the weights' moving average at a step: small at first, so that the initial weights count little."""
        half_life = max(1.0, self.ema * self.steps)
        return min(0.5 ** (1 / half_life), (1 + step) / (10 + step))

    def is_check(self, step: int) -> bool:
        """Whether the log gets a row once ``step`` steps are done."""
        return step * self.checks // self.steps > (step - 1) * self.checks // self.steps


class Loop:
    """Minimises a loss over the weights of a network with AdamW; a killed run resumes bit for bit.

    A loss or gradient that is NaN or infinite, or a loss a thousand times its moving average, rolls the run back to
    the state of the last check with half the learning rate; the second time it raises TrainingDiverged.

    Args:
        module: network on its device; the weights that require gradients are trained, in place.
        loss: the scalar to minimise at a step, and parts of it for the log: a function of (module, step) alone,
            with keyed generators for what is random; the global generators are keyed by the step, for dropout.
        identity: all values on which the result depends, for :func:`canonical_json`.
        sources: modules whose code the loss is, ``("methods.piddm",)``; they and all they import count.
        state_dir: folder of the resumable state. State of another identity, code, environment or number of
            threads is not used.
        label: begins every printed line.
        check: called with the averaged network and the number of steps done at every check; its values become
            columns of the log.
        guard: called before every save; may raise UserError to end the run and keep the state of before.

    Attributes:
        rows: slice of each batch that is this process's share. A loss that takes this slice alone can be trained by
            several processes, and an error for lack of memory can name the batch that would fit.
        progress: of the run; ``progress.rows`` is the log.
        seconds_before: time that earlier, killed runs of the same training took.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        settings: LoopSettings,
        *,
        identity: Sequence[Any],
        sources: Sequence[str],
        state_dir: Path,
        label: str,
        device: torch.device,
        check: Check | None = None,
        guard: Callable[[], None] | None = None,
    ):
        self.module, self.loss, self.settings, self.label, self.device = module, loss, settings, label, device
        self.average = deepcopy(module).requires_grad_(False).eval()
        self.rows = parallel.share(settings.batch)
        self.optimiser = torch.optim.AdamW(
            [weight for weight in module.parameters() if weight.requires_grad],
            lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay,
        )  # fmt: skip
        self.progress, self.seconds_before = Progress(), 0.0
        self._check, self._guard = check, guard
        self._checkpoint, self._good, self._log = (state_dir / n for n in ("checkpoint.pt", "good.pt", "log.csv"))
        machine = [torch.get_num_threads(), parallel.count(), device.type, provenance.environment_digest()]
        self._identity = canonical_json(list(identity))
        parts = [self._identity, asdict(settings), digest_sources(sources), machine]
        self._fingerprint = provenance.digest_text(canonical_json(parts))

    def run(self) -> nn.Module:
        """Optimise to the end, resuming where a killed run stopped; returns the averaged network in eval mode."""
        self.module.train()
        if not self._resume():
            self.save(self._good)
        progress, total = self.progress, self.settings.steps
        started, save, log = time.monotonic() - progress.seconds, _Alarm(CHECKPOINT_SECONDS), _Alarm(LOG_SECONDS)
        hidden = None if parallel.leads() else True
        with tqdm(total=total, initial=progress.step, desc=self.label, unit="step", disable=hidden) as bar:
            while progress.step < total:
                self._advance()
                progress.seconds = time.monotonic() - started
                bar.update(progress.step - bar.n)
                if save.due():
                    self.save()
                if bar.disable and log.due():
                    self._print()
        return self.average

    def finish(self) -> None:
        """Delete the resumable state, once the result is stored."""
        for path in (self._checkpoint, self._good, self._log):
            path.unlink(missing_ok=True)

    def save(self, path: Path | None = None) -> None:
        """Write the resumable state atomically; to the checkpoint by default."""
        if not parallel.leads():
            return
        if self._guard:
            self._guard()
        state = {
            "fingerprint": self._fingerprint,
            "module": self.module.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": asdict(self.progress),
        }
        with replacing(path or self._checkpoint) as temporary:
            torch.save(state, temporary)

    def table(self) -> str:
        """The log as CSV, one row per check; equal runs give equal text."""
        return write_log(self.progress.rows)

    @property
    def states_per_second(self) -> float:
        """Throughput of the optimisation, without the time of checks."""
        spent = self.progress.seconds - self.progress.checking
        return self.progress.step * self.settings.batch / max(spent, 1e-9)

    def rate(self, step: int) -> float:
        """Learning rate of a step, halved since a divergence."""
        return self.settings.rate(step) * 0.5 ** len(self.progress.diverged)

    def _advance(self) -> None:
        progress, step = self.progress, self.progress.step
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        values, norm = self._gradients(step)
        usual = values["loss"] if progress.usual is None else progress.usual
        if not math.isfinite(values["loss"] + norm) or values["loss"] > EXPLODED * usual > 0:
            self._roll_back(values["loss"], norm)
            return
        self.optimiser.step()
        update_average(self.average, self.module, self.settings.decay(step))
        progress.usual = USUAL_DECAY * usual + (1 - USUAL_DECAY) * values["loss"]
        progress.add(values, norm)
        if self.settings.is_check(progress.step):
            self._log_check()

    def _gradients(self, step: int) -> tuple[dict[str, float], float]:
        """Loss and its parts at a step, with clipped gradients in place, and their norm before clipping."""
        try:
            values = self._differentiate(step)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            values = None
        if values is None:  # outside of the handler, whose traceback holds the tensors of the failed attempt
            raise UserError(
                f"{self.label}: a batch of {self.settings.batch} needs more memory than there is; {self._remedy(step)}"
            )
        parallel.average(weight.grad for weight in self.module.parameters() if weight.grad is not None)
        numbers = torch.tensor([float(value) for value in values.values()], dtype=torch.float64, device=self.device)
        parallel.average([numbers])
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.clip)
        return dict(zip(values, numbers.tolist(), strict=True)), float(norm)

    def _differentiate(self, step: int) -> dict[str, Tensor | float]:
        """Loss and its parts at a step for this process's share of the batch, with gradients in place."""
        self.optimiser.zero_grad(set_to_none=True)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed_of((self._identity, step, self.rows.start)) >> 1)
            loss, parts = self.loss(self.module, step)
            loss.backward()
        return {"loss": loss.detach(), **parts}

    def _remedy(self, step: int) -> str:
        """Which batch would fit, found by halving."""
        rows, size = self.rows, (self.rows.stop - self.rows.start) // 2
        while size:
            self.optimiser.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.rows = slice(rows.start, rows.start + size)
            try:
                self._differentiate(step)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                size //= 2
            else:
                return f"batch: {size * parallel.count()} would fit"
        return "lower batch or take a smaller network"

    def _log_check(self) -> None:
        progress, begun = self.progress, time.monotonic()
        row = progress.means(self.settings.batch, self.rate(progress.step - 1))
        if self._check and parallel.leads():
            row |= self._check(self.average, progress.step)
        progress.append(row)
        progress.checking += time.monotonic() - begun
        self.save(self._good)
        self.save()
        if parallel.leads():
            write_text(self._log, self.table())

    def _roll_back(self, loss: float, norm: float) -> None:
        """Return to the state of the last check with half the learning rate, once; then give up."""
        before = deepcopy(self.progress)
        found = f"diverged at step {before.step} (loss {loss:.3g}, gradient norm {norm:.3g})"
        if before.diverged:
            again = f"at step {before.diverged[0]} before it went on with half the learning rate"
            raise TrainingDiverged(f"{self.label}: training {found} and {again}; lower lr = {self.settings.lr:g}")
        if not self._load(self._good):
            raise TrainingDiverged(f"{self.label}: training {found}; lower lr = {self.settings.lr:g}")
        progress = self.progress
        progress.seconds, progress.checking, progress.diverged = before.seconds, before.checking, [before.step]
        self._say(f"{found}; goes back to step {progress.step} with half the learning rate")
        self.save()

    def _resume(self) -> bool:
        if not (self._checkpoint.exists() and self._load(self._checkpoint)):
            return False
        self.seconds_before = self.progress.seconds
        self._say(f"resumes at step {self.progress.step} of {self.settings.steps}")
        return True

    def _load(self, path: Path) -> bool:
        """Load a saved state of the same training; any other one is not used, and a line says so."""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:  # torch raises many kinds on a damaged file; starting anew is always right
            self._say(f"{path} cannot be read ({type(error).__name__}) and is not used")
            return False
        if state["fingerprint"] != self._fingerprint:
            self._say(f"{path} belongs to other data, settings or code and is not used")
            return False
        self.module.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        vars(self.progress).update(state["progress"])
        return True

    def _print(self) -> None:
        progress, total = self.progress, self.settings.steps
        left = progress.seconds / max(progress.step, 1) * (total - progress.step)
        speed = f"{self.states_per_second:.0f} states/s, {left / 60:.1f} min left"
        self._say(f"step {progress.step}/{total}, loss {progress.recent_loss:.4g}, {speed}")

    def _say(self, text: str) -> None:
        if parallel.leads():
            print(f"{self.label}: {text}", file=sys.stderr, flush=True)


class _Alarm:
    """A timer that is due when ``seconds`` have passed since it was last due."""

    def __init__(self, seconds: float):
        self._seconds, self._last = seconds, time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of PyTorch means that memory is short, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Update the exponential moving average of the weights in place."""
    for mean, value in zip(average.parameters(), module.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)
