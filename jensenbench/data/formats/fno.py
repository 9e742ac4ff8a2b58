"""Files of the Fourier neural operator (arXiv 2010.08895): ``.mat`` of versions 5 and 7.3.

Darcy: ``coeff``, ``sol`` (N, n, n) on nodes, the lower value of the coefficient 3 or 4 by version. Navier–Stokes:
``a`` (N, n, n), ``u`` (N, n, n, times) at the times ``t``; the start and the last time are read. Burgers: ``a``, ``u``
(N, n) at the times 0 and 1, or ``output`` (N, times, n).
"""

from collections.abc import Mapping

import numpy as np

from jensenbench.data.formats import darcy
from jensenbench.data.formats.arrays import Source, check_array, check_field, read_mat
from jensenbench.data.formats.evolution import read_burgers, read_end_points
from jensenbench.data.formats.interface import Imported, Reader, Settings
from jensenbench.errors import UserError


def read_darcy(source: Source, settings: Settings) -> Imported:
    """Darcy states (N, 2, n, n)."""
    return darcy.read_states(source.path, read_mat(source, ("coeff", "sol")), settings, darcy.Format(source=1.0))


def read_navier_stokes(source: Source, settings: Settings) -> Imported:
    """Vorticity (N, 2, n, n) at 0 and at the last time, ``t`` holding the times."""
    arrays = read_mat(source, ("a", "u", "t"))
    times = check_array(source.path, "t", np.atleast_2d(arrays.pop("t")), ndim=2).ravel()
    if arrays["u"].ndim != 4 or arrays["u"].shape[-1] != len(times):
        raise UserError(
            f"{source.path}: 'u' has shape {arrays['u'].shape}, expected (N, n, n, {len(times)}) as 't': check --format"
        )
    last = int(settings.get("record", len(times) - 1))
    arrays["u"] = arrays["u"][..., last]
    return read_end_points(source.path, arrays, {"horizon": float(times[last]), **settings})


def read_profiles(source: Source, settings: Settings) -> Imported:
    """Burgers states (N, 1, times, n), of two times where the file holds only these."""
    stored = read_mat(source, (), ("a", "u", "output"))
    if "output" in stored:
        return read_burgers(source.path, stored["output"], settings)
    ends = [check_field(source.path, key, stored[key], ndim=2) for key in ("a", "u")]
    return read_burgers(source.path, np.stack(ends, 1), settings)


READERS: Mapping[str, Reader] = {"burgers": read_profiles, "darcy": read_darcy, "navier_stokes": read_navier_stokes}
