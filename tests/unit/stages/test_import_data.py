"""Importing published files: what was written is found again, and broken files are refused by name."""

import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from jensenbench import cli
from jensenbench.data.dataset import load_dataset
from jensenbench.data.formats import reader as importers
from jensenbench.errors import UnknownName, UserError
from jensenbench.experiment.jobs import GenerateJob
from jensenbench.io.provenance import ROOT
from jensenbench.io.schema import SPLITS
from jensenbench.plugins.registry import make_pde
from jensenbench.stages import import_data

PUBLISHED = ROOT / "tests" / "data" / "neuraloperator_darcy_train_16.npz"


@pytest.fixture
def arrays():
    """The first states of the published file."""
    with np.load(PUBLISHED) as archive:
        return {key: archive[key][:40] for key in ("x", "y")}


def save(folder: Path, **content: np.ndarray) -> Path:
    path = folder / "states.npz"
    np.savez(path, **content)
    return path


def read(path: Path, **settings: object) -> importers.Imported:
    return importers.read(path, "neuraloperator", "darcy", settings)


@pytest.mark.parametrize("grid", ["node", "left_closed"])
@pytest.mark.parametrize("faces", ["arithmetic", "harmonic"])
@pytest.mark.parametrize(("transposed", "swapped"), [(False, False), (True, False), (False, True)])
def test_the_convention_of_written_states_is_found_again(tmp_path, grid, faces, transposed, swapped):
    pde = make_pde("darcy", {"n": 12, "low": 0.1, "high": 1.0, "source": 2.718, "faces": faces, "grid": grid})
    states = pde.generate(range(8), seed=3)
    solution = states[:, 1].mT if transposed else states[:, 1]
    names = ("y", "x") if swapped else ("x", "y")
    stored = {names[0]: (states[:, 0] == 1).numpy(), names[1]: solution.numpy()}
    found = read(save(tmp_path, **stored))
    assert found.pde.config == pde.config
    torch.testing.assert_close(found.states, states, rtol=1e-12, atol=1e-12)
    assert found.pde.residual(found.states)["interior"].abs().max() < 1e-8


def test_published_states_read_the_same_however_they_are_stored(tmp_path, arrays):
    plain = read(save(tmp_path, **arrays))
    turned = read(save(tmp_path, x=arrays["x"], y=arrays["y"].transpose(0, 2, 1)))
    swapped = read(save(tmp_path, x=arrays["y"], y=arrays["x"]))
    assert turned.pde.config == swapped.pde.config == plain.pde.config
    assert torch.equal(turned.states, plain.states)
    assert torch.equal(swapped.states, plain.states)
    assert any("transposed" in line for line in turned.findings if line.startswith("chosen"))
    assert "channels swapped" in swapped.findings[0]


def test_calibrated_source_beats_other_sources(arrays, tmp_path):
    found = read(save(tmp_path, **arrays))
    settings = {**vars(found.pde.config)}

    def misfit(source: float) -> float:
        solved = make_pde("darcy", {**settings, "source": source}).solve(found.states)
        return float((solved - found.states)[:, 1].square().mean())

    best = misfit(settings["source"])
    assert best < misfit(0.98 * settings["source"])
    assert best < misfit(1.02 * settings["source"])


def test_known_settings_are_kept(arrays, tmp_path):
    found = read(save(tmp_path, **arrays), faces="arithmetic", source=4.0)
    assert (found.pde.config.faces, found.pde.config.source) == ("arithmetic", 4.0)


def test_imported_file_has_disjoint_splits_and_an_honest_floor(tmp_path, capsys):
    out = tmp_path / "darcy.h5"
    sizes = {"train": 200, "validation": 10, "test": 10, "reference": 100}
    source = {"file": str(PUBLISHED), "format": "neuraloperator"}
    job = GenerateJob(label="published", pde="darcy", settings={"n": 16}, sizes=sizes, seed=0, source=source)
    import_data.run(job=job, out=out)
    data = load_dataset(out)
    assert (data.label, data.pde.config.grid, data.source.split()[0]) == ("published", "left_closed", PUBLISHED.name)
    assert data.floor > 1e6 * data.pde.floor
    printed = capsys.readouterr().out
    assert "source" in printed
    assert "meaningless" in printed
    joined = torch.cat([data.split(name) for name in SPLITS])
    with np.load(PUBLISHED) as archive:
        stored = torch.from_numpy(archive["y"][: sum(sizes.values())].astype(np.float64))
    assert torch.equal(joined[:, 1], stored)


