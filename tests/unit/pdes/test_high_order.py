"""The second residual is of fourth order, sees what second-order data leave, and every PDE has one or says why not."""

import numpy as np
import pytest
import torch

from jensenbench.evaluation.residuals import rms
from jensenbench.io.sources import public_modules
from jensenbench.plugins.registry import make_pde
from pdes._high_order import STENCILS, WITHOUT, high_order_residual

PROBLEMS = (
    ("poisson", {}),
    ("helmholtz", {"k": 2.0}),
    ("darcy", {"law": "lognormal"}),
    ("darcy", {"law": "lognormal", "grid": "left_closed"}),
    ("darcy_corner", {}),
    ("darcy_1d", {}),
    ("burgers", {"nu": 0.05}),
    ("burgers_1d", {}),
    ("convection", {}),
    ("heat", {}),
    ("reaction_diffusion", {"nu": 0.1, "rho": 2.0}),
    ("navier_stokes", {"snapshots": 5}),
)
LATENT = (("heat", {"law": "eci", "nu_high": 1.5}), ("stokes", {"k_high": 3.0}))  # ν is fitted


def order(errors, pdes) -> float:
    """Slope of the errors on two grids."""
    spacing = [max(pde.grid.spacings) for pde in pdes]
    return float(np.log(errors[0] / errors[1]) / np.log(spacing[0] / spacing[1]))


def inner(exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """The exact residual at the points of a narrower one, centred."""
    for dim in range(1, exact.dim()):
        exact = exact.narrow(dim, (exact.shape[dim] - found.shape[dim]) // 2, found.shape[dim])
    return exact


def found_in(pde, state) -> torch.Tensor:
    found = high_order_residual(pde, state)
    assert found is not None
    return found


@pytest.mark.parametrize(("name", "settings"), PROBLEMS)
def test_residual_converges_at_fourth_order(name, settings):
    coarse = make_pde(name, {"n": 32, **settings})
    pdes, errors = (coarse, coarse.refined(64)), []
    for pde in pdes:
        state, exact = pde.manufactured(2)
        found = found_in(pde, state)
        errors.append(float(rms((found - inner(exact["interior"], found)).flatten())))
    assert abs(order(errors, pdes) - 4) < 0.4, errors


@pytest.mark.parametrize(("name", "settings"), LATENT)
def test_closed_forms_meet_it_at_fourth_order(name, settings):
    pdes = [make_pde(name, {"n": n, "data": "continuous", **settings}) for n in (32, 64)]
    errors = [float(rms(found_in(pde, pde.generate(range(2), seed=0)).flatten())) for pde in pdes]
    assert errors[1] < 1e-9 or abs(order(errors, pdes) - 4) < 0.4, errors


@pytest.mark.parametrize(("name", "settings"), PROBLEMS)
def test_data_of_the_own_scheme_keep_its_truncation_error(name, settings):
    pde = make_pde(name, {"n": 16, **settings})
    data = pde.generate(range(2), seed=0)
    assert found_in(pde, data).abs().max() > 1e3 * pde.residual(data)["interior"].abs().max()


def test_every_pde_has_one_or_says_why_not():
    assert set(STENCILS) | set(WITHOUT) == set(public_modules("pdes"))
    assert not set(STENCILS) & set(WITHOUT)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("circle", {}),
        ("burgers", {"n": 6}),
        ("poisson", {"n": 6}),
        ("navier_stokes", {"arm": "end_points"}),
        ("navier_stokes", {"snapshots": 3}),
    ],
)
def test_none_where_there_is_none_or_too_few_points(name, settings):
    pde = make_pde(name, settings)
    assert high_order_residual(pde, pde.generate([0], seed=0)) is None
