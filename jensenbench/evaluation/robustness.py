"""The same states under another discretisation of the equation."""

import importlib

from torch import Tensor

from jensenbench.core.pde import PDE
from jensenbench.evaluation.residuals import over_draws


def high_order_residual(pde: PDE, state: Tensor) -> Tensor | None:
    """(b, *points) residual of states (b, C, *grid) by a stencil of fourth order, None where the PDE has none."""
    return importlib.import_module("pdes._high_order").high_order_residual(pde, state)


def high_order_metrics(pde: PDE, fields: Tensor, term_scale: float) -> dict[str, Tensor]:
    """``residual_high_order`` (I,) of fields (I, K, C, *grid), in ``term_scale``; empty where there is none."""
    residual = high_order_residual(pde, fields.flatten(0, 1).double())
    if residual is None:
        return {}
    return {"residual_high_order": over_draws(residual.flatten(1).square().mean(-1), fields.shape[:2]) / term_scale}
