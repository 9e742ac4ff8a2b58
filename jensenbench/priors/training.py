"""Training of network priors: EDM loss, symmetry augmentation, EMA, exact resumption."""

import csv
import io
import math
import sys
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from jensenbench import provenance, store
from jensenbench.codec import Codec
from jensenbench.denoiser import Denoiser, per_row
from jensenbench.errors import UnknownName, UserError
from jensenbench.noise import generator_of
from jensenbench.pde import PDE
from jensenbench.priors.backbones import build_backbone, find_backbone
from jensenbench.priors.network import NetworkPrior, network_precision
from jensenbench.progress import LOG_SECONDS
from jensenbench.registry import configure

EXPLODED = 1e3  # an untrained network starts at a loss of 1
VALIDATION_BINS = 8
CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True)
class TrainingSettings:
    """How a network prior is trained; the settings of its backbone stand beside these in a config.

    Attributes:
        power: codec power.
        steps, batch: budget; ``steps * batch`` states are seen.
        lr, flat: learning rate, held for that share of the steps, then a half cosine to zero.
        weight_decay: of AdamW.
        ema: half-life of the weights' moving average, as a share of the steps.
        clip: largest gradient norm.
        log_sigma_mean, log_sigma_std: ln sigma of the loss is normal with these.
        augment: apply a random exact symmetry of the PDE to every state.
        autocast: ``auto``, ``float32`` or ``bfloat16``.
        checks: validations during training.
    """

    power: int = 1
    backbone: str = "unet"
    steps: int = 3000
    batch: int = 32
    lr: float = 4e-3
    flat: float = 0.3
    weight_decay: float = 0.01
    ema: float = 0.02
    clip: float = 1.0
    log_sigma_mean: float = -0.4
    log_sigma_std: float = 1.6
    augment: bool = True
    autocast: str = "auto"
    checks: int = 10


def parse_settings(settings: Mapping[str, Any]) -> tuple[TrainingSettings, Any]:
    """Training settings and the backbone's, from one mapping of a config; unknown names are refused."""
    own = {f.name for f in fields(TrainingSettings)}
    backbone = find_backbone(settings.get("backbone", TrainingSettings.backbone)).settings
    known = own | {f.name for f in fields(backbone)}
    for key in settings:
        if key not in known:
            raise UnknownName("network prior setting", key, known)
    training = configure("network prior setting", TrainingSettings(), {k: v for k, v in settings.items() if k in own})
    if training.steps < 1 or training.batch < 1 or training.lr <= 0:
        raise UserError(f"network prior: steps, batch and lr must be positive, got {training}")
    rest = {k: v for k, v in settings.items() if k not in own}
    return training, configure(f"{training.backbone} setting", backbone, rest)


@dataclass(frozen=True)
class TrainingData:
    """Physical states (N, C, *grid) to train and validate on; ``digest`` names their content."""

    pde: PDE
    codec: Codec
    train: Tensor
    validation: Tensor
    digest: str


@dataclass
class Progress:
    """What besides the weights and the optimiser must survive a kill."""

    step: int = 0
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    loss_sum: float = 0.0
    count: int = 0


