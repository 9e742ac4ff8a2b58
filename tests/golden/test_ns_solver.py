"""Published Navier-Stokes solvers and their initial law against recorded outputs."""

import re

import pytest
import torch

from jensenbench.plugins.registry import make_pde
from pdes._grf import periodic_grf, periodic_spectrum
from tests.support.golden import Fixture

FIXTURE = Fixture("ns_solver")
FLOWS = [case for case in FIXTURE.cases if f"{case}/solution" in FIXTURE]


def _settings(case):
    """The recording's parameters as settings of the PDE; whether its first frame is the initial field."""
    nu, horizon, dt = (FIXTURE.parameter(case, key) for key in ("viscosity", "T", "dt"))
    with_start = FIXTURE.parameter(case, "recorded_at") is not None
    settings = {"n": FIXTURE.config["grid"], "nu": nu, "horizon": horizon, "dt": dt, "data": "published"}
    return {**settings, "snapshots": FIXTURE.parameter(case, "record_steps") + (not with_start)}, with_start


@pytest.mark.parametrize("case", FLOWS)
def test_published_stepping_gives_the_recorded_snapshots(case):
    settings, with_start = _settings(case)
    chosen = re.fullmatch(r"w0\[(\d+)\]", FIXTURE.parameter(case, "initial") or "")
    start = FIXTURE["w0"][[int(chosen[1])]] if chosen else FIXTURE["w0"]
    forcing = 0 * FIXTURE["forcing"] if FIXTURE.parameter(case, "forcing") == "0" else FIXTURE["forcing"]
    frames = make_pde("navier_stokes", settings).published_solution(start, FIXTURE.get(f"{case}/forcing", forcing))
    FIXTURE.assert_close(f"{case}/solution", frames[:, 0 if with_start else 1 :].transpose(0, 1))


@pytest.mark.parametrize("case", [case for case in FLOWS if f"{case}/time" in FIXTURE])
def test_snapshots_lie_at_the_recorded_times(case):
    pde = make_pde("navier_stokes", _settings(case)[0])
    FIXTURE.assert_close(f"{case}/time", pde.interval * torch.arange(1, pde.frames, dtype=torch.float64))


@pytest.mark.parametrize(("key", "phase"), [("forcing", None), ("eci/forcing", FIXTURE.parameter("eci", "phi"))])
def test_the_forcings_are_settings(key, phase):
    settings = {"n": FIXTURE.config["grid"]} | ({} if phase is None else {"phase": phase})
    pde = make_pde("navier_stokes", settings)
    FIXTURE.assert_close(key, pde.forcing(pde.config.n))


def test_the_initial_law_is_the_recorded_one():
    normals = FIXTURE["grf_periodic/coeff_normal"].numpy()
    FIXTURE.assert_close("grf_periodic/sqrt_eig", torch.from_numpy(periodic_spectrum(normals.shape[-2])))
    FIXTURE.assert_close("grf_periodic/field", torch.from_numpy(periodic_grf(normals)))
