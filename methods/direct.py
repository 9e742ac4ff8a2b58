"""Direct optimisation of the state on data misfit and PDE residual, without a prior: the control for learned priors.

Variants: ``lbfgs`` (L-BFGS with strong-Wolfe line searches, Liu and Nocedal 1989) and ``adam`` (arXiv 1412.6980).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Capabilities, Method
from jensenbench.core.noise import Noise
from jensenbench.core.problem import Problem
from jensenbench.core.settings import require_nonnegative, tunable
from jensenbench.errors import Diverged, UnknownName, UserError
from jensenbench.numerics.optim import LBFGS, Adam, Optimiser
from methods._losses import mean_excess, residual_loss

OPTIMISERS = ("adam", "lbfgs")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Weight of the equation, optimiser and starts.

    Attributes:
        zeta_pde: weight of the residual's mean square, in units of the equation's largest term; 0.05 to 1 is good.
        optimiser: "adam", or "lbfgs" with strong-Wolfe line searches.
        history: curvature pairs that L-BFGS keeps.
        steps: of the optimiser from each start.
        lr: step length of Adam, in prior coordinates (0.02 is good); the first length that a line search tries (1).
        starts: number of starts; the end with the smallest loss is the sample.
        spread: standard deviation of the starts in units of the prior's; 0 starts at its centre.
    """

    zeta_pde: float = tunable(0.1, 1e-3, 10)
    optimiser: str = "lbfgs"
    history: int = 5
    steps: int = 500
    lr: float = 1.0
    starts: int = 2
    spread: float = tunable(0.3, 0.03, 1)

    def __post_init__(self) -> None:
        require_nonnegative("zeta_pde", self.zeta_pde)
        require_nonnegative("spread", self.spread)
        if self.optimiser not in OPTIMISERS:
            raise UnknownName("optimiser", self.optimiser, OPTIMISERS)
        if self.starts < 1 or (self.starts > 1 and not self.spread):
            raise UserError(f"starts = {self.starts}, spread = {self.spread}: several starts need a spread")
        self.rule()

    def rule(self) -> Optimiser:
        """The optimiser of one start."""
        if self.optimiser == "adam":
            return Adam(iterations=self.steps, lr=self.lr)
        return LBFGS(iterations=self.steps, lr=self.lr, history=self.history, line_search=True)


class Direct(Method):
    """Minimises data misfit and residual over the state in prior coordinates, from small random starts."""

    name = "direct"
    Config = Config
    variants = {"lbfgs": Config(), "adam": Config(optimiser="adam", lr=0.02)}
    capabilities = Capabilities(unconditional=False, uses_prior=False, residual_of="sample")
    tunes = ("lbfgs", "adam")
    references = ("liu1989limited", "kingma2015adam")
    deviations = ("Not a published method: the control that shows what data and equation give without a prior.",)

    @torch.no_grad()
    def sample(self, prior: Denoiser, problem: Problem, noise: Noise, *, fitted: nn.Module | None = None) -> Tensor:
        # starts x ~ N(0, (spread sigma_data)² I)
        draws = (self.config.spread * prior.sigma_data * noise(prior.shape) for _ in range(self.config.starts))
        # the end of an optimisation from each
        ends = [self.descend(problem, start) for start in draws]
        # the end with the smallest loss
        best = torch.stack([self.loss(problem, end) for end in ends]).argmin(0)
        x = torch.stack(ends, 1)[torch.arange(len(best)), best]
        if not torch.isfinite(x).all():
            raise Diverged("direct: the final state is NaN or infinite")
        return x

    def descend(self, problem: Problem, start: Tensor) -> Tensor:
        """The end of one optimisation."""

        def objective(x: Tensor, rows: Tensor) -> Tensor:
            return self.loss(problem if len(rows) == len(start) else problem.subset(rows.tolist()), x)

        return self.config.rule().minimise(objective, start).x

    def loss(self, problem: Problem, x: Tensor) -> Tensor:
        """(b,): mean square of the misfit beyond the noise of the data, plus weighted mean squares of the residual."""
        misfit = mean_excess(problem, x)
        if not self.config.zeta_pde:
            return misfit
        return misfit + self.config.zeta_pde * residual_loss(problem, x)
