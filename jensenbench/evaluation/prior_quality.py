"""Quality of a prior while it is trained: a few of its own samples against the reference states."""

from itertools import pairwise

import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import KeyedNoise
from jensenbench.data.dataset import Dataset
from jensenbench.diffusion.samplers import heun
from jensenbench.diffusion.schedules import EDMGrid
from jensenbench.errors import UserError
from jensenbench.evaluation.residuals import residual_metrics
from jensenbench.evaluation.sets import distance, make_reference, moment_gaps, moments, unit_channels

QUALITIES = ("residual_rel", "mmse", "smse", "sliced_w2")
STEPS = 14  # of Heun's sampler, 27 evaluations per state: its error is below the sampling noise of 128 states
BATCH = 128


class PriorQuality:
    """Residual, moments and sliced W2 of a fixed set of samples, by the metrics' names.

    The samples start from keyed noise, so that all priors of a PDE are compared on the same latents and
    no random stream of a training is touched. The residual is pooled over the states.

    Args:
        dataset: its reference states are what samples are compared with.
        states: number of samples, at least 4.
    """

    def __init__(self, dataset: Dataset, *, states: int):
        if states < 4:
            raise UserError(f"quality = {states}: moments need at least 4 states; use 0 to switch the evaluation off")
        self.dataset, self.states = dataset, states
        self._reference = make_reference(dataset.split("reference"), dataset.field_std)

    def __call__(self, prior: Denoiser, codec: Codec) -> dict[str, float]:
        """Quality of a prior whose codec is ``codec``; NaN where a sample is not finite."""
        return self.measure(self.sample(prior, codec))

    @torch.no_grad()
    def sample(self, prior: Denoiser, codec: Codec) -> Tensor:
        """Physical states (states, C, *grid) float64 on the CPU."""
        sigmas = EDMGrid(steps=STEPS).sigmas().tolist()
        device = "cpu" if prior.module is None else next(prior.module.parameters()).device
        parts = []
        for chosen in torch.arange(self.states).split(BATCH):
            x = sigmas[0] * KeyedNoise([("quality", int(index)) for index in chosen], device=device)(prior.shape)
            for sigma, sigma_next in pairwise(sigmas):
                x = heun(prior, x, sigma, sigma_next).x
            parts.append(codec.decode(x).cpu())
        return torch.cat(parts)

    def measure(self, states: Tensor) -> dict[str, float]:
        """The same measures of any physical states (n, C, *grid)."""
        scaled = unit_channels(states, self.dataset.field_std)
        if not torch.isfinite(scaled).all():
            return dict.fromkeys(QUALITIES, float("nan"))
        residual = residual_metrics(self.dataset.pde, states[None], self.dataset.term_scale)["residual_rel"]
        of_means, of_stds = moment_gaps(moments(scaled), self._reference.moments)
        values = (residual, of_means.mean(), of_stds.mean(), distance(scaled, self._reference))
        return {name: float(value) for name, value in zip(QUALITIES, values, strict=True)}
