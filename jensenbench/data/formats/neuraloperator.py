"""Data bundled with the package neuraloperator (MIT licence): ``.pt`` and ``.mat``, or their arrays in an ``.npz``.

Darcy: ``x`` (N, n, n) bool coefficient, False 0.1, True 1; ``y`` (N, n, n) pressure. Both are sub-sampled
from a finer grid, so the first row and column lie on the boundary and the last ones do not, and the states
do not solve the discrete equation of their own grid: the source and the ratio of the levels are calibrated, and the
residual is not meaningful.
Burgers: ``output`` (N, times, n) of u(t, x), ``visc`` its viscosity.
"""

from collections.abc import Mapping

import numpy as np

from jensenbench.data.formats import darcy
from jensenbench.data.formats.arrays import Arrays, Source, check_array, read_mat, read_npz, read_pt
from jensenbench.data.formats.evolution import read_burgers
from jensenbench.data.formats.interface import Imported, Reader, Settings

LEVELS = (0.1, 1.0)


def read_darcy(source: Source, settings: Settings) -> Imported:
    """Darcy states (N, 2, n, n), coefficient, solution; given ``settings`` are kept, the others are found."""
    format = darcy.Format(levels=LEVELS, grid="left_closed")
    return darcy.read_states(source.path, _arrays(source, "x", "y"), settings, format)


def read_space_time(source: Source, settings: Settings) -> Imported:
    """Burgers states (N, 1, times, n) with the viscosity that the file names."""
    arrays = _arrays(source, "output", "visc")
    viscosity = float(check_array(source.path, "visc", np.atleast_2d(arrays["visc"]), ndim=2)[0, 0])
    return read_burgers(source.path, arrays["output"], {"nu": viscosity, **settings})


READERS: Mapping[str, Reader] = {"burgers": read_space_time, "darcy": read_darcy}


def _arrays(source: Source, *keys: str) -> Arrays:
    return {".pt": read_pt, ".mat": read_mat}.get(source.path.suffix, read_npz)(source, keys)
