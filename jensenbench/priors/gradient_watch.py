"""Several losses of one network compared while it trains: values, and cosines of gradients, on held-out states."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from jensenbench.diffusion.samplers import heun
from jensenbench.diffusion.schedules import EDMGrid
from jensenbench.errors import UserError
from jensenbench.numerics.autograd import cosine, weight_gradient
from jensenbench.numerics.random import generator_of
from jensenbench.priors.chain_training import Objective
from jensenbench.priors.network import NetworkPrior

BANDS = 4  # of noise levels, in which a training is watched
DRAWN, STEPS = 32, 10  # samples of the probability flow, Heun steps


def held_out(data: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """States (N, C, *grid) to train on, and the last ``count`` of them, which are not."""
    if len(data) <= count:
        raise UserError(f"watch = {count} leaves none of the {len(data)} training states to train on")
    return data[: len(data) - count], data[len(data) - count :]


class GradientWatch:
    """Losses of a denoiser and cosines between their gradients, on the same states and noise at every call.

    Noise levels are spread evenly over the chain, whatever the training: bands of them are measured alone, and
    together.

    Args:
        objectives: losses by name. The first is the one with whose gradient the others' are compared; the others report
            ``mean_abs_residual`` among their parts.
        states: held out (N, C, *grid), N a multiple of the number of bands.
        sigmas: (T,) noise levels of the chain.
        residual: states (b, C, *grid) in prior coordinates to the entries of their residual.
        unit: by which residuals are divided.
    """

    def __init__(
        self,
        objectives: Mapping[str, Objective],
        states: Tensor,
        sigmas: Tensor,
        *,
        residual: Callable[[Tensor], Tensor],
        unit: float,
    ):
        self._objectives, self._sigmas, self._residual, self._unit = objectives, sigmas, residual, unit
        count, source = len(states), generator_of(("watch",))
        levels = ((torch.arange(count) + 0.5) / count * len(sigmas)).long()
        noise = torch.randn(states.shape, generator=source).to(states.device)
        parts = (part.tensor_split(BANDS) for part in (states.float(), levels.to(states.device), noise))
        self._bands = list(zip(*parts, strict=True))
        self._latents = torch.randn(DRAWN, *states.shape[1:], generator=source).to(states.device)

    def __call__(self, model: NetworkPrior, average: NetworkPrior) -> dict[str, float]:
        """``watch_{quantity}`` over all levels, and ``watch_{quantity}_sigma_{median}`` of each band.

        Losses and gradients are those of the weights in training, the residual of samples that of their average.
        """
        found = {"watch_samples": self._residual_of_samples(average)}
        measured = [self._measure(model, *band) for band in self._bands]
        for (_, levels, _), (losses, gradients) in zip(self._bands, measured, strict=True):
            band = f"sigma_{float(self._sigmas[levels.cpu()].median()):.3g}"
            found |= {f"watch_{name}_{band}": value for name, value in {**losses, **compare(gradients)}.items()}
        of_losses, of_gradients = zip(*measured, strict=True)
        means = {name: sum(losses[name] for losses in of_losses) / BANDS for name in of_losses[0]}
        total = {name: torch.stack([part[name] for part in of_gradients]).mean(0) for name in of_gradients[0]}
        return found | {f"watch_{name}": value for name, value in {**means, **compare(total)}.items()}

    def _measure(
        self, model: NetworkPrior, clean: Tensor, levels: Tensor, noise: Tensor
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Losses in one band, mean absolute residuals of all but the first, and the gradient of each loss."""
        losses, gradients = {}, {}
        for name, objective in self._objectives.items():
            compared = bool(losses)
            loss, parts = objective(model, clean, levels, noise)
            losses[name], gradients[name] = float(loss.detach()), weight_gradient(loss, model.backbone)
            if compared:
                losses[f"residual_{name}"] = float(parts["mean_abs_residual"]) / self._unit
        return losses, gradients

    @torch.no_grad()
    def _residual_of_samples(self, average: NetworkPrior) -> float:
        """Mean absolute residual at the end of the probability flow, from latents that never change."""
        sigmas = EDMGrid(steps=STEPS).sigmas().tolist()
        x = sigmas[0] * self._latents
        for sigma, sigma_next in pairwise(sigmas):
            x = heun(average, x, sigma, sigma_next).x
        return float(self._residual(x).abs().mean()) / self._unit


def compare(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """Cosine of each gradient with the first one, and the ratio of their norms."""
    own, *others = gradients
    cosines = {f"cosine_{name}": cosine(gradients[name], gradients[own]) for name in others}
    return cosines | {f"ratio_{name}": float(gradients[name].norm() / gradients[own].norm()) for name in others}
