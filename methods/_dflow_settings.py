"""Settings of D-Flow."""

import math
from dataclasses import dataclass

from jensenbench.core.settings import require_nonnegative, tunable
from jensenbench.diffusion.samplers import FLOW_STEPS
from jensenbench.diffusion.schedules import FlowGrid
from jensenbench.errors import UnknownName, UserError
from jensenbench.numerics.optim import LBFGS


@dataclass(frozen=True, kw_only=True)
class Config(FlowGrid):
    """Loss of a noise z: squared misfit and residual at the end of its flow, and a penalty of its norm.

    Attributes:
        solver: "euler", "midpoint" or "heun".
        iterations, lr, history, line_search, couple_batch: of L-BFGS; coupled, all rows of a batch are one problem.
        target: a row whose loss is not above this stops; None: no such stop.
        zeta_obs: weight of the squared misfit in units of each field's standard deviation.
        within_noise: leave out of it what the noise of the data explains.
        zeta_pde: weight of the squared residual, in units of the equation's largest term.
        scheme: residual that is minimised.
        zeta_norm: weight of -log p(|z|) = |z|²/2 - (d-1) log|z|, the chi law that norms of noise have.
        blend: alpha, the start is sqrt(alpha) times the noise to which the data lead by the inverse flow, plus
            sqrt(1 - alpha) times drawn noise.
        checkpoint: keep the state of each step alone and compute the step again for its gradient: less memory,
            more evaluations, the same numbers.
    """

    steps: int = 100
    solver: str = "euler"
    iterations: int = 20
    lr: float = 0.1
    history: int = 100
    line_search: bool = False
    couple_batch: bool = False
    target: float | None = None
    zeta_obs: float = 1.0
    within_noise: bool = False
    zeta_pde: float = tunable(0.0, 1e-4, 1)
    scheme: str = "own"
    zeta_norm: float = tunable(0.0, 1e-4, 1)
    blend: float = 0.0
    checkpoint: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("zeta_obs", "zeta_pde", "zeta_norm"):
            require_nonnegative(name, getattr(self, name))
        if self.solver not in FLOW_STEPS:
            raise UnknownName("solver", self.solver, FLOW_STEPS)
        if not 0 <= self.blend <= 1:
            raise UserError(f"blend = {self.blend}: the share of the inverted noise must lie in [0, 1]")
        self.optimiser()

    def optimiser(self) -> LBFGS:
        return LBFGS(
            iterations=self.iterations, lr=self.lr, history=self.history, line_search=self.line_search,
            couple_batch=self.couple_batch, target=-math.inf if self.target is None else self.target,
        )  # fmt: skip
