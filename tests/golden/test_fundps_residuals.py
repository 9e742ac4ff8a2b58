"""Residuals against recorded outputs of FunDPS's public functions."""

import pytest
from reading import Fixture

from jensenbench.registry import make_pde

FIXTURE = Fixture("fundps_residuals")
CASES = ("darcy", "poisson", "helmholtz", "burgers")


@pytest.mark.parametrize("case", CASES)
def test_residual(case):
    pde = make_pde(case, {"n": FIXTURE.config["grid"]})
    state = FIXTURE["x"][:, -len(pde.fields) :]  # Burgers reads the second of two channels
    FIXTURE.assert_close(f"{case}/residual", pde.residual(state, "fundps")["interior"][:, None])
