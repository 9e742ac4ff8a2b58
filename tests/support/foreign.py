"""Files as other codes write them, made with scipy.io, h5py, csv and numpy in the axis order of each source."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from scipy.interpolate import RectBivariateSpline

from jensenbench.plugins.registry import make_pde

Fields = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Case:
    """A file format with states of the suite that it can hold.

    Attributes:
        settings: of the PDE, all that importing must find again.
        write: folder and arrays (N, n, n), by the suite's order and orientation -> the file to import.
        known: settings that the importer is told.
        tolerance: of the states read, relative.
        turned: whether the file holds its second array transposed.
    """

    format: str
    pde: str
    settings: Mapping[str, object]
    write: Callable[[Path, Fields], Path]
    known: Mapping[str, object] = field(default_factory=dict)
    tolerance: float = 1e-12
    turned: bool = False

    def states(self) -> np.ndarray:
        return make_pde(self.pde, self.settings).generate(range(5), seed=3).numpy()


def write_mat5(path: Path, **arrays: np.ndarray) -> Path:
    scipy.io.savemat(path, arrays)
    return path


def write_mat73(path: Path, **arrays: np.ndarray) -> Path:
    """MATLAB -v7.3: HDF5 behind a block of 512 bytes, column-major arrays, hence all axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, array in arrays.items():
            file[key] = np.ascontiguousarray(array.transpose())
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def write_merged(folder: Path, *channels: np.ndarray) -> Path:
    for i, state in enumerate(np.stack(channels, -1)):
        np.save(folder / f"merge_{i}.npy", state)
    return folder / "merge_3.npy"


def write_table(path: Path, array: np.ndarray) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(array.reshape(len(array), -1).tolist())
    return path


def write_pidm(folder: Path, fields: Fields) -> Path:
    write_table(folder / "K_data.csv", fields[0])
    return write_table(folder / "p_data.csv", fields[1])


def write_cocogen(folder: Path, fields: Fields) -> Path:
    for name in ("data", "permeability"):
        (folder / name).mkdir(exist_ok=True)
    for i, (k, p) in enumerate(zip(*fields, strict=True)):
        np.save(folder / "permeability" / f"K_{i}.npy", k)
        np.save(folder / "data" / f"P_{i}.npy", p.T)
    return folder / "data" / "P_0.npy"


def write_pdebench(path: Path, fields: Fields) -> Path:
    a, u = fields
    with h5py.File(path, "w") as file:
        file["nu"], file["tensor"] = a.astype(np.float32), u[:, None].astype(np.float32)
        file["x-coordinate"] = file["y-coordinate"] = (np.arange(a.shape[-1]) + 0.5) / a.shape[-1]
    return path


def spline_darcy(a: np.ndarray) -> np.ndarray:
    """DiffusionPDE's pressures of two-valued a (N, n, n) at cell centres: nodes and back by splines, transposed."""
    n = a.shape[-1]
    cells, nodes = (np.arange(n) + 0.5) / n, np.linspace(0, 1, n)
    pde = make_pde("darcy", {"n": n})
    states = np.stack([RectBivariateSpline(cells, cells, field)(nodes, nodes).clip(1) for field in a])
    solved = pde.solve(pde.draw(range(len(a)), seed=0).new_tensor(np.stack([states, 0 * states], 1)))[:, 1].numpy()
    return np.stack([RectBivariateSpline(nodes, nodes, u)(cells, cells).T for u in solved])


NAVIER_STOKES = {"n": 16, "arm": "end_points", "nu": 1e-3, "horizon": 2.0}

CASES = {
    "diffusionpde poisson": Case(
        "diffusionpde", "poisson", {"n": 12},
        lambda folder, x: write_mat5(folder / "poisson.mat", f_data=x[0], phi_data=x[1]),
    ),
    "diffusionpde helmholtz 7.3": Case(
        "diffusionpde", "helmholtz", {"n": 12},
        lambda folder, x: write_mat73(folder / "helmholtz.mat", f_data=x[0], psi_data=x[1]),
    ),
    "diffusionpde poisson merged": Case(
        "diffusionpde", "poisson", {"n": 12}, lambda folder, x: write_merged(folder, x[0] / 2.15, x[1] * 36.5)
    ),
    "diffusionpde navier_stokes": Case(
        "diffusionpde", "navier_stokes", NAVIER_STOKES,
        lambda folder, x: write_mat73(folder / "ns.mat", a=x[0], u=np.stack([0 * x[1], x[1]], -1)), {"horizon": 2.0},
    ),
    "diffusionpde burgers": Case(
        "diffusionpde", "burgers", {"n": 16},
        lambda folder, x: write_mat5(folder / "burgers.mat", input=x[0][:, 0], output=x[0]),
    ),
    "fno darcy": Case(
        "fno", "darcy", {"n": 12, "low": 4.0}, lambda folder, x: write_mat5(folder / "darcy.mat", coeff=x[0], sol=x[1])
    ),
    "fno navier_stokes": Case(
        "fno", "navier_stokes", NAVIER_STOKES,
        lambda folder, x: write_mat73(
            folder / "ns.mat", a=x[0], u=np.stack([x[0], x[1]], -1), t=np.array([[1.0, 2.0]])
        ),
    ),
    "pdebench": Case(
        "pdebench", "darcy", {"n": 12, "low": 0.1, "high": 1.0, "source": 0.1, "grid": "cell"},
        lambda folder, x: write_pdebench(folder / "2D_DarcyFlow_beta0.1_Train.hdf5", x), tolerance=1e-6,
    ),
    "diffusionpde darcy": Case(
        "diffusionpde", "darcy", {"n": 12, "grid": "cell"},
        lambda folder, x: write_mat73(folder / "darcy.mat", thresh_a_data=x[0], thresh_p_data=x[1].swapaxes(1, 2)),
        turned=True,
    ),
    "diffusionpde darcy lognormal": Case(
        "diffusionpde", "darcy", {"n": 12, "grid": "cell", "law": "lognormal"},
        lambda folder, x: write_mat5(folder / "darcy.mat", lognorm_a_data=x[0], lognorm_p_data=x[1].swapaxes(1, 2)),
        {"law": "lognormal"}, turned=True,
    ),
    "diffusionpde darcy merged": Case(
        "diffusionpde", "darcy", {"n": 12, "grid": "cell"},
        lambda folder, x: write_merged(folder, 0.2 * x[0] - 1.5, 115 * x[1].swapaxes(1, 2) - 0.9), tolerance=1e-10,
        turned=True,
    ),
    "pidm": Case("pidm", "darcy_corner", {"n": 16, "modes": 20, "data": "published"}, write_pidm, {"modes": 20}),
    "cocogen": Case(
        "cocogen", "darcy_corner", {"n": 16, "modes": 20, "law": "cocogen"}, write_cocogen,
        {"modes": 20, "data": "discrete"}, turned=True,
    ),
}  # fmt: skip