def test_splits_must_fit_the_file(arrays, tmp_path):
    found = read(save(tmp_path, **arrays))
    with pytest.raises(UserError, match="holds 40 states"):
        import_data.split_ranges(found.states, {"train": 30, "validation": 5, "test": 5, "reference": 5})
    with pytest.raises(UserError, match="reference 0"):
        import_data.split_ranges(found.states, {"train": 10, "validation": 5, "test": 5})
    with pytest.raises(UnknownName, match="did you mean 'train'"):
        import_data.split_ranges(found.states, {"trian": 10})
    assert sum(len(part) for part in import_data.split_ranges(found.states, {}).values()) == 40


def test_unknown_names_offer_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'neuraloperator'"):
        importers.read(PUBLISHED, "neuralop", "darcy", {})
    with pytest.raises(UnknownName, match="did you mean 'darcy'"):
        importers.read(PUBLISHED, "neuraloperator", "darcey", {})


def test_truncated_and_missing_files_are_refused(tmp_path):
    broken = tmp_path / "broken.npz"
    for size in (0, 10, 5_000, PUBLISHED.stat().st_size - 100):
        broken.write_bytes(PUBLISHED.read_bytes()[:size])
        with pytest.raises(UserError, match=r"broken\.npz"):
            read(broken)
    damaged = bytearray(PUBLISHED.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    broken.write_bytes(damaged)
    with pytest.raises(UserError, match="truncated"):
        read(broken)
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "absent.npz")


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def test_pickles_are_refused_and_never_run(tmp_path):
    mark = tmp_path / "mark"
    boxed = np.empty(1, dtype=object)
    boxed[0] = Trap(mark)
    path = tmp_path / "states.npz"
    np.savez(path, x=boxed, y=boxed)
    with pytest.raises(UserError, match="pickled"):
        read(path)
    path.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(UserError, match="pickled"):
        read(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()  # the trap works


def test_unusable_arrays_are_refused(tmp_path, arrays):
    x, y = arrays["x"], arrays["y"]
    bad = y.copy()
    bad[3, 2, 1] = np.nan
    cases = {
        "1 of 40 states of 'y' hold NaN": {"x": x, "y": bad},
        "no array 'y'": {"x": x, "z": y},
        "expected equal": {"x": x, "y": y[:, :8]},
        "expected 3 axes": {"x": x, "y": y[0]},
        "dtype": {"x": x, "y": y.astype(np.complex64)},
        "two-valued": {"x": y, "y": y},
        "does not vanish": {"x": x, "y": y + 1},
    }
    for message, content in cases.items():
        with pytest.raises(UserError, match=message):
            read(save(tmp_path, **content))
    with pytest.raises(UserError, match="ask for n = 32"):
        read(save(tmp_path, **arrays), n=32)


def test_settings_are_given_on_the_command_line(tmp_path, capsys):
    """Numbers with an exponent too, which YAML 1.1 reads as text."""
    u = make_pde("burgers", {"n": 16, "nu": 0.02}).generate(range(40), seed=0)[:, 0].numpy()
    np.savez(tmp_path / "b.npz", output=u, visc=np.array([0.5]))
    command = ["import", str(tmp_path / "b.npz"), "--format", "neuraloperator", "--pde", "burgers"]
    assert cli.main([*command, "--set", "nu=2e-2", "--out", str(tmp_path / "b.h5")]) == 0
    assert load_dataset(tmp_path / "b.h5").pde.config.nu == 0.02
    for word, message in {
        "nu": "--set nu: expected NAME=VALUE",
        "mu=1": "did you mean 'nu'",
        "nu=x": "nu = 'x'",
    }.items():
        assert cli.main([*command, "--set", word, "--out", str(tmp_path / "c.h5")]) == 1
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_an_import_holds_the_states_that_it_keeps(tmp_path):
    """Of a file of many states a few are used: memory follows these, measured in a process of its own."""
    states = make_pde("darcy", {"n": 32, "grid": "cell", "source": 1.0}).generate(range(20), seed=0).numpy()
    path = tmp_path / "2D_DarcyFlow_beta1.0_Train.hdf5"
    with h5py.File(path, "w") as file:
        file["nu"] = np.tile(states[:, 0], (400, 1, 1))
        file["tensor"] = np.tile(states[:, 1:], (400, 1, 1, 1))
        file["x-coordinate"] = file["y-coordinate"] = (np.arange(32) + 0.5) / 32
    code = f"""
import resource
from pathlib import Path
from jensenbench.data.formats import reader
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
small = reader.read(Path({str(path)!r}), "pdebench", "darcy", {{}}, most=10)
before = peak()
found = reader.read(Path({str(path)!r}), "pdebench", "darcy", {{}}, most=20)
print(len(found.states), peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    count, grown = done.stdout.split()
    assert int(count) == 20
    assert float(grown) < 0.2 * path.stat().st_size / 2**20