class Trainer:
    """One training run; every batch is a function of (seed, step) alone, so that a resumed run is the same run.

    Args:
        settings, backbone: from :func:`parse_settings`.
        seed: of the initial weights, batches, noise levels and noise.
        state_dir: folder of the resumable state and of the loss log.

    ``seconds_before`` is the time that earlier, killed runs of the same training took.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        backbone: Any,
        data: TrainingData,
        *,
        seed: int,
        state_dir: Path,
        device: torch.device,
        label: str = "train",
    ):
        self.settings, self.data, self.seed, self.device, self.label = settings, data, seed, device, label
        precision = network_precision(settings.autocast, device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator_of((seed, "weights")).initial_seed())
            module = build_backbone(settings.backbone, data.pde.shape[0], data.pde.shape[1:], backbone).to(device)
        self.prior = NetworkPrior(module, data.pde.shape, precision=precision)
        self.average = NetworkPrior(deepcopy(module).requires_grad_(False), data.pde.shape, precision=precision)
        self.optimiser = torch.optim.AdamW(
            module.parameters(), lr=settings.lr, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )
        self.progress, self.seconds_before = Progress(), 0.0
        self._checkpoint, self._log = state_dir / "checkpoint.pt", state_dir / "loss.csv"
        parts = [asdict(settings), asdict(backbone), data.digest, data.pde.label, data.codec.state(), precision]
        code = provenance.digest_sources(["jensenbench.priors.training", f"pdes.{data.pde.name}"])
        run = [*parts, seed, code, torch.get_num_threads(), provenance.environment_digest()]
        self._fingerprint = provenance.digest_text(store.canonical_json(run))
        self._validation = data.codec.encode(data.validation[:256]).float().to(device)
        self._train = data.train.to(device)

    def run(self) -> NetworkPrior:
        """Train to the end, resuming where a killed run stopped; returns the averaged network."""
        self._resume()
        started, saved, logged = time.monotonic() - self.progress.seconds, time.monotonic(), time.monotonic()
        total = self.settings.steps
        bar = tqdm(total=total, initial=self.progress.step, desc=self.label, unit="step", disable=None)
        with bar:
            while self.progress.step < total:
                self._step()
                bar.update()
                now = time.monotonic()
                self.progress.seconds = now - started
                if now - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = now
                if bar.disable and now - logged > LOG_SECONDS:
                    self._print()
                    logged = now
        self.average.backbone.eval()
        store.write_text(self._log, self._table())
        return self.average

    def finish(self) -> None:
        """Forget the resumable state, once the prior is safely stored."""
        self._checkpoint.unlink(missing_ok=True)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Clean states in prior coordinates, noise levels (b,) and unit noise of one step, float32."""
        source, size = generator_of((self.seed, "batch", step)), self.settings.batch
        index = torch.randint(len(self._train), (size,), generator=source)
        symmetry = torch.rand(size, generator=source)
        level = torch.randn(size, generator=source) * self.settings.log_sigma_std + self.settings.log_sigma_mean
        noise = torch.randn(size, *self.data.pde.shape, generator=source)
        states = self._train[index.to(self.device)]
        if self.settings.augment:
            states = apply_symmetries(self.data.pde, states, symmetry)
        clean = self.data.codec.encode(states).float()
        return clean, level.exp().to(self.device), noise.to(self.device)

    def rate(self, step: int) -> float:
        """Learning rate of a step: flat, then a half cosine."""
        done = step / self.settings.steps
        falling = max(0.0, done - self.settings.flat) / max(1 - self.settings.flat, 1e-9)
        return self.settings.lr * (1 + math.cos(math.pi * falling)) / 2

    def _step(self) -> None:
        progress, step = self.progress, self.progress.step
        clean, sigma, noise = self.batch(step)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        loss = denoising_loss(self.prior, clean, sigma, noise).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.prior.backbone.parameters(), self.settings.clip)
        value = float(loss.detach())
        if not (math.isfinite(float(norm)) and value < EXPLODED):
            raise UserError(
                f"{self.label}: training diverged at step {step} (loss {value:.3g}, gradient norm {float(norm):.3g}); "
                f"lower lr = {self.settings.lr:g} or set autocast: float32"
            )
        self.optimiser.step()
        update_average(self.average.backbone, self.prior.backbone, self._decay(step))
        progress.step, progress.loss_sum, progress.count = step + 1, progress.loss_sum + value, progress.count + 1
        every = max(1, self.settings.steps // max(1, self.settings.checks))
        if progress.step % every == 0 or progress.step == self.settings.steps:
            self._validate(float(norm))

    def _decay(self, step: int) -> float:
        half_life = max(1.0, self.settings.ema * self.settings.steps)
        return min(0.5 ** (1 / half_life), (1 + step) / (10 + step))

    def _validate(self, norm: float) -> None:
        bins = validation_loss(self.average, self._validation, self.settings)
        row = {
            "step": self.progress.step,
            "states": self.progress.step * self.settings.batch,
            "learning_rate": self.rate(self.progress.step),
            "gradient_norm": norm,
            "loss": self.progress.loss_sum / self.progress.count,
            "validation": sum(bins.values()) / len(bins),
            **{f"validation_sigma_{sigma:.3g}": value for sigma, value in bins.items()},
        }
        self.progress.rows.append(row)
        self.progress.loss_sum, self.progress.count = 0.0, 0

    def _resume(self) -> None:
        if not self._checkpoint.exists():
            return
        try:
            state = torch.load(self._checkpoint, map_location=self.device, weights_only=True)
        except Exception as error:  # torch raises many kinds on a damaged file; training again is always right
            self._say(f"{self._checkpoint} cannot be read ({type(error).__name__}); training starts again")
            return
        if state["fingerprint"] != self._fingerprint:
            self._say(f"{self._checkpoint} belongs to other data, settings or code; training starts again")
            return
        self.prior.backbone.load_state_dict(state["module"])
        self.average.backbone.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])
        self.seconds_before = self.progress.seconds
        self._say(f"resumes at step {self.progress.step} of {self.settings.steps}")

    def save(self) -> None:
        """Write the resumable state and the loss log, each in one move."""
        state = {
            "fingerprint": self._fingerprint,
            "module": self.prior.backbone.state_dict(),
            "average": self.average.backbone.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": asdict(self.progress),
        }
        with store.replacing(self._checkpoint) as temporary:
            torch.save(state, temporary)
        store.write_text(self._log, self._table())

    def _table(self) -> str:
        if not self.progress.rows:
            return ""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.progress.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in self.progress.rows)
        return text.getvalue()

    def _print(self) -> None:
        progress, total = self.progress, self.settings.steps
        left = progress.seconds / progress.step * (total - progress.step)
        loss = progress.loss_sum / progress.count if progress.count else progress.rows[-1]["loss"]
        speed = progress.step * self.settings.batch / progress.seconds
        self._say(f"step {progress.step}/{total}, loss {loss:.4f}, {speed:.0f} states/s, {left / 60:.1f} min left")

    def _say(self, text: str) -> None:
        print(f"{self.label}: {text}", file=sys.stderr, flush=True)


