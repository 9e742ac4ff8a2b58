"""CoCoGen's residuals and Darcy generator against recordings of its public code."""

import numpy as np
import pytest
import torch

from jensenbench.core.codec import Codec
from jensenbench.core.pde import Axis, Grid
from jensenbench.core.problem import Problem
from jensenbench.plugins.registry import make_pde
from methods.cocogen import Published
from pdes._kle import Expansion
from pdes._published_pressures import cocogen
from pdes._stencils import first_difference, second_difference
from tests.support.golden import Fixture

RESIDUAL, DATA = Fixture("cocogen_residual"), Fixture("cocogen_darcy_data")
DARCY = [case for case in RESIDUAL.cases if "mu_p" in RESIDUAL.cases[case]]


def darcy_problem(case):
    """Network coordinates of (K, p), nodes at the recorded spacing."""
    number = {key: RESIDUAL.parameter(case, key) for key in ("dx", "mu_p", "sigma_p", "mu_k", "sigma_k")}
    n = RESIDUAL.config["grid"]
    pde = make_pde("darcy_corner", {"n": n})
    pde.grid = Grid(tuple(Axis(name, n, extent=number["dx"] * (n - 1)) for name in "xy"))
    codec = Codec(pde, shift=[number["mu_k"], number["mu_p"]], scale=[number["sigma_k"], number["sigma_p"]])
    return Problem(pde, "recorded", codec)


@pytest.mark.parametrize("case", DARCY)
def test_darcy_residual(case):
    problem = darcy_problem(case)
    RESIDUAL.assert_close("source", problem.pde.source()[None])
    residual = problem.residual(RESIDUAL["x"].flip(1), "cocogen_nodal")["interior"]
    RESIDUAL.assert_close(f"{case}/residual", residual)


@pytest.mark.parametrize("case", DARCY)
def test_pseudo_gradient(case):
    """Exact products stand for the recorded finite differences, whose step cancels digits in one case."""
    problem, x = darcy_problem(case), RESIDUAL["x"].flip(1)
    nothing = torch.zeros(1, *x.shape[1:], dtype=torch.bool)
    rho = Published(scheme="cocogen_nodal").corrector(problem, nothing).pseudo_gradient(x)
    RESIDUAL.assert_close(f"{case}/pseudo_gradient", rho[:, 1])
    RESIDUAL.assert_close(f"{case}/forward", rho.flip(1))


@pytest.mark.parametrize("case", ["cell"])
def test_the_published_spacing_is_that_of_cells(case):
    problem = darcy_problem(case)
    problem.pde.grid = make_pde("darcy_corner", {"n": RESIDUAL.config["grid"]}).grid
    RESIDUAL.assert_close(f"{case}/residual", problem.residual(RESIDUAL["x"].flip(1), "cocogen")["interior"])


@pytest.mark.parametrize("case", ["nodal"])
def test_differences(case):
    problem = darcy_problem(case)
    (k, p), h = problem.decode(RESIDUAL["x"].flip(1)).unbind(1), problem.pde.grid.spacings[0]
    for axis, dim in ((1, -2), (2, -1)):
        RESIDUAL.assert_close(f"{case}/p_{axis}{axis}", second_difference(p, dim, h))
        RESIDUAL.assert_close(f"{case}/p_{axis}", first_difference(p, dim, h))
        RESIDUAL.assert_close(f"{case}/k_{axis}", first_difference(k, dim, h))


def test_burgers_residual():
    number = {key: RESIDUAL.parameter("burgers", key) for key in ("nu", "dt", "dx", "mu", "sigma")}
    u = RESIDUAL["burgers/u"].mT  # recorded as (x, t)
    pde = make_pde("burgers", {"n": u.shape[-1], "nu": number["nu"]})
    times, points = u.shape[-2:]
    time = Axis("t", times, extent=number["dt"] * (times - 1))
    pde.grid = Grid((time, Axis("x", points, extent=number["dx"] * points, kind="periodic")))
    problem = Problem(pde, "recorded", Codec(pde, shift=[number["mu"]], scale=[number["sigma"]]))
    RESIDUAL.assert_close("burgers/residual", problem.residual(u, "cocogen")["interior"].mT[:, None])


def data_pde():
    settings = {"n": DATA.config["grid"], "modes": DATA.config["modes"], "law": "cocogen", "data": "published"}
    return make_pde("darcy_corner", settings)


def test_law():
    expansion = data_pde().expansion
    DATA.assert_close("eigenvalues", torch.from_numpy(expansion.eigenvalues.copy()))
    weights, modes = DATA["W"].numpy().T, Expansion(np.ones(len(DATA["W"])), DATA["sqrt_cov_modes"].numpy())
    DATA.assert_close("K", torch.from_numpy(modes.field(weights))[0].exp())


def test_generator():
    pde, k = data_pde(), DATA["K"]
    DATA.assert_close("P", pde.published_pressure(k[None])[0])
    integral = cocogen(k, pde.source()).matrix[[-1]].toarray()
    DATA.assert_close("integral_row", torch.from_numpy(integral))


def test_velocity():
    velocity = data_pde().published_velocity(DATA["K"][None], DATA["P"][None])[0]
    DATA.assert_close("U1", velocity[0])
    DATA.assert_close("U2", velocity[1])
