"""Navier–Stokes and Burgers states from any file: axes, direction of time and constants, found by the residual."""

from collections.abc import Iterable, Mapping
from math import exp, log
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from jensenbench.data.formats.arrays import check_field, check_pair
from jensenbench.data.formats.constants import Constant, best_constants
from jensenbench.data.formats.interface import Imported, Settings
from jensenbench.data.formats.interpretations import choose
from jensenbench.data.formats.rounding import shortest_decimal
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde

VISCOSITIES = (1e-3, 1e-4, 1e-5)  # of the published Navier-Stokes sets
BETTER = 0.3  # of the residual at the nearest published viscosity: a fitted one is taken below it
MOST = 0.1  # largest residual over the largest term, for published time steppers
DECADE, FLOW_ERROR = 10.0, 5e-3  # factor within which another viscosity is looked for, and its relative error
INSPECTED = 4  # states; each needs a run of the solver


def read_end_points(file: Path, arrays: Mapping[str, NDArray], settings: Settings) -> Imported:
    """States (N, 2, n, n) of the vorticity at two times, arrays (N, n, n), periodic without the last row and column.

    Raises:
        UserError: the solver maps neither to the other, for any order of the axes.
    """
    first, last = ((key, check_field(file, key, array, ndim=3)) for key, array in arrays.items())
    check_pair(file, first, last)
    start, end = torch.from_numpy(first[1]), torch.from_numpy(last[1])
    interpretations = {
        "as the format says": torch.stack([start, end], 1),
        "axes exchanged": torch.stack([start.mT, end.mT], 1),
        "last state exchanged": torch.stack([start, end.mT], 1),
        "times swapped": torch.stack([end, start], 1),
    }
    fixed = {"n": start.shape[-1], "arm": "end_points", **settings}
    nu = settings.get("nu") or _flow_viscosity(fixed, interpretations["as the format says"][:INSPECTED])
    pde = make_pde("navier_stokes", {**fixed, "nu": nu})
    states, findings = choose(file, pde, interpretations, most=MOST, inspected=INSPECTED)
    constants = f"viscosity {pde.config.nu:g}, times 0 and {pde.config.horizon:g}"
    return Imported(pde, states, (f"vorticity {first[0]!r} and {last[0]!r}: {constants}", *findings))


def read_burgers(file: Path, array: NDArray, settings: Settings) -> Imported:
    """States (N, 1, times, n) of u(t, x), t in [0, 1] with both ends, x periodic; ``times`` may differ from n.

    Raises:
        UserError: the residual is as large as its terms, whichever way time runs.
    """
    stored = torch.from_numpy(check_field(file, "output", array, ndim=3))
    times, n = stored.shape[1:]
    if times < 2:
        raise UserError(f"{file}: 'output' holds one time, expected (N, times, points): check --format and --pde")
    fixed = {"n": n, **({} if times == n else {"times": times}), **settings}
    interpretations = {"as the format says": stored[:, None], "time reversed": stored.flip(1)[:, None]}
    if times == n:
        interpretations["time and space exchanged"] = stored.mT[:, None]
    found = best_constants("burgers", fixed, interpretations.values())
    _refuse_unclear(file, found)
    pde = make_pde("burgers", fixed | {constant.name: constant.rounded for constant in found})
    states, findings = choose(file, pde, interpretations, most=1.0)
    told = (constant.describe() for constant in found)
    return Imported(pde, states, (f"u(t, x) at {times} times and {n} points", *told, *findings))


def _refuse_unclear(file: Path, found: Iterable[Constant]) -> None:
    for viscosity in found:
        if not viscosity.clear:
            raise UserError(
                f"{file}: the states do not tell their viscosity (least squares finds {viscosity.value:.3g}, to "
                f"{100 * viscosity.uncertainty:.2g} %): give it, for instance --set nu=0.01, or check --pde"
            )


def _flow_viscosity(settings: Settings, states: Tensor) -> float:
    """The published viscosity whose flow maps first states to last ones best, or one that does so much better."""

    def misfit(nu: float) -> float:
        return float(make_pde("navier_stokes", {**settings, "nu": nu}).residual(states)["interior"].norm())

    misfits = {nu: misfit(nu) for nu in VISCOSITIES}
    published = min(misfits, key=lambda nu: misfits[nu])
    bounds = (log(published) - log(DECADE), log(published) + log(DECADE))
    fit: Any = minimize_scalar(
        lambda value: misfit(exp(value)), bounds=bounds, method="bounded", options={"xatol": 1e-3}
    )
    if fit.fun < BETTER * misfits[published]:
        return shortest_decimal(exp(fit.x), FLOW_ERROR)
    return published
