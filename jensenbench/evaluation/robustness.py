"""The same states under another discretisation of the equation."""

from torch import Tensor

from jensenbench.core.pde import PDE
from jensenbench.evaluation.residuals import over_draws
from jensenbench.plugins.registry import high_order_residual


def high_order_metrics(pde: PDE, fields: Tensor, term_scale: float) -> dict[str, Tensor]:
    """``residual_high_order`` (I,) of fields (I, K, C, *grid), in ``term_scale``; empty where there is none."""
    residual = high_order_residual(pde, fields.flatten(0, 1).double())
    if residual is None:
        return {}
    return {"residual_high_order": over_draws(residual.flatten(1).square().mean(-1), fields.shape[:2]) / term_scale}
