"""Two-valued Darcy states of any units: levels as stored, the same floor, and a ratio that the file does not tell."""

import numpy as np
import pytest
import torch

from jensenbench.data.dataset import term_scale
from jensenbench.data.formats import reader
from jensenbench.data.formats.darcy import two_values
from jensenbench.io.provenance import ROOT
from jensenbench.plugins.registry import make_pde
from tests.support.foreign import write_mat5

UNITS = [1e-12, 1e-7, 0.001234567, 1 / 9, 1.0, 1e6]


@pytest.fixture(scope="module")
def stored() -> tuple[np.ndarray, ...]:
    return tuple(make_pde("darcy", {"n": 12}).generate(range(8), seed=3).numpy().swapaxes(0, 1))


@pytest.mark.parametrize("unit", UNITS)
def test_a_coefficient_in_other_units_solves_the_same_equation(tmp_path, stored, unit):
    a, u = stored
    found = reader.read(write_mat5(tmp_path / "d.mat", coeff=a * unit, sol=u / unit), "fno", "darcy", {})
    assert (found.pde.config.low, found.pde.config.high) == (a.min() * unit, a.max() * unit)
    residual = found.pde.residual(found.states)["interior"].square().mean().sqrt()
    assert residual < 1e-11 * term_scale(found.pde, found.states)


@pytest.mark.parametrize("unit", UNITS)
def test_levels_in_single_precision_are_the_decimals_they_stand_for(unit):
    low, high = float(f"{3 * unit:.5g}"), float(f"{12 * unit:.5g}")
    array = np.array([low, high, low], dtype=np.float32).astype(float)
    assert two_values(array) == (low, high)


@pytest.mark.parametrize("unit", UNITS)
def test_a_third_value_is_one_in_any_units(unit):
    assert two_values(unit * np.array([3.0, 12.0, 12.001])) is None
    assert two_values(unit * np.array([3.0, 3.0])) is None


def test_a_ratio_that_is_not_stored_is_found_with_the_source(tmp_path):
    pde = make_pde("darcy", {"n": 16, "low": 1 / 18.5, "high": 1.0, "source": 2.6})
    a, u = pde.generate(range(16), seed=3).swapaxes(0, 1)
    np.savez(tmp_path / "d.npz", x=(a == 1).numpy(), y=u.numpy())
    found = reader.read(tmp_path / "d.npz", "neuraloperator", "darcy", {})
    config = found.pde.config
    assert config.high / config.low == pytest.approx(18.5, rel=0.01)
    assert config.source == pytest.approx(2.6, rel=0.01)
    torch.testing.assert_close(found.pde.solve(found.states)[:, 1], u, rtol=0.01, atol=0.01 * float(u.max()))


def test_given_levels_are_kept(tmp_path, stored):
    a, u = stored
    np.savez(tmp_path / "d.npz", x=a == a.max(), y=u)
    found = reader.read(tmp_path / "d.npz", "neuraloperator", "darcy", {"low": 0.2, "high": 1.0})
    assert (found.pde.config.low, found.pde.config.high) == (0.2, 1.0)


@pytest.mark.parametrize(("name", "value"), [("low", 0.2), ("high", 5.0)])
def test_one_given_level_is_kept_and_the_other_one_fitted(tmp_path, stored, name, value):
    a, u = stored
    np.savez(tmp_path / "d.npz", x=a == a.max(), y=u)
    config = reader.read(tmp_path / "d.npz", "neuraloperator", "darcy", {name: value}).pde.config
    assert getattr(config, name) == value
    assert config.high / config.low == pytest.approx(a.max() / a.min(), rel=0.01)


def test_the_published_states_are_re_solved_much_better_than_with_their_reputed_levels():
    """neuraloperator's file names 0.1 and 1; its states follow a ratio of 18 to 19."""
    path = ROOT / "tests" / "data" / "neuraloperator_darcy_train_16.npz"
    fitted, reputed = (
        reader.read(path, "neuraloperator", "darcy", settings, most=100) for settings in ({}, {"low": 0.1, "high": 1.0})
    )
    assert 18 < fitted.pde.config.high / fitted.pde.config.low < 20

    def misfit(found: reader.Imported) -> float:
        solved = found.pde.solve(found.states)[:, 1]
        return float((solved - found.states[:, 1]).norm() / found.states[:, 1].norm())

    assert misfit(fitted) < 0.6 * misfit(reputed)
    assert any("re-solved solution off by" in line for line in fitted.findings)
