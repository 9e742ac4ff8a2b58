"""ECI sampling: hard constraints by extrapolation, correction and interpolation along a flow, without gradients.

Source: Cheng et al., ICLR 2025, arXiv 2412.01786. Variants: ``published`` (M = 5 corrections at each time),
``published_resampled`` (noise drawn anew in every 5th) and ``corrected`` (noise of the flow itself, joint projection).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.diffusion.samplers import extrapolate, interpolate
from jensenbench.diffusion.schedules import FlowGrid
from jensenbench.errors import UnknownName, UserError

SOURCES, PROJECTIONS = ("drawn", "estimated"), ("chained", "joint")


@dataclass(frozen=True, kw_only=True)
class Config(FlowGrid):
    """How the corrected estimate of x1 is mixed with noise again.

    Attributes:
        mixing: M, corrections at each time; 1 to 5 in the authors' notebooks.
        resample: R, the noise is drawn anew in every R-th correction; None: never. Theirs: 5 for boundary values.
        source: noise to mix with: "drawn", or "estimated": that of the flow itself, x - t v, which turns the
            step without a constraint into an Euler step.
        projection: "chained": onto each constraint in order, or "joint": to the nearest point in prior coordinates
            that meets all of them.
    """

    mixing: int = 1
    resample: int | None = None
    source: str = "drawn"
    projection: str = "chained"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixing < 1 or (self.resample is not None and self.resample < 1):
            raise UserError(f"mixing = {self.mixing}, resample = {self.resample}: need whole numbers from 1 on")
        for name, known in (("source", SOURCES), ("projection", PROJECTIONS)):
            if getattr(self, name) not in known:
                raise UnknownName(name, getattr(self, name), known)


class ECI(Iterative):
    """Extrapolates the flow to x1, corrects it by projection, interpolates back; the constraints hold to rounding."""

    name = "eci"
    Config = Config
    variants = {
        "corrected": Config(steps=60, times="edm", mixing=2, source="estimated", projection="joint"),
        "published": Config(mixing=5),
        "published_resampled": Config(resample=5),
    }
    capabilities = Capabilities(noisy=False, exact_observations=True)
    references = ("cheng2025eci",)
    deviations = (
        "The flow is the shared prior's, an exact change of variables, instead of a network trained by functional "
        "flow matching; its noise is white, which the published kernel is to four decimals.",
        "Observed entries are the Dirichlet mask; the equation itself is no constraint.",
        "Variants `published` and `published_resampled` are the settings M = 5 without and M = 1 with resampling at "
        "R = 5, which the authors give for initial and for boundary conditions of the Stokes problem.",
        "Variant `corrected` mixes with the noise that the flow itself implies instead of the first draw, projects "
        "to the nearest point in prior coordinates that meets all constraints, and visits the noise levels of EDM.",
    )

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        config, count = self.config, 0
        # x_0 = eps ~ N(0, I)
        x = eps = noise(prior.shape)
        yield x
        for t, t_next in pairwise(config.grid().tolist()):
            for left in range(config.mixing)[::-1]:
                count += 1
                # fresh noise in every R-th correction
                if config.resample and count % config.resample == 0:
                    eps = noise(prior.shape)
                # E, extrapolation, and C, correction: x1 = C(x_t + (1 - t) v)
                velocity = prior.velocity(x, t)
                x1 = problem.correct(extrapolate(x, velocity, t), jointly=config.projection == "joint")
                if config.source == "estimated":
                    eps = extrapolate(x, velocity, t, end=0.0)
                # I, interpolation: back to time t, or after the last correction on to t'
                x = interpolate(eps, x1, t if left else t_next)
            yield x
