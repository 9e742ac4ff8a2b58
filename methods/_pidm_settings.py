"""What the network of a physics-informed diffusion model depends on (arXiv 2403.14404)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from jensenbench.core.settings import configure, require_nonnegative, require_steps
from jensenbench.diffusion.schedules import Ancestral, cosine_betas
from jensenbench.errors import UnknownName, UserError
from jensenbench.numerics.random import generator_of
from jensenbench.numerics.tensors import per_row
from jensenbench.priors.backbones.build import build_backbone, find_backbone
from jensenbench.priors.loop import LoopSettings
from jensenbench.priors.network import NetworkPrior, network_precision

BANDS = 4  # of noise levels, in which a training is watched


@dataclass(frozen=True, kw_only=True)
class Fit(LoopSettings):
    """Everything the network depends on.

    Attributes:
        levels: T of the cosine schedule.
        parametrisation: ``edm``, or ``x0``: the network's output is the estimate.
        estimate: state at which the residual is taken: ``mean``, E[x0 | x_t] by the network; ``sample``, one DDIM step
            to t = 0 and the network once more; ``sample_published``, the network at t = 0 on x_t itself.
        scheme, every_part: the residual, and whether to average over its parts for conditions too.
        relative: residual in units of the equation's largest term instead of physical units.
        c_data, c_residual, snr_cap: weights of the two losses; cap of the data loss's weight SNR_t.
        backbone, backbone_settings: network of the suite; ``auto`` takes the U-Net on two axes, else the perceptron.
        autocast: as for a prior; bfloat16 adds to the residual of clean states.
        augment, shuffle: apply random symmetries of the PDE; draw states at random, not in order.
        watch: training states that are held out, and on which the rows of the log measure what the residual does to the
            network; 0: none.
        beta2, ema_decay, ema_from: of Adam; fixed decay of the weights' average from a step on (0: by ``ema``).
    """

    levels: int = 100
    parametrisation: str = "edm"
    estimate: str = "mean"
    scheme: str = "own"
    every_part: bool = False
    relative: bool = True
    c_data: float = 1.0
    c_residual: float = 1e-3
    snr_cap: float = 5.0
    backbone: str = "auto"
    backbone_settings: Mapping[str, Any] = field(default_factory=dict)
    autocast: str = "float32"
    augment: bool = True
    shuffle: bool = True
    watch: int = 0
    beta2: float = 0.99
    ema_decay: float = 0.0
    ema_from: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_steps(self.levels)
        for kind, value, known in (
            ("parametrisation", self.parametrisation, PARAMETRISATIONS),
            ("estimate", self.estimate, ("mean", "sample", "sample_published")),
        ):
            if value not in known:
                raise UnknownName(kind, value, known)
        if not isinstance(self.watch, int) or self.watch < 0 or self.watch % BANDS:
            raise UserError(f"watch = {self.watch!r} must be 0 or a multiple of {BANDS}, the number of bands of noise")
        for name in ("c_data", "c_residual", "snr_cap", "beta2", "ema_decay"):
            require_nonnegative(name, getattr(self, name))
        if self.backbone != "auto":
            self.network(self.backbone)

    def network(self, name: str) -> Any:
        """Settings of the backbone of that name."""
        return configure(f"{name} setting", find_backbone(name).settings, self.backbone_settings)

    @property
    def betas(self) -> tuple[float, float]:
        return 0.9, self.beta2

    def decay(self, step: int) -> float:
        if self.ema_decay:
            return self.ema_decay if step >= self.ema_from else 0.0
        return super().decay(step)

    def schedule(self, *, wide: bool = False) -> Ancestral:
        return Ancestral(cosine_betas(self.levels), wide=wide)

    def build(self, shape: Sequence[int], *, seed: int = 0) -> nn.Module:
        """The network for states of a shape (C, *grid), with fresh weights."""
        name = ("unet" if len(shape) == 3 else "mlp") if self.backbone == "auto" else self.backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator_of((seed, "weights")).initial_seed())
            return build_backbone(name, shape[0], shape[1:], self.network(name))

    def denoiser(self, network: nn.Module, shape: Sequence[int]) -> NetworkPrior:
        """The network as E[x0 | x0 + sigma eps]."""
        precision = network_precision(self.autocast, next(network.parameters()).device)
        return PARAMETRISATIONS[self.parametrisation](network, shape, precision=precision)


class CleanPrediction(NetworkPrior):
    """D(x; sigma) = F(x / sqrt(1 + sigma²); ln(sigma)/4): the network reads x_t and predicts x0."""

    sigma_min, sigma_max = 1e-4, float("inf")

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        inputs = x / per_row((1 + sigma.square()).sqrt(), x)
        return self.network(inputs.float(), (sigma.log() / 4).float()).to(x.dtype)


PARAMETRISATIONS = {"edm": NetworkPrior, "x0": CleanPrediction}
