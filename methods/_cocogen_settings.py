"""Settings of CoCoGen's variants: predictor, conditioning, and the corrections by the residual."""

from dataclasses import dataclass, replace

from jensenbench.core.settings import require_nonnegative, require_steps, tunable
from jensenbench.diffusion.samplers import AncestralRule, ScaledRule
from jensenbench.diffusion.schedules import Ancestral, EDMGrid, Scaled, betas_between
from jensenbench.errors import UnknownName, UserError

RULES = ("published", "full")


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """What every variant sets besides its predictor.

    Attributes:
        resample: predictor steps per level where there are data, with re-noising in between (RePaint).
        last: in so many last levels every predictor step is followed by a correction.
        extra: corrections of the result.
        step, extra_step: longest change of an entry of the solution in one correction, in units of ``unit``.
        unit: standard deviation of the solution for which the steps are meant: they are scaled to other solutions.
        rule: ``published`` (diagonal of the Jacobian for the gradient, divided by its largest signed entry) or
            ``full`` (gradient in prior coordinates, a step to the minimum along it, if it is not longer).
        heed_noise: paste noisy data only while the sampler's own noise exceeds theirs; else they pass for exact.
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
        if self.rule not in RULES:
            raise UnknownName("cocogen rule", self.rule, RULES)
        if self.resample < 1 or self.last < 0 or self.extra < 0 or not self.unit > 0:
            raise UserError(
                f"cocogen: resample = {self.resample}, last = {self.last}, extra = {self.extra}, unit = {self.unit}: "
                "need resample >= 1, last and extra >= 0, unit > 0"
            )
        require_nonnegative("step", self.step)
        require_nonnegative("extra_step", self.extra_step)


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
