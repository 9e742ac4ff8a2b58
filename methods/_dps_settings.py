"""Settings of the three variants of diffusion posterior sampling."""

from dataclasses import dataclass

from jensenbench.core.settings import require_nonnegative, require_steps, tunable
from jensenbench.diffusion.samplers import AncestralRule, ScaledRule
from jensenbench.diffusion.schedules import Scaled, VPGrid
from jensenbench.errors import UnknownName

VARIANCES = ("measured", "scaled")


@dataclass(frozen=True, kw_only=True)
class Published(VPGrid):
    """x <- ancestral step - zeta grad ||y - A x0(x)||, the norm not squared.

    Attributes:
        zeta: step size.
        clip: cut the estimate of x0 to [-1, 1] (images), which also stops the gradient there.
        couple_batch: one norm over the whole batch, as in the code, instead of one a state.
    """

    zeta: float = 0.5
    clip: bool = False
    couple_batch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_nonnegative("zeta", self.zeta)

    def rule(self) -> AncestralRule:
        return AncestralRule(self.schedule())


@dataclass(frozen=True, kw_only=True)
class InverseBench:
    """The same guidance on reverse SDE or ODE steps (Zheng et al., arXiv 2503.11043).

    Attributes:
        schedule: "vp" or "edm".
        stochastic: SDE instead of ODE.
        beta_d, beta_min, last_time: of the VP schedule.
        sigma_max, rho: of the EDM schedule.
        sigma_end: level at which both end.
    """

    steps: int = 1000
    schedule: str = "vp"
    stochastic: bool = True
    beta_d: float = 19.9
    beta_min: float = 0.1
    last_time: float = 1e-3
    sigma_max: float = 100.0
    rho: float = 7.0
    sigma_end: float = 0.01
    zeta: float = 10.0
    clip: bool = False
    couple_batch: bool = False

    def __post_init__(self) -> None:
        require_steps(self.steps)
        require_nonnegative("zeta", self.zeta)
        if self.schedule not in ("vp", "edm"):
            raise UnknownName("schedule", self.schedule, ("vp", "edm"))

    def levels(self) -> Scaled:
        if self.schedule == "edm":
            return Scaled.edm(self.steps, sigma_max=self.sigma_max, sigma_end=self.sigma_end, rho=self.rho)
        return Scaled.vp(
            self.steps, beta_d=self.beta_d, beta_min=self.beta_min, last=self.last_time, sigma_end=self.sigma_end
        )

    def rule(self) -> ScaledRule:
        return ScaledRule(self.levels(), stochastic=self.stochastic)


@dataclass(frozen=True, kw_only=True)
class Corrected(VPGrid):
    """Ancestral steps with :meth:`DPS.posterior_mean`; ``zeta`` scales the pull, 1 by derivation.

    Attributes:
        variance: of the data given x_t, beside their noise: "measured" along the misfit, or "scaled", r² of Song et
            al. (2023) for data of unit variance.
    """

    steps: int = 60
    levels: str = "edm"
    zeta: float = tunable(1.0, 0.1, 10)
    variance: str = "measured"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_nonnegative("zeta", self.zeta)
        if self.variance not in VARIANCES:
            raise UnknownName("variance", self.variance, VARIANCES)
