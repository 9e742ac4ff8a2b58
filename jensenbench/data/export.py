"""Writers of states in the layouts of public data files, which the readers of ``jensenbench.data.formats`` read."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import torch
from numpy.typing import NDArray
from torch import Tensor

from jensenbench.core.pde import PDE
from jensenbench.data.formats.cocogen import stored_velocity, velocity_files
from jensenbench.data.formats.diffusionpde import KEYS, SCALES
from jensenbench.data.formats.neuraloperator import LEVELS
from jensenbench.data.formats.pdebench import AXES, named_source
from jensenbench.data.formats.pidm import FILES
from jensenbench.errors import UnknownName, UserError
from jensenbench.io.files import replacing, write_hdf5

Arrays = dict[str, NDArray]
Layout = Callable[[PDE, NDArray], Arrays]
MATLAB_5_LIMIT = 2**31 - 2**10  # largest array of version 5, in bytes
_MATLAB_73 = b"MATLAB 7.3 MAT-file"  # start of its user block of 512 bytes


def write(file: Path, format: str, pde: PDE, states: Tensor) -> None:
    """Write states (N, C, *grid) as a file of the format; some formats keep one file per state.

    Args:
        file: path of the output; the suffix selects the kind where a format has several.
        format: one of :data:`FORMATS`.

    Raises:
        UnknownName: no such format, or the format holds no such PDE.
        UserError: the format cannot hold the grid or the settings of the states.
    """
    if format not in FORMATS:
        raise UnknownName("export format", format, FORMATS)
    writers = FORMATS[format]
    if pde.name not in writers:
        raise UnknownName(f"PDE of the format {format!r}", pde.name, writers)
    file.parent.mkdir(parents=True, exist_ok=True)
    writers[pde.name](file, pde, states.double().numpy())


def _require(pde: PDE, **settings: Any) -> None:
    for name, value in settings.items():
        found = getattr(pde.config, name)
        if found != value:
            raise UserError(
                f"{pde.label}: the format holds {name} = {value!r}, not {found!r}; generate data with that setting"
            )


def _diffusionpde(pde: PDE, states: NDArray) -> Arrays:
    """Fields by key in the axis order of MATLAB."""
    if pde.name == "darcy":
        _require(pde, grid="cell", source=1.0)
        return dict(zip(KEYS[pde.config.law], (states[:, 0], states[:, 1].swapaxes(1, 2)), strict=True))
    if pde.name == "navier_stokes":
        _require(pde, arm="end_points")
        return {"a": states[:, 0], "u": states[:, 1, ..., None]}
    if pde.name == "burgers":
        return {"input": states[:, 0, 0], "output": states[:, 0]}
    return dict(zip(KEYS[pde.name], (states[:, 0], states[:, 1]), strict=True))


def _fno(pde: PDE, states: NDArray) -> Arrays:
    if pde.name == "darcy":
        _require(pde, grid="node", source=1.0, law="two_valued")
        return {"coeff": states[:, 0], "sol": states[:, 1]}
    if pde.name == "navier_stokes":
        return {**_diffusionpde(pde, states), "t": np.array([[pde.config.horizon]])}
    if states.shape[2] == 2:
        return {"a": states[:, 0, 0], "u": states[:, 0, 1]}
    return {"input": states[:, 0, 0], "output": states[:, 0]}


def _neuraloperator(pde: PDE, states: NDArray) -> Arrays:
    if pde.name == "darcy":
        _require(pde, grid="left_closed", low=LEVELS[0], high=LEVELS[1])
        return {"x": states[:, 0] == LEVELS[1], "y": states[:, 1].astype(np.float32)}
    return {"input": states[:, 0, 0], "output": states[:, 0], "visc": np.array([[pde.config.nu]])}


def _mat(layout: Layout) -> "Writer":
    """Version 5, or 7.3 for a name that ends in ``.v73.mat``."""

    def write(file: Path, pde: PDE, states: NDArray) -> None:
        arrays = layout(pde, states)
        if file.suffix == ".npy":
            return _merged(file, pde, arrays)
        if file.name.endswith(".v73.mat"):
            return _write_mat73(file, arrays)
        large = next((key for key, array in arrays.items() if array.nbytes > MATLAB_5_LIMIT), None)
        if large is not None:
            raise UserError(f"{file}: {large!r} is too large for MATLAB 5; name the file {file.stem}.v73.mat")
        with replacing(file) as partial:
            scipy.io.savemat(partial, arrays, appendmat=False)

    return write


def _write_mat73(file: Path, arrays: Arrays) -> None:
    with replacing(file) as partial:
        with h5py.File(partial, "w", userblock_size=512) as target:
            for key, array in arrays.items():
                target.create_dataset(key, data=array.T).attrs["MATLAB_class"] = np.bytes_("double")
        with partial.open("r+b") as target:
            target.write(_MATLAB_73.ljust(124) + b"\x00\x02IM")


def _merged(file: Path, pde: PDE, arrays: Arrays) -> None:
    """``name_0.npy`` … (n, n, C), scaled as DiffusionPDE trains on them."""
    scales = SCALES.get(pde.name)
    if scales is None or "t" in arrays:
        raise UserError(f"{file}: this format has no merged states of {pde.name}; name a .mat file")
    fields = [array[..., 0] if array.ndim == 4 else array for key, array in arrays.items() if key != "input"]
    scaled = [factor * field + shift for field, (factor, shift) in zip(fields, scales, strict=True)]
    _series(file, np.stack(scaled, -1))


def _series(file: Path, states: NDArray) -> None:
    name = file.stem.rpartition("_")[0]
    if not name or file.stem != f"{name}_0":
        raise UserError(f"{file}: a series starts with a name such as merge_0.npy")
    for i, state in enumerate(states):
        np.save(file.with_name(f"{name}_{i}.npy"), state)


def _npz(file: Path, pde: PDE, states: NDArray) -> None:
    with replacing(file) as partial, partial.open("wb") as target:
        np.savez(target, allow_pickle=False, **_neuraloperator(pde, states))


def _pdebench(file: Path, pde: PDE, states: NDArray) -> None:
    _require(pde, grid="cell")
    if named_source(file) != pde.config.source:
        raise UserError(f"{file}: the file name must give the source; end it in _beta{float(pde.config.source)}.hdf5")

    def fill(target: h5py.File) -> None:
        target["nu"], target["tensor"] = states[:, 0], states[:, 1:]
        for key, axis in zip(AXES, pde.grid.axes, strict=True):
            target[key] = axis.coordinates.numpy()

    write_hdf5(file, fill)


def _pidm(file: Path, pde: PDE, states: NDArray) -> None:
    if file.name not in FILES:
        raise UserError(f"{file}: this format is the pair {' and '.join(FILES)} in one folder; name either")
    for name, fields in zip(FILES, (states[:, 0], states[:, 1]), strict=True):
        with replacing(file.with_name(name)) as partial:
            np.savetxt(partial, fields.reshape(len(fields), -1), delimiter=",", fmt="%.17g")


def _cocogen(file: Path, pde: PDE, states: NDArray) -> None:
    """K_i beside P_i, U1_i and U2_i, the pressures transposed against K."""
    folder = file.parent.parent / "permeability"
    folder.mkdir(parents=True, exist_ok=True)
    k, p = states[:, 0], _transposed_pressure(pde, states)
    velocity = stored_velocity(pde, torch.from_numpy(k), torch.from_numpy(p)).numpy()
    _series(folder / "K_0.npy", k)
    for path, fields in zip((file, *velocity_files(file)), (p, *velocity.swapaxes(0, 1)), strict=True):
        _series(path, fields)


def _transposed_pressure(pde: PDE, states: NDArray) -> NDArray:
    """Pressures (N, n, n) transposed against K; those of ``data: published`` are so already."""
    other = states.copy()
    other[:, 1] = states[:, 1].swapaxes(1, 2)
    as_is, swapped = (float(pde.residual(torch.from_numpy(s))["interior"].square().sum()) for s in (states, other))
    return other[:, 1] if as_is <= swapped else states[:, 1]


Writer = Callable[[Path, PDE, NDArray], None]
FORMATS: Mapping[str, Mapping[str, Writer]] = {
    "cocogen": {"darcy_corner": _cocogen},
    "diffusionpde": dict.fromkeys(("burgers", "darcy", "helmholtz", "navier_stokes", "poisson"), _mat(_diffusionpde)),
    "fno": dict.fromkeys(("burgers", "darcy", "navier_stokes"), _mat(_fno)),
    "neuraloperator": dict.fromkeys(("burgers", "darcy"), _npz),
    "pdebench": {"darcy": _pdebench},
    "pidm": {"darcy_corner": _pidm},
}
