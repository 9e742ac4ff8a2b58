"""Navier–Stokes and Burgers states from any file: axes, direction of time and constants, found by the residual."""

from collections.abc import Mapping
from pathlib import Path

import torch
from numpy.typing import NDArray

from jensenbench.data.formats.arrays import check_array, check_pair
from jensenbench.data.formats.interface import Imported, Settings
from jensenbench.data.formats.interpretations import choose
from jensenbench.plugins.registry import make_pde

VISCOSITIES = (1e-3, 1e-4, 1e-5)  # of the published Navier-Stokes sets
MOST = 0.1  # largest residual over the largest term, for published time steppers
INSPECTED = 4  # states; each needs a run of the solver


def read_end_points(file: Path, arrays: Mapping[str, NDArray], settings: Settings) -> Imported:
    """States (N, 2, n, n) of the vorticity at two times, arrays (N, n, n), periodic without the last row and column.

    Raises:
        UserError: the solver maps neither to the other, for any order of the axes.
    """
    first, last = ((key, check_array(file, key, array, ndim=3)) for key, array in arrays.items())
    check_pair(file, first, last)
    start, end = torch.from_numpy(first[1]), torch.from_numpy(last[1])
    interpretations = {
        "as the format says": torch.stack([start, end], 1),
        "axes exchanged": torch.stack([start.mT, end.mT], 1),
        "last state exchanged": torch.stack([start, end.mT], 1),
        "times swapped": torch.stack([end, start], 1),
    }
    fixed = {"n": start.shape[-1], "arm": "end_points", **settings}
    pdes = [make_pde("navier_stokes", {**fixed, "nu": nu}) for nu in _viscosities(settings)]
    pde = min(
        pdes, key=lambda pde: float(pde.residual(interpretations["as the format says"][:INSPECTED])["interior"].norm())
    )
    states, findings = choose(file, pde, interpretations, most=MOST, inspected=INSPECTED)
    constants = f"viscosity {pde.config.nu:g}, times 0 and {pde.config.horizon:g}"
    return Imported(pde, states, (f"vorticity {first[0]!r} and {last[0]!r}: {constants}", *findings))


def read_burgers(file: Path, array: NDArray, settings: Settings) -> Imported:
    """States (N, 1, times, n) of u(t, x), t in [0, 1] with both ends, x periodic; ``times`` may differ from n.

    Raises:
        UserError: the residual is as large as its terms, whichever way time runs.
    """
    stored = torch.from_numpy(check_array(file, "output", array, ndim=3))
    times, n = stored.shape[1:]
    fixed = {"n": n, **({} if times == n else {"times": times}), **settings}
    pde = make_pde("burgers", fixed)
    interpretations = {"as the format says": stored[:, None], "time reversed": stored.flip(1)[:, None]}
    if times == n:
        interpretations["time and space exchanged"] = stored.mT[:, None]
    states, findings = choose(file, pde, interpretations, most=1.0)
    return Imported(pde, states, (f"u(t, x) at {times} times and {n} points", *findings))


def _viscosities(settings: Settings) -> tuple[float, ...]:
    return (settings["nu"],) if "nu" in settings else VISCOSITIES
