"""Settings of PCFM (arXiv 2506.04171)."""

from dataclasses import dataclass

from jensenbench.diffusion.schedules import FlowGrid
from jensenbench.errors import UnknownName, UserError

SOURCES, MODES = ("drawn", "estimated"), ("root", "least_squares")


@dataclass(frozen=True, kw_only=True)
class Config(FlowGrid):
    """How the estimate of x1 is brought onto h = 0, and mixed with noise again.

    Attributes:
        newton: projection steps w <- w - Jᵀ(JJᵀ + damping I)⁻¹ h(w) on each estimate.
        mode: "root", or "least_squares", which adds J(x1 - w) to h and yet starts from w, as the code does.
        damping: of the projection; it makes redundant rows of J harmless.
        tolerance, iterations: of its conjugate gradients.
        source: noise to mix with: "drawn", or "estimated": that of the flow itself, x - t v.
        relax: gradient steps of length ``step_size`` from the mixture y on |y - mixture|² + weight |h(y + γ v)|², where
            γ is the time left, at least 0.001.
        final: steps of sequential quadratic programming from the sample to the nearest zero of h.
        equation: whether the PDE's residual is part of h, beside exact data and declared constraints.
    """

    newton: int = 1
    mode: str = "root"
    damping: float = 1e-6
    tolerance: float = 1e-12
    iterations: int = 1000
    source: str = "drawn"
    relax: int = 0
    step_size: float = 0.01
    weight: float = 1.0
    final: int = 0
    equation: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.newton, self.iterations) < 1 or min(self.relax, self.final) < 0:
            raise UserError(
                f"newton = {self.newton}, iterations = {self.iterations}, relax = {self.relax}, final = {self.final}: "
                "the first two must be at least 1, the others at least 0"
            )
        if not (self.damping >= 0 and self.tolerance > 0 and self.weight >= 0 and self.step_size > 0):
            raise UserError(
                f"damping = {self.damping}, tolerance = {self.tolerance}, weight = {self.weight}, step_size = "
                f"{self.step_size}: damping and weight must not be negative, the others positive"
            )
        for name, known in (("source", SOURCES), ("mode", MODES)):
            if getattr(self, name) not in known:
                raise UnknownName(name, getattr(self, name), known)