def denoising_loss(prior: Denoiser, clean: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """(b,) EDM loss (sigma² + sigma_d²)/(sigma sigma_d)² mean (D(x0 + sigma eps; sigma) - x0)²."""
    error = prior(clean + per_row(sigma, clean) * noise, sigma) - clean
    weight = (sigma.square() + prior.sigma_data**2) / (sigma * prior.sigma_data).square()
    return weight * error.flatten(1).square().mean(1)


@torch.no_grad()
def validation_loss(prior: Denoiser, states: Tensor, settings: TrainingSettings) -> dict[float, float]:
    """Mean EDM loss of states (N, C, *grid) in noise bins of equal share, by the bin's middle sigma.

    State i is noised at the i-th of N quantiles of the training law; the noise never changes.
    """
    count, source = len(states), generator_of(("validation",))
    share = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    sigma = (math.sqrt(2) * torch.erfinv(2 * share - 1) * settings.log_sigma_std + settings.log_sigma_mean).exp()
    noise = torch.randn(states.shape, generator=source).to(states)
    loss = torch.cat(
        [
            denoising_loss(prior, *chunk)
            for chunk in zip(*(part.split(64) for part in (states, sigma.to(states), noise)), strict=True)
        ]
    )
    bins = zip(sigma.tensor_split(VALIDATION_BINS), loss.tensor_split(VALIDATION_BINS), strict=True)
    return {float(levels.median()): float(values.mean()) for levels, values in bins if len(levels)}


def apply_symmetries(pde: PDE, states: Tensor, chance: Tensor) -> Tensor:
    """Apply to each row of physical states the symmetry that its ``chance`` in [0, 1) selects."""
    maps = pde.symmetries()
    choice, result = (chance * len(maps)).long().to(states.device), torch.empty_like(states)
    for number, move in enumerate(maps):
        rows = choice == number
        result[rows] = move(states[rows])
    return result


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights."""
    for mean, value in zip(average.parameters(), module.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)
