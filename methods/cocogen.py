"""CoCoGen: score-based sampling; late noisy states move down the gradient of their own squared PDE residual.

Source: Jacobsen et al., arXiv 2312.10527; conditioning on data by RePaint (Lugmayr et al., arXiv 2201.09865).
Variants: ``published`` (the authors' code: Euler steps of the reverse SDE), ``published_stable`` (ends at a later
time), ``pfode`` (probability flow) and ``corrected`` (ancestral steps, the full gradient, noisy data not taken for
noise-free).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Iterative
from jensenbench.core.noise import Noise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.settings import require_nonnegative, require_steps, tunable
from jensenbench.diffusion.samplers import AncestralRule, ScaledRule
from jensenbench.diffusion.schedules import Ancestral, EDMGrid, Scaled, betas_between
from jensenbench.errors import UnknownName, UserError
from methods._corrections import Corrector, mixed
from methods._losses import missing_scheme

STABLE = 1e-3  # last time of the variant that exact scores do not upset


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """What every variant sets besides its predictor.

    Attributes:
        resample: R, predictor steps per level where there are data, with re-noising in between (RePaint); 5 to 10.
        last: number of last levels in which every predictor step is followed by a correction.
        extra: corrections of the result.
        step, extra_step: longest change of an entry of the solution in one correction, in units of ``unit``; as
            published 2e-3 and 2e-4, with rule ``full`` about 0.1.
        unit: standard deviation of the solution for which the steps are meant: they are scaled to other solutions.
        rule: ``published`` (diagonal of the Jacobian for the gradient, divided by its largest signed entry) or
            ``full`` (gradient in prior coordinates, a step to the minimum along it, if it is not longer).
        heed_noise: paste noisy data only while the sampler's own noise exceeds theirs; else they are taken for
            noise-free.
        scheme: the residual that is corrected.
        unconditional: whether states without data are corrected too; the public code had this switched off.
    """

    resample: int = 5
    last: int = 50
    extra: int = 10
    step: float = 2e-3
    extra_step: float = 2e-4
    unit: float = 0.08232874
    rule: str = "published"
    heed_noise: bool = False
    scheme: str = "own"
    unconditional: bool = False

    def __post_init__(self) -> None:
        if self.rule not in Corrector.rules:
            raise UnknownName("cocogen rule", self.rule, Corrector.rules)
        if self.resample < 1 or self.last < 0 or self.extra < 0 or not self.unit > 0:
            raise UserError(
                f"cocogen: resample = {self.resample}, last = {self.last}, extra = {self.extra}, unit = {self.unit}: "
                "need resample >= 1, last and extra >= 0, unit > 0"
            )
        require_nonnegative("step", self.step)
        require_nonnegative("extra_step", self.extra_step)

    def corrector(self, problem: Problem, fixed: Tensor) -> Corrector:
        """What corrects the entries of the solution outside the mask ``fixed``."""
        return Corrector(problem, fixed, rule=self.rule, scheme=self.scheme, unit=self.unit)


@dataclass(frozen=True, kw_only=True)
class Published(Corrections):
    """Euler steps of the reverse SDE, or of its probability flow, on equidistant times (arXiv 2312.10527).

    Attributes:
        steps: K; the times are linspace(1, last_time, K), and one more step.
        beta_min, beta_max: beta(t) = beta_min + t (beta_max - beta_min).
        stochastic: SDE instead of probability flow.
    """

    steps: int = 2000
    beta_min: float = 1e-4
    beta_max: float = 10.0
    last_time: float = 1e-5
    stochastic: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_steps(self.steps)
        if not (0 < self.beta_min < self.beta_max and 0 < self.last_time < 1):
            raise UserError(
                f"cocogen: beta_min = {self.beta_min}, beta_max = {self.beta_max}, last_time = {self.last_time}: need "
                "0 < beta_min < beta_max and 0 < last_time < 1"
            )

    def schedule(self) -> Scaled:
        beta_d = self.beta_max - self.beta_min
        return Scaled.vp(self.steps, beta_d=beta_d, beta_min=self.beta_min, last=self.last_time, sigma_end=None)

    def predictor(self, *, observed: bool) -> ScaledRule:
        """Without data the public code returns the mean of its last step."""
        return ScaledRule(self.schedule(), stochastic=self.stochastic, quiet_end=not observed)


@dataclass(frozen=True, kw_only=True)
class Corrected(EDMGrid, Corrections):
    """Ancestral steps, exact for the denoiser, on levels of the EDM grid; without data, ``resample`` times as many."""

    steps: int = 12
    sigma_min: float = 0.01
    sigma_max: float = 10.0
    resample: int = 10
    last: int = 12
    extra: int = 20
    step: float = tunable(0.1, 0.01, 1)
    extra_step: float = tunable(0.1, 0.01, 1)
    rule: str = "full"
    heed_noise: bool = True
    unconditional: bool = True

    def __post_init__(self) -> None:
        EDMGrid.__post_init__(self)
        Corrections.__post_init__(self)

    def predictor(self, *, observed: bool) -> AncestralRule:
        grid = self if observed else replace(self, steps=self.steps * self.resample)
        return AncestralRule(Ancestral(betas_between(1 / (1 + grid.sigmas()[:-1].flip(0).square()))))


class CoCoGen(Iterative):
    """VP sampler with RePaint's conditioning; late states are moved down the gradient of their own squared residual."""

    name = "cocogen"
    Config = Published
    variants = {
        "corrected": Corrected(),
        "published": Published(),
        "published_stable": Published(last_time=STABLE),
        "pfode": Published(stochastic=False, resample=1),
    }
    capabilities = Capabilities(residual_of="noisy")
    tunes = ("corrected",)
    references = ("jacobsen2024cocogen",)
    deviations = (
        "The network is the shared denoiser: its score of the VP process is an exact change of variables.",
        "Variants `published` and `pfode` follow the code where it differs from the paper: the Jacobian's diagonal "
        "for the gradient, steps over its largest signed entry, which may be tiny, a start from N(0, 1) although "
        "the process still depends on x0 at t = 1, no corrections without data, noisy data taken for noise-free.",
        "At the published last time, 1e-5, the score of a distribution on a subspace, or of a denoiser, is so steep "
        "that the Euler step multiplies whatever lies off it by -65, five times in a row; `published_stable` ends at "
        "1e-3.",
        "Corrections are in units of the published data's pressure std, and scaled to the std of other solutions.",
        "The diagonal is exact instead of by finite differences; no step is taken where its largest entry is zero.",
        "Variant `corrected`: ancestral steps on 12 levels of the EDM grid; gradient steps in prior coordinates to the "
        "smallest residual along them; corrections at all levels; noisy data replace entries only while the sampler's "
        "noise exceeds theirs.",
    )

    def skip(self, problem: Problem) -> str | None:
        if problem.observation is not None and not isinstance(problem.observation, MaskObservation):
            return "data must be entries of the fields, not an operator of them"
        return missing_scheme(problem, self.config.scheme) or super().skip(problem)

    @torch.no_grad()
    def steps(self, prior: Denoiser, problem: Problem, noise: Noise) -> Iterator[Tensor]:
        # x ~ N(0, I), as if the process had forgotten x0
        config, x = self.config, noise(prior.shape)
        known = Known(problem, x)
        rule = config.predictor(observed=known.exist)
        pasted = self.pasted(known, prior, rule)
        correct = config.corrector(problem, known.mask & pasted[-1])
        last, extra = (config.last, config.extra) if known.exist or config.unconditional else (0, 0)
        # observed entries <- data, noised to the first level
        if pasted[0]:
            x = known.paste(x, rule.noised(known.values, 0, noise))
        yield x
        for k, t in enumerate(rule.order, start=1):
            for again in reversed(range(config.resample if known.exist else 1)):
                # predictor: one step of the reverse process
                x = rule.step(x, rule.denoise(prior, x, t), t, noise)
                # observed entries <- data, noised to the level after this step
                if pasted[k]:
                    x = known.paste(x, rule.noised(known.values, k, noise))
                # RePaint: add the noise of the step again, but for the last repetition
                if again and k < len(rule.order):
                    x = rule.renoise(x, t, noise)
                # correction of the noisy state in the last levels
                if k > len(rule.order) - last:
                    x = correct(x, config.step)
            yield x
        # observed entries <- data
        if pasted[-1]:
            x = known.paste(x, known.values)
        # corrections of the result
        for _ in range(extra):
            x = correct(x, config.extra_step)
        yield x

    def pasted(self, known: "Known", prior: Denoiser, rule: AncestralRule | ScaledRule) -> list[bool]:
        """Whether the data replace entries of the state after k steps: noisy data may stop at their own level."""
        own = known.noise_std * prior.sigma_data if self.config.heed_noise else 0.0
        return [known.exist and (own == 0 or sigma > own) for sigma in rule.sigmas]


class Known:
    """The observed entries of a batch; ``values`` is a state in prior coordinates that has them."""

    def __init__(self, problem: Problem, like: Tensor):
        data = problem.observation
        self.exist, self.noise_std = isinstance(data, MaskObservation), data.noise_std if data is not None else 0.0
        self.mask = torch.zeros(1, *problem.pde.shape, dtype=torch.bool, device=like.device)
        self._problem, self.values = problem, like
        if isinstance(data, MaskObservation):
            self.mask, self.values = data.mask.to(like.device), problem.encode(data.values.to(like))

    def paste(self, x: Tensor, other: Tensor) -> Tensor:
        """x with the observed entries of its fields taken from ``other``."""
        return mixed(self._problem, self.mask, other, x)
