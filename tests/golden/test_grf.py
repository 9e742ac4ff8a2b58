"""Coefficient laws against recorded fields."""

import pytest
import torch

from jensenbench.plugins.registry import make_pde
from pdes._grf import grf_coefficients, grf_field, periodic_profile
from tests.support.golden import Fixture

FIXTURE = Fixture("grf")
STATIC = [case for case in FIXTURE.cases if "xi" in FIXTURE.keys(case)]
PERIODIC = [case for case in FIXTURE.cases if "xi_cos" in FIXTURE.keys(case)]


@pytest.mark.parametrize("case", STATIC)
def test_grf_follows_the_recorded_spectrum_and_transform(case):
    parameters = {key: FIXTURE.parameter(case, key) for key in ("alpha", "tau")}
    coefficients = grf_coefficients(FIXTURE[f"{case}/xi"].numpy(), **parameters)
    FIXTURE.assert_close(f"{case}/coefficients", torch.from_numpy(coefficients))
    FIXTURE.assert_close(f"{case}/field", torch.from_numpy(grf_field(coefficients)))


def test_darcy_coefficient_is_the_recorded_threshold():
    field = FIXTURE["darcy_poisson_helmholtz/field"]
    FIXTURE.assert_close("darcy_coefficient", make_pde("darcy", {"n": len(field)}).coefficient(field))


@pytest.mark.parametrize("case", PERIODIC)
def test_burgers_profile_is_the_recorded_sum_of_modes(case):
    normals = (FIXTURE[f"{case}/{name}"].numpy() for name in ("xi_cos", "xi_sin", "x"))
    parameters = {key: FIXTURE.parameter(case, key) for key in ("sigma", "tau", "gamma")}
    FIXTURE.assert_close(f"{case}/field", torch.from_numpy(periodic_profile(*normals, **parameters)))
