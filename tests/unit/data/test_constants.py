"""Constants that a file does not tell: found again from states made with them, or the user is asked."""

import pytest

from jensenbench.core.pde import sum_terms
from jensenbench.data.formats import reader
from jensenbench.data.formats.constants import fit_constants
from jensenbench.errors import UserError
from jensenbench.io.sources import public_modules
from jensenbench.plugins.registry import make_pde
from tests.support.foreign import write_mat5, write_mat73

SIZE = {"darcy_corner": {"n": 16, "modes": 20}, "convection": {"n": 12}}  # others have n = 10
DECLARED = {
    (name, setting)
    for name in public_modules("pdes")
    for setting in make_pde(name, SIZE.get(name, {"n": 10})).linear_settings
}


def test_the_equations_with_such_constants_declare_them():
    """By hand from the equations; a new PDE with a viscosity, a speed or a source belongs here."""
    assert {
        ("burgers", "nu"),
        ("burgers_1d", "nu"),
        ("convection", "beta"),
        ("darcy", "source"),
        ("darcy_1d", "source"),
        ("darcy_corner", "strength"),
        ("heat", "nu"),
        ("helmholtz", "k"),
        ("navier_stokes", "nu"),
        ("reaction_diffusion", "nu"),
        ("reaction_diffusion", "rho"),
    } == DECLARED


@pytest.mark.parametrize(("name", "setting"), sorted(DECLARED))
def test_the_value_that_states_were_made_with_is_found(name, setting):
    """And no other constant of the equation has to be told."""
    size = SIZE.get(name, {"n": 10})
    default = getattr(make_pde(name, size).config, setting)
    pde = make_pde(name, {**size, setting: 1.37 * default})
    states = pde.generate(range(6), seed=4)
    found = {constant.name: constant for constant in fit_constants(name, size, states)}
    assert found[setting].value == pytest.approx(1.37 * default, rel=1e-6)
    assert found[setting].uncertainty < 1e-6


@pytest.mark.parametrize(("name", "setting"), sorted(DECLARED))
def test_the_residual_is_affine_in_the_declared_power(name, setting):
    size = SIZE.get(name, {"n": 10})
    states, power = make_pde(name, size).generate(range(3), seed=1), make_pde(name, size).linear_settings[setting]
    at = [sum_terms(make_pde(name, {**size, setting: s ** (1 / power)}).terms(states)) for s in (1.0, 2.0, 4.0)]
    assert (at[1] - at[0]).abs().max() > 0
    assert ((at[2] - at[0]) - 3 * (at[1] - at[0])).abs().max() < 1e-9 * at[2].abs().max()


@pytest.mark.parametrize("nu", [0.1, 0.01, 0.0037])
def test_a_file_of_burgers_states_tells_its_viscosity(tmp_path, nu):
    u = make_pde("burgers", {"n": 16, "nu": nu}).generate(range(6), seed=0)[:, 0].numpy()
    found = reader.read(write_mat5(tmp_path / "b.mat", output=u), "diffusionpde", "burgers", {})
    assert found.pde.config.nu == nu
    assert any(line.startswith(f"nu = {nu:g} by least squares") for line in found.findings)


def test_states_that_do_not_tell_their_viscosity_ask_for_it(tmp_path):
    u = make_pde("burgers", {"n": 16, "data": "continuous"}).generate(range(6), seed=0)[:, 0].numpy()
    path = write_mat5(tmp_path / "b.mat", output=u)
    with pytest.raises(UserError, match="do not tell their viscosity"):
        reader.read(path, "diffusionpde", "burgers", {})
    assert reader.read(path, "diffusionpde", "burgers", {"nu": 0.01}).pde.config.nu == 0.01


def test_a_given_constant_is_not_fitted(tmp_path):
    u = make_pde("burgers", {"n": 16, "nu": 0.1}).generate(range(6), seed=0)[:, 0].numpy()
    path = write_mat5(tmp_path / "b.mat", output=u)
    assert reader.read(path, "diffusionpde", "burgers", {"nu": 0.09}).pde.config.nu == 0.09


def test_a_file_of_helmholtz_states_tells_its_wave_number(tmp_path):
    f, u = make_pde("helmholtz", {"n": 12, "k": 2.5}).generate(range(6), seed=0).numpy().swapaxes(0, 1)
    found = reader.read(write_mat5(tmp_path / "h.mat", f_data=f, psi_data=u), "diffusionpde", "helmholtz", {})
    assert found.pde.config.k == 2.5


@pytest.mark.parametrize("nu", [3e-5, 2e-3])
def test_a_flow_of_an_unpublished_viscosity_is_not_taken_for_a_published_one(tmp_path, nu):
    settings = {"n": 16, "arm": "end_points", "nu": nu, "horizon": 2.0}
    w = make_pde("navier_stokes", settings).generate(range(4), seed=3).numpy()
    path = write_mat73(tmp_path / "ns.mat", a=w[:, 0], u=w[:, 1:].transpose(0, 2, 3, 1))
    found = reader.read(path, "diffusionpde", "navier_stokes", {"horizon": 2.0})
    assert found.pde.config.nu == pytest.approx(nu, rel=0.01)
