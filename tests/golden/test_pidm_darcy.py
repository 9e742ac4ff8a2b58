"""PIDM's Darcy residual and data generator against recordings of its public code."""

import pytest
import torch

from jensenbench.plugins.registry import make_pde
from pdes._kle import Expansion
from pdes._neumann import corner_wells
from pdes._published_pressures import pidm
from tests.support.golden import Fixture

RESIDUAL, DATA = Fixture("pidm_residual"), Fixture("pidm_darcy_data")
SCHEMES = {"reversed_axis1": "pidm", "plain": "pidm", "pixel_centres": "pidm_pixel_centres"}


def channels(parts):
    """(b, n², 3) as the code stacks them."""
    return torch.stack(list(parts.values()), -1).flatten(1, 2)


@pytest.mark.parametrize("case", RESIDUAL.cases)
def test_residual(case):
    pde = make_pde("darcy_corner", {"n": RESIDUAL.config["grid"]})
    RESIDUAL.assert_close("source", corner_wells(pde.config.n, 10.0, 0.125, "cell"))
    RESIDUAL.assert_close(f"{case}/residual", channels(pde.residual(RESIDUAL["x"].flip(1), SCHEMES[case])))


def data_pde():
    settings = {"n": "grid", "modes": "q", "length": "length_scale"}
    values = {name: DATA.config[key] for name, key in settings.items()}
    return make_pde("darcy_corner", {**values, "law": "pidm", "data": "published"})


def test_law():
    expansion = data_pde().expansion
    DATA.assert_close("eigenvalues", torch.from_numpy(expansion.eigenvalues.copy()))
    recorded = Expansion(DATA["eigenvalues"].numpy(), DATA["eigenvectors"].numpy())
    DATA.assert_close("K", torch.from_numpy(recorded.field(DATA["z"].numpy())).exp())


def test_generator():
    pde, k = data_pde(), DATA["K"]
    DATA.assert_close("source", pde.source())
    p = pde.published_pressure(k[None])
    DATA.assert_close("p", p[0])
    DATA.assert_close("residual", channels(pde.residual(torch.stack([k[None], p], 1), "pidm")))


def test_system():
    system = pidm(DATA["K"], DATA["source"])
    DATA.assert_close("integral_weights", torch.from_numpy(system.matrix[[-1]].toarray()).reshape(DATA["K"].shape))
    left = torch.from_numpy(system.matrix @ DATA["p"].numpy().ravel() - system.rhs)
    DATA.assert_close("mean_abs_linear_residual", left.abs().mean())
