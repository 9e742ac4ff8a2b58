"""Residuals against recorded outputs of FunDPS's public functions."""

import pytest

from jensenbench.plugins.registry import make_pde
from tests.support.golden import Fixture

FIXTURE = Fixture("fundps_residuals")
PDES = {"ns_nonbounded": "navier_stokes", "ns_bounded": "navier_stokes"}
SETTINGS = {"navier_stokes": {"arm": "end_points"}}  # states (w_0, w_T)


@pytest.mark.parametrize("case", FIXTURE.cases)
def test_residual(case):
    name = PDES.get(case, case)
    pde = make_pde(name, {"n": FIXTURE.config["grid"], **SETTINGS.get(name, {})})
    state = FIXTURE["x"][:, -len(pde.fields) :]  # Burgers reads the second of two channels
    FIXTURE.assert_close(f"{case}/residual", pde.residual(state, "fundps")["interior"][:, None])
