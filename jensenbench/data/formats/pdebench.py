"""Darcy files of PDEBench (arXiv 2210.07182): HDF5, cell centres, the source given in the file name.

``nu`` (N, n, n) is the coefficient, ``tensor`` (N, 1, n, n) the solution; ``x-coordinate``, ``y-coordinate`` (n,) are
the points.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jensenbench.data.formats import darcy
from jensenbench.data.formats.arrays import Source, check_array, read_hdf5
from jensenbench.data.formats.interface import Imported, Reader, Settings
from jensenbench.errors import UserError

AXES = ("x-coordinate", "y-coordinate")


def read_darcy(source: Source, settings: Settings) -> Imported:
    """Darcy states (N, 2, n, n); the source is ``beta`` in the file name, else calibrated."""
    arrays = read_hdf5(source, ("nu", "tensor", *AXES))
    tensor = check_array(source.path, "tensor", arrays["tensor"], ndim=4)[:, 0]
    format = darcy.Format(source=named_source(source.path), grid="cell")
    found = darcy.read_states(source.path, {"nu": arrays["nu"], "tensor": tensor}, settings, format)
    _check_points(source, {key: arrays[key] for key in AXES}, found)
    return found


def named_source(path: Path) -> float | None:
    """The source, ``beta`` in a file name, None where it is absent."""
    beta = re.search(r"beta(\d*\.?\d+(?:[eE][-+]?\d+)?)", path.name)
    return float(beta[1]) if beta else None


READERS: Mapping[str, Reader] = {"darcy": read_darcy}


def _check_points(source: Source, points: Mapping[str, np.ndarray], found: Imported) -> None:
    """Raise UserError unless the stored coordinates are those of the grid that was found from the states."""
    for (key, stored), axis in zip(points.items(), found.pde.grid.axes, strict=True):
        if stored.shape != (axis.n,) or not np.allclose(stored, axis.coordinates.numpy(), atol=axis.spacing / 4):
            raise UserError(
                f"{source.path}: {key!r} runs from {stored.ravel()[0]:.4g} to {stored.ravel()[-1]:.4g}, but the "
                f"solution vanishes as on a {axis.kind} grid: the grids disagree; check how the file was made"
            )
