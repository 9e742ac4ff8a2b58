"""Settings of DiffusionPDE: weights, forms and schedules of its losses."""

from dataclasses import dataclass

from jensenbench.core.settings import require_nonnegative, tunable
from jensenbench.diffusion.schedules import EDMGrid
from jensenbench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Config(EDMGrid):
    """Weights and form of the losses on top of Heun's sampler.

    Attributes:
        zeta_obs: weight of the data misfit, one number or one for each field.
        zeta_pde: weight of the equation's residual, used after the share ``switch`` of the steps.
        late_obs: factor of ``zeta_obs`` from then on.
        obs_normaliser, pde_normaliser: constants by which the norms are divided.
        scheme: residual that guides.
        squared: half squared norms of data in field stds and of the residual in units of the equation's
            largest term (their means times the number of entries, so that weights hold on any grid),
            instead of norms in physical units; a step then goes no further than to zero loss.
        scaled: squared losses over the variance that the data have given x_t, and a step as long as that of the
            probability flow with the likelihood's score.
    """

    steps: int = 2000
    zeta_obs: float | tuple[float, ...] = tunable(1.0, 0.1, 100)
    zeta_pde: float = tunable(1.0, 1e-3, 10)
    switch: float = 0.8
    late_obs: float = 0.1
    obs_normaliser: float = 1.0
    pde_normaliser: float = 16384.0
    scheme: str = "diffusionpde"
    squared: bool = False
    scaled: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("zeta_obs", "zeta_pde", "switch", "late_obs"):
            require_nonnegative(name, getattr(self, name))
        if self.obs_normaliser <= 0 or self.pde_normaliser <= 0:
            raise UserError(f"normalisers {self.obs_normaliser}, {self.pde_normaliser} must be positive")
        if self.scaled and not self.squared:
            raise UserError("scaled losses are squared ones: set squared: true")

    def spread(self, sigma: float, sigma_data: float) -> float:
        """r² = sigma²/(sigma² + sigma_data²), variance given x_t over the law's own (Song et al. 2023); 1 unscaled."""
        return sigma**2 / (sigma**2 + sigma_data**2) if self.scaled else 1.0

    def reach(self, sigma: float, sigma_next: float) -> float:
        """Factor of the gradient: sigma² of Tweedie's formula times the step's share of the noise; 1 unscaled."""
        return sigma * (sigma - sigma_next) if self.scaled else 1.0
