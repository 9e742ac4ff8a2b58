"""Training of network priors: EDM loss, symmetry augmentation, validation by noise level."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jensenbench.core.annotations import Count, Natural, NonNegative, Positive
from jensenbench.core.codec import Codec, Power
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.pde import PDE
from jensenbench.core.settings import configure
from jensenbench.errors import UnknownName, UserError
from jensenbench.numerics.random import generator_of
from jensenbench.numerics.tensors import per_row
from jensenbench.priors.backbones.build import build_seeded, find_backbone
from jensenbench.priors.loop import Loop, LoopSettings
from jensenbench.priors.network import NetworkPrior, network_precision

VALIDATION_BINS = 8
VALIDATION_STATES = 256
SCALE_TOLERANCE = 1.25

Quality = Callable[[Denoiser, Codec], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(LoopSettings):
    """How a network prior is trained; the settings of its backbone stand beside these in a config.

    Attributes:
        power: of the codec.
        backbone: name of the network.
        log_sigma_mean, log_sigma_std: ln sigma of the loss is normal with these.
        augment: apply a random exact symmetry of the PDE to every state.
        autocast: ``float32`` or ``bfloat16``; ``auto`` takes bfloat16 where the device is made for it.
        quality: states that the averaged prior draws at every check to be measured by; 0 for none.
        processes: that share every batch, each on a GPU of its own or with the tier's threads on the CPU; a divisor of
            the batch.
    """

    power: Power = 1
    backbone: str = "unet"
    steps: Count = 3000
    lr: Positive = 4e-3
    log_sigma_mean: float = -0.4
    log_sigma_std: NonNegative = 1.6
    augment: bool = True
    autocast: Literal["auto", "float32", "bfloat16"] = "auto"
    quality: Natural = 0
    processes: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch % self.processes:
            raise UserError(f"batch = {self.batch} does not divide among processes = {self.processes}")


def check_network(label: str, settings: Mapping[str, Any], pde: PDE) -> int:
    """Refuse settings with which no network of a PDE's states can be built; returns the power of the codec.

    Args:
        label: of the prior.
        settings: entry of the config without ``kind``.
    """
    training, backbone = parse_settings(settings, kind=f"setting of prior {label!r}")
    backbone.check_grid(pde.shape[1:])
    return training.power


def parse_settings(settings: Mapping[str, Any], kind: str = "network prior setting") -> tuple[TrainingSettings, Any]:
    """Training settings and the backbone's, from one mapping of a config; unknown names are refused."""
    own = {f.name for f in fields(TrainingSettings)}
    training = configure(kind, TrainingSettings(), {k: v for k, v in settings.items() if k in own})
    backbone = find_backbone(training.backbone).settings
    known = own | {f.name for f in fields(backbone)}
    for key in settings:
        if key not in known:
            raise UnknownName(kind, key, known)
    return training, configure(kind, backbone, {k: v for k, v in settings.items() if k not in own})


@dataclass(frozen=True)
class TrainingData:
    """Physical states (N, C, *grid) to train and validate on; ``digest`` names their content."""

    pde: PDE
    codec: Codec
    train: Tensor
    validation: Tensor
    digest: str


class Trainer:
    """Trains one network prior; every batch is a function of (seed, step) alone, so that a resumed run is the same run.

    Args:
        settings, backbone: from :func:`parse_settings`.
        seed: of the initial weights, batches, noise levels and noise.
        state_dir: folder of the resumable state and of the log.
        quality: measures the averaged prior, given it and its codec, at every check; its values become columns of
            the log.
        guard: see :class:`Loop`.

    ``prior`` holds the weights in training, ``average`` their moving average, ``loop`` the optimisation.
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
        quality: Quality | None = None,
        guard: Callable[[], None] | None = None,
    ):
        self.settings, self.backbone, self.data, self.seed = settings, backbone, data, seed
        self.device, self.quality = device, quality
        precision = network_precision(settings.autocast, device)
        module = build_seeded(settings.backbone, data.pde.shape, backbone, key=(seed, "weights")).to(device)
        self.loop = Loop(
            module, self._loss, settings,
            identity=[asdict(backbone), data.digest, data.pde.label, data.codec.state(), precision, seed],
            sources=["jensenbench.priors.training", f"pdes.{data.pde.name}", *_sources(quality)],
            state_dir=state_dir, device=device, label=label, check=self._check, guard=guard,
        )  # fmt: skip
        self.prior = NetworkPrior(module, data.pde.shape, precision=precision)
        self.average = NetworkPrior(self.loop.average, data.pde.shape, precision=precision)
        self._validation = data.codec.encode(data.validation[:VALIDATION_STATES]).float().to(device)
        self._train = data.train.to(device)
        check_scale(data, settings.power, self.prior.sigma_data)

    def run(self) -> NetworkPrior:
        """Train to the end, resuming where a killed run stopped; returns the averaged network."""
        self.loop.run()
        return self.average

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

    def _loss(self, module: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
        clean, sigma, noise = self.batch(step)
        rows = self.loop.rows
        return denoising_loss(self.prior, clean[rows], sigma[rows], noise[rows]).mean(), {}

    def _check(self, module: nn.Module, step: int) -> dict[str, float]:
        """Validation loss, its mean and by noise level, and the caller's measures."""
        bins = validation_loss(self.average, self._validation, self.settings)
        measured = self.quality(self.average, self.data.codec) if self.quality else {}
        return {
            "validation": sum(bins.values()) / len(bins),
            **{f"validation_sigma_{sigma:.3g}": value for sigma, value in bins.items()},
            **{f"quality_{name}": value for name, value in measured.items()},
        }


def check_scale(data: TrainingData, power: int, sigma_data: float) -> None:
    """Refuse a codec of another power, or one that does not give every channel the std ``sigma_data``."""
    if data.codec.power != power:
        raise UserError(f"{data.pde.label}: the codec has power {data.codec.power}, the settings ask for {power}")
    encoded = data.codec.encode(data.train[:4096]).transpose(0, 1).flatten(1)
    for field, std in zip(data.pde.fields, encoded.std(1).tolist(), strict=True):
        if not sigma_data / SCALE_TOLERANCE < std < sigma_data * SCALE_TOLERANCE:
            raise UserError(
                f"{data.pde.label}: the codec gives field {field.name!r} a std of {std:.3g}, the prior is made for "
                f"sigma_data = {sigma_data:g}; fit the codec to the training states"
            )


def _sources(function: object) -> list[str]:
    """The module of a function, on which the log then depends."""
    return [] if function is None else [function.__module__]


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
