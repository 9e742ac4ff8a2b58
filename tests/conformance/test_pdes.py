"""Every PDE module found passes its conformance check, at an even and an odd size."""

import pytest

from jensenbench.checks.pde import check_pde
from jensenbench.io.provenance import public_modules
from jensenbench.plugins.registry import make_pde

SIZES = (9, 16)
VARIANTS = (
    ("darcy", {"law": "lognormal"}),
    ("darcy", {"law": "lognormal", "faces": "harmonic"}),
    ("darcy", {"grid": "left_closed", "low": 0.1, "high": 1.0, "source": 4.0}),
    ("darcy", {"grid": "cell", "law": "lognormal", "faces": "harmonic"}),
    ("helmholtz", {"k": 4.2}),
    ("burgers", {"nu": 0.1}),
    ("burgers", {"times": 7}),
    ("poisson", {"data": "continuous"}),
    ("helmholtz", {"data": "continuous"}),
    ("darcy", {"data": "continuous"}),
    ("darcy", {"law": "lognormal", "data": "continuous"}),
    ("burgers", {"data": "continuous"}),
    ("burgers", {"data": "continuous", "nu": 0.1}),
    ("heat", {"law": "eci"}),
    ("heat", {"law": "eci", "data": "continuous"}),
    ("heat", {"data": "continuous", "nu": 0.01}),
    ("stokes", {"data": "continuous"}),
    ("reaction_diffusion", {"nu": 0.1, "rho": 2.0}),
    ("reaction_diffusion", {"data": "continuous"}),
    ("darcy_1d", {"law": "two_valued", "faces": "harmonic"}),
    ("darcy_1d", {"data": "continuous"}),
    ("burgers_1d", {"data": "continuous"}),
    ("convection", {"data": "continuous"}),
    ("convection", {"modes": 3}),
    ("navier_stokes", {"arm": "end_points"}),
    ("navier_stokes", {"arm": "invariants"}),
    ("navier_stokes", {"data": "continuous", "snapshots": 3}),
    ("navier_stokes", {"arm": "end_points", "data": "published", "dt": 0.01}),
    ("darcy_corner", {"law": "cocogen", "modes": 30}),
    ("darcy_corner", {"modes": 20, "data": "published"}),
    ("darcy_corner", {"law": "cocogen", "modes": 20, "data": "published"}),
    ("burgers_inviscid", {"data": "continuous"}),
    ("porous_medium", {"data": "continuous"}),
    ("stefan", {"data": "continuous"}),
)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", public_modules("pdes"))
def test_every_pde_conforms(name, n):
    report = check_pde(make_pde(name, {"n": n}))
    assert report.passed, str(report)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_every_variant_conforms(name, settings, n):
    report = check_pde(make_pde(name, {"n": n, **settings}), seed=3)
    assert report.passed, str(report)
