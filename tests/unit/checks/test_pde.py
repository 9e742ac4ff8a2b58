"""The conformance check finds the mistakes it is meant to find."""

import pytest
import torch

from jensenbench.checks.pde import LAWS, PDECase, check_pde
from jensenbench.checks.report import Check, Report
from jensenbench.core.pde import PDE
from jensenbench.errors import UserError
from jensenbench.plugins.registry import load_pde, make_pde
from jensenbench.priors.build import check_prior
from pdes._square import ShiftedLaplace

Poisson, Darcy, Burgers = load_pde("poisson"), load_pde("darcy"), load_pde("burgers")
NavierStokes = load_pde("navier_stokes")


class NoSpacing(Poisson):
    """Forgets 1/h²: consistent with its own data on one grid, with no equation."""

    def terms(self, state):
        h = self.grid.spacings[0]
        return {name: value * h**2 for name, value in super().terms(state).items()}


class Vacuous(Poisson):
    def terms(self, state):
        return {name: 0 * value for name, value in super().terms(state).items()}


class WrongSign(Poisson):
    def terms(self, state):
        terms = super().terms(state)
        return {**terms, "source": -terms["source"]}


class BatchMean(Poisson):
    def draw(self, indices, *, seed):
        states = super().draw(indices, seed=seed)
        return states - states.mean(0, keepdim=True) / 2


class SeedIgnored(Poisson):
    def draw(self, indices, *, seed):
        return super().draw(indices, seed=0)


class Transposed(Darcy):
    """Solution stored with its axes exchanged, as some public data are."""

    def solve(self, state):
        solved = super().solve(state)
        return torch.stack([solved[:, 0], solved[:, 1].mT], 1)


class SymmetricData(Poisson):
    """Data that could not tell a transposed solution from a right one."""

    def draw(self, indices, *, seed):
        states = super().draw(indices, seed=seed)
        return states + states.mT


class ClaimsAffine(Darcy):
    def affine(self):
        return True


class Detached(Poisson):
    def terms(self, state):
        return super().terms(state.detach())


class Promotes(Poisson):
    def conditions(self, state):
        return {name: part.double() for name, part in super().conditions(state).items()}


class WrongSymmetry(Burgers):
    """Reflection without the change of sign."""

    def symmetries(self):
        return (*super().symmetries(), lambda state: torch.roll(state.flip(-1), 1, -1))


class ZeroPadded(Burgers):
    """A periodic field continued by zeros."""

    def _spatial(self, u):
        padded = torch.nn.functional.pad(u, (1, 1))
        return {name: term[..., 1:-1] for name, term in super()._spatial(padded).items()}


class Divergence(NavierStokes):
    """∂_x w + ∂_y w of the vorticity for the equation, as if it were a velocity."""

    def terms(self, state):
        w, h = state[:, 1:], self.grid.spacings[0]
        return {"x": torch.roll(w, -1, -2).sub(w) / h, "y": torch.roll(w, -1, -1).sub(w) / h}


class HiddenTerm(Poisson):
    def residual(self, state, scheme="own"):
        parts = super().residual(state, scheme)
        return {**parts, "interior": 1.001 * parts["interior"]}


class Permissive(Poisson):
    def check(self, state):
        return state


MISTAKES = [
    (NoSpacing, "order"),
    (Vacuous, "not_vacuous"),
    (WrongSign, "floor"),
    (BatchMean, "batch_invariance"),
    (BatchMean, "streams"),
    (SeedIgnored, "streams"),
    (Transposed, "floor"),
    (SymmetricData, "transposition"),
    (ClaimsAffine, "affine"),
    (Detached, "gradient"),
    (Promotes, "dtype"),
    (WrongSymmetry, "symmetries"),
    (HiddenTerm, "terms"),
    (ZeroPadded, "order"),
    (ZeroPadded, "symmetries"),
    (Divergence, "floor"),
    (Permissive, "refusals"),
]


class NoSymmetry(Burgers):
    def symmetries(self):
        return ()


class Inherits(WrongSymmetry):
    """With what its parent says."""


def test_symmetries_that_do_not_hold_name_what_to_write():
    wrong = LAWS["symmetries"](PDECase(Inherits(Inherits.Config(n=12))))
    assert not wrong.passed
    last = len(Burgers(Burgers.Config(n=12)).symmetries())
    assert f"of those of WrongSymmetry number {last} do not hold: override `symmetries`" in wrong.detail
    none = LAWS["symmetries"](PDECase(NoSymmetry(NoSymmetry.Config(n=12))))
    assert not none.passed
    assert "none is the identity: let `symmetries` return" in none.detail


def test_what_a_plug_in_lacks_is_said_when_a_run_is_planned(monkeypatch):
    monkeypatch.setattr(ShiftedLaplace, "state_factor", PDE.state_factor)
    with pytest.raises(UserError, match=r"has no `state_factor`.*pdes/poisson\.py"):
        check_prior("exact", {"kind": "gaussian"}, make_pde("poisson", {"n": 8}))
    monkeypatch.setattr(Burgers, "symmetries", lambda self: ())
    with pytest.raises(UserError, match=r"pdes/burgers\.py: `symmetries` returns no map"):
        make_pde("burgers", {"n": 8})


@pytest.mark.parametrize(("broken", "name"), MISTAKES)
def test_a_mistake_fails_the_law_that_it_breaks(broken, name):
    check = LAWS[name](PDECase(broken(broken.Config(n=12))))
    assert not check.passed, str(check)


def test_the_report_holds_each_law_under_its_name():
    report = check_pde(Poisson(Poisson.Config(n=8)))
    assert [check.name for check in report.checks] == list(LAWS)
    assert report.passed, str(report)


def test_report_passes_only_if_all_checks_do_and_prints_a_line_each():
    good, bad = Check("floor", True, 1e-14, "at most 1e-9"), Check("gradient", False, None, "differs")
    assert Report("x", (good,)).passed
    report = Report("x", (good, bad))
    assert not report.passed
    assert report.failures == (bad,)
    assert [line.split()[0] for line in str(report).splitlines()] == ["x", "pass", "FAIL"]
    assert [row["subject"] for row in report.rows()] == ["x", "x"]
