"""Settings of PIDDM: how the student is trained, and how its noise is optimised."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jensenbench.core.settings import configure, require_nonnegative, tunable
from jensenbench.errors import UnknownName, UserError
from jensenbench.numerics.optim import Adam, GradientDescent, Optimiser
from jensenbench.priors.backbones.build import BACKBONES, find_backbone
from jensenbench.priors.loop import LoopSettings
from jensenbench.priors.pairs import PairSettings

STUDENTS = ("auto", "teacher", "affine", *BACKBONES)
BALANCES = ("fixed", "gradients")
OPTIMISERS = ("adam", "gradient")


@dataclass(frozen=True, kw_only=True)
class Fit(LoopSettings):
    """Distillation: mean((d - x0)/sigma_data)² + lambda mean(R(d)/term)² over pairs (arXiv 2505.22391, eq. 8).

    Attributes:
        pairs: of noise and teacher state; with several rounds, the pairs are renewed every steps/rounds steps.
        student: ``teacher`` (the prior's network at sigma_max), ``affine`` (solved for, not trained), a backbone's
            name (from scratch), or ``auto``: teacher where the prior has a network, affine for an exact Gaussian
            prior, mlp for other exact ones (toys).
        backbone: settings of a backbone from scratch.
        residual_weight: lambda_train.
        balance: ``fixed``, or ``gradients``: the weight times |grad of the first term|/|grad of the second|.
        warm_up: share of the steps over which the weight rises from 0.
        augment: apply a random symmetry of the equation to noise and state where that is exact for both.
        autocast: of training; see :func:`jensenbench.priors.network.network_precision`.
    """

    lr: float = 1.5e-3
    pairs: PairSettings = field(default_factory=PairSettings)
    student: str = "auto"
    backbone: Mapping[str, Any] = field(default_factory=dict)
    residual_weight: float = 0.1
    balance: str = "fixed"
    warm_up: float = 0.3
    augment: bool = True
    autocast: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_nonnegative("residual_weight", self.residual_weight)
        for name, known in (("student", STUDENTS), ("balance", BALANCES)):
            if getattr(self, name) not in known:
                raise UnknownName(name, getattr(self, name), known)
        if not 0 <= self.warm_up <= 1:
            raise UserError(f"warm_up = {self.warm_up} must be a share of the steps, from 0 to 1")
        if self.student in BACKBONES:
            configure(f"{self.student} setting", find_backbone(self.student).settings, self.backbone)
        elif self.backbone:
            raise UserError(f"student {self.student!r} takes no settings of a backbone, got {dict(self.backbone)}")

    def weight(self, step: int) -> float:
        """lambda_train at a step of the warm-up or later."""
        return self.residual_weight * min(1.0, (step + 1) / max(1.0, self.warm_up * self.steps))


@dataclass(frozen=True, kw_only=True)
class Config:
    """The student's training, and how its noise is optimised afterwards.

    Attributes:
        fit: of the student.
        uses_data: algorithm 3 (observed tasks) instead of sampling without observations.
        steps: K, of the optimiser of the noise; 0: the student's state as it is.
        optimiser: "adam", or "gradient": plain descent.
        lr: length of a step, in units of the white noise.
        residual_weight: lambda_infer, of the residual beside the data in algorithm 3.
        mixed: the residual there is that of the state with the observations pasted in, unless they are noisy.
        anchor: weight mu of the mean square distance from the first state, in units of sigma_data.
        relative: residuals in units of the state's own largest term.
    """

    fit: Fit = field(default_factory=Fit)
    uses_data: bool = False
    steps: int = 0
    optimiser: str = "adam"
    lr: float = tunable(0.02, 1e-3, 0.1)
    residual_weight: float = tunable(0.1, 0.01, 10)
    mixed: bool = True
    anchor: float = 0.0
    relative: bool = False

    def __post_init__(self) -> None:
        if self.steps < 0 or (self.uses_data and not self.steps):
            raise UserError(f"steps = {self.steps}: must not be negative, and positive where data are used")
        require_nonnegative("residual_weight", self.residual_weight)
        require_nonnegative("anchor", self.anchor)
        if self.optimiser not in OPTIMISERS:
            raise UnknownName("optimiser", self.optimiser, OPTIMISERS)
        self.rule()

    def rule(self) -> Optimiser:
        """The optimiser of the noise."""
        kind = Adam if self.optimiser == "adam" else GradientDescent
        return kind(iterations=max(1, self.steps), lr=self.lr)
