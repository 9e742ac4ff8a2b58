"""What the residual does to a network in training: losses, and whether their gradients agree, on states held out."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from jensenbench.core.problem import Problem
from jensenbench.diffusion.samplers import heun
from jensenbench.diffusion.schedules import EDMGrid
from jensenbench.errors import UserError
from jensenbench.numerics.autograd import cosine, weight_gradient
from jensenbench.numerics.random import generator_of
from jensenbench.priors.network import NetworkPrior
from methods._pidm import Objective, residual_parts
from methods._pidm_settings import BANDS, Fit

ESTIMATES = ("mean", "sample")
DRAWN, STEPS = 32, 10  # samples of the probability flow, Heun steps


def watched(settings: Fit, problem: Problem, data: Tensor) -> tuple[Tensor, "Watch | None"]:
    """States (N, C, *grid) to train on, and what watches the training with the last ``settings.watch`` states."""
    if not settings.watch:
        return data, None
    if len(data) <= settings.watch:
        raise UserError(f"watch = {settings.watch} leaves none of the {len(data)} training states to train on")
    return data[: -settings.watch], Watch(settings, problem, data[-settings.watch :])


class Watch:
    """Losses of the objective and cosines between their gradients, the same states and noise at every call.

    Noise levels are spread evenly over the schedule, whatever the training: bands of them are measured alone, and
    together. The denoising loss has its weight SNR, and the PDE loss of either estimate its variance, as in the
    objective; c_data and c_residual are left out.
    """

    def __init__(self, settings: Fit, problem: Problem, states: Tensor):
        self.problem, self.settings, count = problem, settings, len(states)
        alone = {"denoising": replace(settings, c_data=1.0, c_residual=0.0)}
        alone |= {kind: replace(settings, c_data=0.0, c_residual=1.0, estimate=kind) for kind in ESTIMATES}
        self._objectives = {name: Objective(weights, problem) for name, weights in alone.items()}
        source = generator_of(("watch",))
        levels = ((torch.arange(count) + 0.5) / count * settings.levels).long()
        noise = torch.randn(states.shape, generator=source).to(states.device)
        parts = (part.tensor_split(BANDS) for part in (states.float(), levels.to(states.device), noise))
        self._bands, self._sigmas = list(zip(*parts, strict=True)), settings.schedule().sigmas
        self._latents = torch.randn(DRAWN, *states.shape[1:], generator=source).to(states.device)
        self._unit = problem.term_scale if settings.relative else 1.0

    def __call__(self, model: NetworkPrior, average: NetworkPrior) -> dict[str, float]:
        """``watch_{quantity}`` over all levels, and ``watch_{quantity}_sigma_{median}`` of each band.

        Losses and gradients are those of the weights in training, the residual of samples that of their average.
        """
        found = {"watch_samples": self._residual_of_samples(average)}
        measured = [self._measure(model, *band) for band in self._bands]
        for (_, levels, _), (losses, gradients) in zip(self._bands, measured, strict=True):
            place = f"sigma_{float(self._sigmas[levels.cpu()].median()):.3g}"
            found |= {f"watch_{name}_{place}": value for name, value in {**losses, **compare(gradients)}.items()}
        of_losses, of_gradients = zip(*measured, strict=True)
        means = {name: sum(losses[name] for losses in of_losses) / BANDS for name in of_losses[0]}
        total = {name: torch.stack([part[name] for part in of_gradients]).mean(0) for name in of_gradients[0]}
        return found | {f"watch_{name}": value for name, value in {**means, **compare(total)}.items()}

    def _measure(
        self, model: NetworkPrior, clean: Tensor, levels: Tensor, noise: Tensor
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Losses in one band, mean absolute residuals of both estimates, and the gradient of each loss."""
        losses, gradients = {}, {}
        for name, objective in self._objectives.items():
            loss, parts = objective(model, clean, levels, noise)
            losses[name], gradients[name] = float(loss.detach()), weight_gradient(loss, model.backbone)
            if name in ESTIMATES:
                losses[f"residual_{name}"] = float(parts["mean_abs_residual"]) / self._unit
        return losses, gradients

    @torch.no_grad()
    def _residual_of_samples(self, average: NetworkPrior) -> float:
        """Mean absolute residual at the end of the probability flow, from latents that never change."""
        sigmas = EDMGrid(steps=STEPS).sigmas().tolist()
        x = sigmas[0] * self._latents
        for sigma, sigma_next in pairwise(sigmas):
            x = heun(average, x, sigma, sigma_next).x
        parts = residual_parts(self.problem, x, self.settings)
        return float(torch.cat([part.flatten() for part in parts]).abs().mean()) / self._unit


def compare(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """Cosine of each PDE loss's gradient with that of the denoising loss, and the ratio of their norms."""
    own = gradients["denoising"]
    cosines = {f"cosine_{kind}": cosine(gradients[kind], own) for kind in ESTIMATES}
    return cosines | {f"ratio_{kind}": float(gradients[kind].norm() / own.norm()) for kind in ESTIMATES}
