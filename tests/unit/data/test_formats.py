"""Published layouts, written without the suite: read as they are, wrong ones refused or flagged by the residual."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench import cli
from jensenbench.data import export as exporters
from jensenbench.data.dataset import load_dataset, write_dataset
from jensenbench.data.formats import reader as importers
from jensenbench.data.formats.arrays import Source, read_pt
from jensenbench.data.formats.pdebench import named_source
from jensenbench.errors import UserError
from jensenbench.io.provenance import ROOT
from jensenbench.io.schema import SPLITS
from jensenbench.plugins.registry import make_pde
from tests.support.foreign import CASES, Case, spline_darcy, write_mat5, write_mat73, write_merged


def read(case: Case, path: Path) -> importers.Imported:
    return importers.read(path, case.format, case.pde, case.known)


def fields(case: Case) -> tuple[np.ndarray, ...]:
    return tuple(case.states().swapaxes(0, 1))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_states_and_settings_are_found_as_they_were_written(tmp_path, case):
    stored = fields(case)
    found = read(case, case.write(tmp_path, stored))
    np.testing.assert_allclose(found.states.numpy(), np.stack(stored, 1), rtol=case.tolerance, atol=case.tolerance)
    assert {name: getattr(found.pde.config, name) for name in case.settings} == dict(case.settings)
    assert any(line.startswith("chosen:") for line in found.findings), found.findings


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_transposed_solution_is_turned_back_and_said(tmp_path, case):
    *first, last = fields(case)
    found = read(case, case.write(tmp_path, (*first, last.swapaxes(1, 2))))
    np.testing.assert_allclose(found.states[:, -1].numpy(), last, rtol=case.tolerance, atol=case.tolerance)
    (chosen,) = (line for line in found.findings if line.startswith("chosen"))
    assert any(word in chosen for word in ("against the format", "exchanged")), found.findings


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.pde != "burgers"])
def test_swapped_channels_are_put_right_and_said(tmp_path, name):
    case = CASES[name]
    first, second = fields(case)
    found = read(case, case.write(tmp_path, (second, first)))
    k = found.states[:, 0].numpy()
    k = k.swapaxes(1, 2) if case.turned else k  # the file's second array
    np.testing.assert_allclose(k, first, rtol=case.tolerance, atol=case.tolerance)
    assert any("swapped" in line for line in found.findings if not line.startswith("refused")), found.findings


def test_another_source_or_grid_is_refused_with_what_would_fit(tmp_path):
    case = CASES["diffusionpde poisson"]
    f, u = fields(case)
    cells = (11 / 12) ** 2  # a spacing of 1/12 for one of 1/11
    wrong = {
        "the other sign": (-f, u),
        "source that fits 0.4651 x the stored one": (2.15 * f, u),
        "spacing 1/12 would fit: values at cell centres": (f, cells * u),
        "do not solve poisson": (f, u**2),
    }
    for message, arrays in wrong.items():
        with pytest.raises(UserError, match=message):
            read(case, case.write(tmp_path, arrays))


@pytest.mark.parametrize(("name", "stored"), [("fno darcy", "cell"), ("diffusionpde darcy", "node")])
def test_darcy_states_of_another_grid_than_the_format_says_are_flagged(tmp_path, name, stored):
    case = CASES[name]
    states = make_pde("darcy", {**case.settings, "grid": stored}).generate(range(5), seed=3).numpy()
    found = read(case, case.write(tmp_path, tuple(states.swapaxes(0, 1))))
    assert found.pde.config.grid == stored
    assert "against the format" in found.findings[2]


@pytest.mark.parametrize("name", ["fno darcy", "diffusionpde darcy", "pdebench", "pidm", "cocogen"])
def test_a_solution_of_another_source_is_refused(tmp_path, name):
    case = CASES[name]
    coefficient, solution = fields(case)
    with pytest.raises(UserError, match="source"):
        read(case, case.write(tmp_path, (coefficient, 2 * solution)))


def test_states_of_no_flow_between_the_times_are_refused(tmp_path):
    case = CASES["fno navier_stokes"]
    first, last = fields(case)
    with pytest.raises(UserError, match="do not solve navier_stokes"):
        read(case, case.write(tmp_path, (first, last[::-1])))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, tuple[Case, Path, bytes]]:
    """A whole file of each format, with its bytes."""
    found = {}
    for name, case in CASES.items():
        path = case.write(tmp_path_factory.mktemp("whole"), fields(case))
        found[name] = (case, path, path.read_bytes())
    return found


@pytest.mark.parametrize("name", CASES)
@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=12, deadline=None)
def test_a_file_cut_at_any_byte_is_refused_by_name(written, name, share):
    case, path, whole = written[name]
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=path.stem):
        read(case, path)
    path.write_bytes(whole)


@pytest.mark.parametrize("name", CASES)
def test_a_text_file_under_that_name_is_refused(written, name):
    case, path, whole = written[name]
    path.write_text("<html>404: not found</html>\n")
    with pytest.raises(UserError, match=path.stem):
        read(case, path)
    path.write_bytes(whole)


def test_wrong_keys_types_and_values_are_refused_by_name(tmp_path):
    case = CASES["diffusionpde poisson"]
    f, u = fields(case)
    bad = u.copy()
    bad[2, 3, 4] = np.inf
    wrong = {
        "no array 'phi_data', it holds \\['f_data', 'psi_data'\\]": {"f_data": f, "psi_data": u},
        "'f_data' has dtype complex128": {"f_data": f + 1j, "phi_data": u},
        "expected equal": {"f_data": f, "phi_data": u[:4]},
        "expected 3 axes": {"f_data": f[0], "phi_data": u[0]},
        "1 of 5 states of 'phi_data' hold NaN or infinite": {"f_data": f, "phi_data": bad},
    }
    for message, arrays in wrong.items():
        with pytest.raises(UserError, match=message):
            read(case, write_mat5(tmp_path / "poisson.mat", **arrays))
    case = CASES["fno darcy"]
    a, u = fields(case)
    with pytest.raises(UserError, match=r"darcy\.mat: the coefficient takes the value 0, not positive"):
        read(case, case.write(tmp_path, (np.where(a == 4, 0, a), u)))
    case = CASES["pidm"]
    k, p = fields(case)
    with pytest.raises(UserError, match=r"neither 'K_data\.csv' nor 'p_data\.csv' is positive"):
        read(case, case.write(tmp_path, (k - k.max(), p)))


def test_settings_that_the_file_contradicts_are_refused(tmp_path):
    case = CASES["diffusionpde poisson"]
    f, u = fields(case)
    with pytest.raises(UserError, match="the settings ask for n = 32"):
        importers.read(case.write(tmp_path, (f, u)), case.format, case.pde, {"n": 32})


def test_a_series_with_a_missing_or_odd_file_is_refused(tmp_path):
    case = CASES["cocogen"]
    path = case.write(tmp_path, fields(case))
    (tmp_path / "permeability" / "K_2.npy").unlink()
    with pytest.raises(UserError, match=r"K_2\.npy is missing"):
        read(case, path)
    (tmp_path / "data" / "P_1.npy").unlink()
    with pytest.raises(UserError, match=r"lacks P_1\.npy"):
        read(case, path)
    merged = write_merged(tmp_path, np.ones((5, 8, 8)))
    with pytest.raises(UserError, match="poisson has 2"):
        importers.read(merged, "diffusionpde", "poisson", {})
    np.save(tmp_path / "merge_1.npy", np.ones((8, 9, 1)))
    with pytest.raises(UserError, match=r"merge_1\.npy has shape"):
        importers.read(merged, "diffusionpde", "poisson", {})


def test_pickles_run_only_where_they_are_trusted(tmp_path, capsys):
    case = CASES["diffusionpde poisson"]
    states = np.stack([fields(case)[0] / 2.15, fields(case)[1] * 36.5], -1)
    torch.save({"x": torch.ones(2), "code": Path}, tmp_path / "darcy.pt")
    with pytest.raises(UserError, match="pickled"):
        importers.read(tmp_path / "darcy.pt", "neuraloperator", "darcy", {})
    boxed = np.empty((), dtype=object)
    boxed[()] = states
    np.save(tmp_path / "merge_0.npy", boxed, allow_pickle=True)
    with pytest.raises(UserError, match="--unpickle"):
        importers.read(tmp_path / "merge_0.npy", case.format, case.pde, {})
    command = ["import", str(tmp_path / "merge_0.npy"), "--format", case.format, "--pde", case.pde, "--unpickle"]
    assert cli.main([*command, "--out", str(tmp_path / "out.h5")]) == 1
    assert "the splits ask for" in capsys.readouterr().err  # five states were read, too few for all splits


def test_third_party_burgers_states_are_read_with_their_viscosity():
    found = importers.read(
        ROOT / "tests" / "data" / "neuraloperator_burgers_lowres.npz", "neuraloperator", "burgers", {}
    )
    assert (found.pde.config.nu, found.pde.config.n, found.pde.grid.shape) == (0.01, 16, (17, 16))
    assert found.findings[1].startswith("chosen: as the format says")


def test_burgers_states_are_read_as_the_package_bundles_them(tmp_path):
    u = make_pde("burgers", {"n": 16, "times": 9, "nu": 0.02}).generate(range(3), seed=0)[:, 0].numpy()
    path = write_mat5(tmp_path / "burgers_lowres.mat", input=u[:, 0], output=u, visc=np.array([[0.02]]))
    found = importers.read(path, "neuraloperator", "burgers", {})
    assert found.pde.config.nu == 0.02
    np.testing.assert_array_equal(found.states[:, 0].numpy(), u)


def test_profiles_at_two_times_are_read(tmp_path):
    u = make_pde("burgers", {"n": 16, "data": "continuous"}).generate(range(5), seed=0)[:, 0].numpy()
    path = write_mat5(tmp_path / "burgers.mat", a=u[:, 0], u=u[:, -1])
    found = importers.read(path, "fno", "burgers", {"nu": 0.01})
    np.testing.assert_array_equal(found.states[:, 0].numpy(), u[:, [0, -1]])
    path = write_mat5(tmp_path / "burgers.mat", a=u[:, -1], u=u[:, 0])
    assert any(
        line.startswith("chosen (against") for line in importers.read(path, "fno", "burgers", {"nu": 0.01}).findings
    )


def test_published_darcy_states_lie_on_cells_and_solve_no_equation_of_their_own(tmp_path):
    a = make_pde("darcy", {"n": 16}).draw(range(4), seed=2)[:, 0].numpy()
    path = write_mat73(tmp_path / "darcy.mat", thresh_a_data=a, thresh_p_data=spline_darcy(a))
    found = importers.read(path, "diffusionpde", "darcy", {})
    assert (found.pde.config.grid, found.pde.config.source) == ("cell", 1.0)
    assert any(line.startswith("chosen: solution transposed") for line in found.findings)
    assert "4 of 4 states exceed the floor" in found.findings[-1]


def test_a_source_that_the_name_does_not_tell_is_calibrated(tmp_path):
    case = CASES["pdebench"]
    path = case.write(tmp_path, fields(case))
    found = read(case, path.rename(tmp_path / "darcy.hdf5"))
    assert found.pde.config.source == pytest.approx(case.settings["source"], rel=1e-3)


def test_a_coordinate_of_another_grid_is_refused(tmp_path):
    case = CASES["pdebench"]
    path = case.write(tmp_path, fields(case))
    with h5py.File(path, "r+") as file:
        file["x-coordinate"][:] = np.linspace(0, 1, 12)
    with pytest.raises(UserError, match="'x-coordinate' runs from 0 to 1"):
        read(case, path)


CELLS = {"n": 12, "grid": "cell"}
FLOW = {"n": 12, "arm": "end_points", "horizon": 2.0}
EXPORTS = {  # format and more words: PDE, its settings, file, settings that the importer is told
    "pdebench": ("darcy", CELLS, "2D_DarcyFlow_beta1.0_Train.hdf5", {}),
    "diffusionpde darcy": ("darcy", CELLS, "darcy.mat", {}),
    "diffusionpde lognormal": ("darcy", {**CELLS, "law": "lognormal"}, "darcy.mat", {"law": "lognormal"}),
    "diffusionpde poisson": ("poisson", {"n": 12}, "poisson.mat", {}),
    "diffusionpde 7.3": ("helmholtz", {"n": 12}, "helmholtz.v73.mat", {}),
    "diffusionpde merged": ("poisson", {"n": 12}, "merge_0.npy", {}),
    "diffusionpde navier_stokes": ("navier_stokes", FLOW, "ns.mat", {"horizon": 2.0}),
    "diffusionpde burgers": ("burgers", {"n": 12}, "burgers.mat", {}),
    "fno": ("darcy", {"n": 12}, "darcy.mat", {}),
    "fno navier_stokes": ("navier_stokes", FLOW, "ns.v73.mat", {}),
    "fno burgers": ("burgers", {"n": 12}, "burgers.mat", {}),
    "neuraloperator": ("darcy", {"n": 12, "grid": "left_closed", "low": 0.1, "high": 1.0}, "darcy.npz", {}),
    "neuraloperator burgers": ("burgers", {"n": 12, "times": 9, "nu": 0.02}, "burgers.npz", {}),
    "pidm": ("darcy_corner", {"n": 12, "law": "pidm", "modes": 20}, "p_data.csv", {"modes": 20}),
    "cocogen": ("darcy_corner", {"n": 12, "law": "cocogen", "modes": 20}, "data/P_0.npy", {"modes": 20}),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_exported_states_are_read_as_they_were(tmp_path, name):
    (equation, chosen, file, known), format = EXPORTS[name], name.split()[0]
    pde = make_pde(equation, chosen)
    states = pde.generate(range(3), seed=1)
    exporters.write(tmp_path / file, format, pde, states)
    found = importers.read(tmp_path / file, format, equation, known)
    rounding = 1e-6 if name == "neuraloperator" else 1e-13  # which keeps pressures in single precision
    torch.testing.assert_close(found.states, states, rtol=rounding, atol=rounding)
    assert any(line.startswith("chosen:") for line in found.findings)


def test_export_and_import_by_hand_bring_back_the_same_states(tmp_path, capsys):
    pde = make_pde("poisson", {"n": 12})
    parts = dict(zip(SPLITS, pde.generate(range(40), seed=0).split(10), strict=True))
    write_dataset(tmp_path / "first.h5", pde, parts, seed=0)
    exported, again = tmp_path / "states.mat", tmp_path / "again.h5"
    assert cli.main(["export", str(tmp_path / "first.h5"), "--format", "diffusionpde", "--out", str(exported)]) == 0
    arguments = ["import", str(exported), "--format", "diffusionpde", "--pde", "poisson", "--out", str(again)]
    assert cli.main(arguments) == 0
    one, two = (torch.cat([load_dataset(path).split(s) for s in SPLITS]) for path in (tmp_path / "first.h5", again))
    assert torch.equal(two, one[: len(two)])
    assert "chosen: as the format says" in capsys.readouterr().out


def test_states_that_a_format_cannot_hold_are_refused(tmp_path):
    darcy = make_pde("darcy", {"n": 8, "source": 4.0})
    states = darcy.generate(range(2), seed=0)
    with pytest.raises(UserError, match=r"source = 1\.0, not 4\.0"):
        exporters.write(tmp_path / "darcy.mat", "fno", darcy, states)
    with pytest.raises(UserError, match="did you mean 'darcy_corner'"):
        exporters.write(tmp_path / "p_data.csv", "pidm", darcy, states)
    with pytest.raises(UserError, match=r"merge_0\.npy"):
        poisson = make_pde("poisson", {"n": 8})
        exporters.write(tmp_path / "states.npy", "diffusionpde", poisson, poisson.generate([0], seed=0))


def cocogen_export(tmp_path, **settings):
    """A CoCoGen data set and the folder that it was exported to."""
    pde = make_pde("darcy_corner", {"n": 12, "law": "cocogen", "modes": 20, **settings})
    states = pde.generate(range(2), seed=1)
    exporters.write(tmp_path / "data" / "P_0.npy", "cocogen", pde, states)
    return pde, states, tmp_path / "data"


def velocity_line(folder) -> list[str]:
    found = importers.read(folder / "P_0.npy", "cocogen", "darcy_corner", {"modes": 20})
    return [line for line in found.findings if line.startswith("velocities")]


def test_generated_published_pressures_are_exported_as_their_code_stores_them(tmp_path):
    """With the velocities of the stored arrays; the discrete solution of the same K is turned to lie so."""
    pde, states, folder = cocogen_export(tmp_path, data="published")
    stored = np.stack([[np.load(folder / f"{name}_{i}.npy") for name in ("P", "U1", "U2")] for i in range(2)])
    velocity = pde.published_velocity(states[:, 0], states[:, 1])
    np.testing.assert_array_equal(stored, torch.cat([states[:, 1:], velocity], 1).numpy())
    _, own, folder = cocogen_export(tmp_path / "own")
    np.testing.assert_array_equal(np.load(folder / "P_1.npy"), own[1, 1].mT.numpy())


def test_velocities_are_checked_and_odd_ones_ignored(tmp_path):
    *_, folder = cocogen_export(tmp_path)
    assert "-K∇P of the stored arrays, within" in velocity_line(folder)[0]
    np.save(folder / "U2_1.npy", np.load(folder / "U2_1.npy").T)
    assert "ignored, not -K∇P" in velocity_line(folder)[0]
    np.save(folder / "U2_1.npy", np.ones((3, 3)))
    with pytest.raises(UserError, match=r"U2_1\.npy has shape"):
        velocity_line(folder)
    (folder / "U2_1.npy").unlink()
    assert velocity_line(folder) == ["velocities: ignored, U2_1.npy is missing"]
    for path in folder.glob("U*"):
        path.unlink()
    assert velocity_line(folder) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("beta1.0_Train", 1.0),
        ("beta1e-2_Train", 0.01),
        ("beta.5", 0.5),
        ("beta10.0_Train", 10.0),
        ("beta2E+1", 20.0),
        ("alpha3", None),
    ],
)
def test_the_source_in_a_file_name_is_read_with_its_exponent(name, source):
    assert named_source(Path(f"2D_DarcyFlow_{name}.hdf5")) == source


@pytest.mark.parametrize("change", [torch.Tensor.half, torch.Tensor.bfloat16, torch.Tensor.requires_grad_])
def test_tensors_of_other_kinds_are_read(tmp_path, change):
    values = torch.linspace(0, 1, 12).reshape(3, 2, 2)
    torch.save({"y": change(values.clone())}, tmp_path / "d.pt")
    found = read_pt(Source(tmp_path / "d.pt"), ["y"])["y"]
    assert np.abs(found.astype(float) - values.numpy()).max() < 4e-3


def test_a_file_of_one_tensor_is_told_apart_from_a_damaged_one(tmp_path):
    torch.save(torch.zeros(3, 2, 4, 4), tmp_path / "d.pt")
    with pytest.raises(UserError, match=r"holds one Tensor of shape \(3, 2, 4, 4\), expected a dict with \['x'\]"):
        read_pt(Source(tmp_path / "d.pt"), ["x"])


@pytest.mark.parametrize("name", CASES)
def test_the_first_states_alone_are_those_of_the_whole_file(tmp_path, name):
    case = CASES[name]
    path = case.write(tmp_path, fields(case))
    some = importers.read(path, case.format, case.pde, {**case.settings, **case.known}, most=3)
    whole = importers.read(path, case.format, case.pde, {**case.settings, **case.known})
    assert len(some.states) == 3
    assert torch.equal(some.states, whole.states[:3])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_states_of_one_value_are_refused_as_such(tmp_path, name, value):
    """A variable that was never written, or a solver that failed: not a damaged file."""
    case = CASES[name]
    *others, last = fields(case)
    path = case.write(tmp_path, (*others, np.full_like(last, value)))
    with pytest.raises(UserError, match="holds one value at all points") as error:
        read(case, path)
    assert "damaged" not in str(error.value)
