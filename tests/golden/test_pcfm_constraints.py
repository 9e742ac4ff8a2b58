"""Initial values, boundary values and balances of mass against recordings of PCFM's public code."""

import re

import pytest
import torch

from pdes._pcfm_constraints import published_flux
from tests.support.golden import Fixture, published_balances

FIXTURE = Fixture("pcfm_constraints")


def constraint(case):
    """The recorded constraint: ``burgers_local2`` has a number of steps, ``burgers_bc_start0`` a first time."""
    family, kind, option, number = re.fullmatch(r"(\w+?)_(\w+?)(_start|)(\d*)", case).groups()
    options = {"start" if option else "steps": int(number)} if number else {}
    name = "initial" if kind == "ic" else f"{family}_{kind}".replace("ns_", "heat_")
    return published_balances(FIXTURE, family, **options).constraint(name)


def field(case):
    return FIXTURE["u_ns" if case.startswith("ns") else "u"]


@pytest.mark.parametrize("case", FIXTURE.cases)
def test_values(case):
    FIXTURE.assert_close(f"{case}/h", constraint(case).violation(field(case)[None, None])[0])


@pytest.mark.parametrize("case", [case for case in FIXTURE.cases if f"{case}/jacobian" in FIXTURE])
def test_jacobians(case):
    violation = constraint(case).violation
    found = torch.autograd.functional.jacobian(lambda row: violation(row[None, None])[0], field(case))
    assert isinstance(found, torch.Tensor)
    FIXTURE.assert_close(f"{case}/jacobian", found.flatten(1))


def test_flux():
    FIXTURE.assert_close("godunov/flux", published_flux(FIXTURE["godunov/uL"], FIXTURE["godunov/uR"]))
