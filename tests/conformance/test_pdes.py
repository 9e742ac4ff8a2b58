"""Every PDE module found obeys every law of its conformance check, at an even and an odd size."""

import json
from functools import lru_cache

import pytest

from jensenbench.checks.pde import LAWS, PDECase
from jensenbench.io.sources import public_modules
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


SUBJECTS = [(name, {}, 0) for name in public_modules("pdes")] + [(name, settings, 3) for name, settings in VARIANTS]


@lru_cache(maxsize=1)
def case_of(name: str, settings: str, n: int, seed: int) -> PDECase:
    """One case per PDE: the laws share its states."""
    return PDECase(make_pde(name, {"n": n, **json.loads(settings)}), seed=seed)


def subject_id(value: object) -> str | None:
    return (
        ",".join(f"{key}={setting}" for key, setting in value.items()) or "default" if isinstance(value, dict) else None
    )


ORDERLESS = [law for law in LAWS if law != "order"]  # the order is measured on grids of its own, whatever n up to 16
SIZED_LAWS = [(n, law) for n in SIZES for law in (LAWS if n == SIZES[-1] else ORDERLESS)]


@pytest.mark.parametrize(("n", "law"), SIZED_LAWS)
@pytest.mark.parametrize(("name", "settings", "seed"), SUBJECTS, ids=subject_id)
def test_every_pde_obeys(name, settings, seed, n, law):
    check = LAWS[law](case_of(name, json.dumps(settings), n, seed))
    assert check.passed, str(check)
