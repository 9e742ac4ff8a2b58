"""Darcy states from any file: array order, grid, orientation, face rule and source, found from the states."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from jensenbench.core.pde import PDE
from jensenbench.data.formats.arrays import check_field, check_pair
from jensenbench.data.formats.interface import Imported, Settings
from jensenbench.data.formats.interpretations import SOURCE_MARGIN, first_states, outliers
from jensenbench.data.formats.rounding import shortest_decimal
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde

LAWS = ("two_valued", "lognormal")
FACES = ("arithmetic", "harmonic")
EDGE_MARGIN = 0.45  # tolerance in spacings; jumps of the coefficient bend the solution near the edge
BEND = 8  # tolerance BEND/n in spacings, for the curvature of the solution on coarse grids
SINGLE = 1.2e-7  # relative spacing of single precision
SOURCE_DIGITS = 5e-4  # relative: four digits, since the source is part of labels
RATIO_STATES = 32  # states that the ratio of the levels is fitted to
MIN_RATIO, MAX_RATIO, RATIO_ERROR = 1.05, 1e3, 5e-3
GRIDS = {  # distances of the edges from the first and the last points, in spacings
    (0.0, 0.0): ("node", "all edges on it"),
    (0.0, 1.0): ("left_closed", "first row and column on the boundary, last inside"),
    (0.5, 0.5): ("cell", "edges half a spacing outside: cell centres"),
}


@dataclass(frozen=True)
class Format:
    """What a file format specifies about its Darcy states.

    Attributes:
        law: of the coefficient, ``two_valued`` or ``lognormal``.
        levels: values of the coefficient where 0 and 1 are stored, by repute; their ratio is fitted.
        rounding: relative error of the stored coefficient, where it was scaled in single precision.
        source: right-hand side, None if unspecified; states with another one are refused.
        transposed: whether the solution is stored transposed.
        grid: kind of its axes.
    """

    law: str = "two_valued"
    levels: tuple[float, float] | None = None
    rounding: float = 0.0
    source: float | None = None
    transposed: bool = False
    grid: str = "node"


@dataclass(frozen=True)
class Candidate:
    """One interpretation of a file.

    Attributes:
        pde: the PDE with the settings of this interpretation.
        transposed: whether the solution's axes are exchanged.
        source: the source term that fits the states best.
        residual: rms of the own interior residual, over the source.
        misfit: relative L2 distance of the re-solved solution from the stored one, mean over states.
    """

    pde: PDE
    transposed: bool
    source: float
    residual: float
    misfit: float

    def describe(self) -> str:
        orientation = "transposed" if self.transposed else "as stored"
        return (
            f"solution {orientation}, {self.pde.config.faces} faces: source {self.source:.4g}, "
            f"residual rms {self.residual:.3g} x source, re-solved solution off by {100 * self.misfit:.3g} %"
        )


def read_states(file: Path, arrays: Mapping[str, NDArray], settings: Settings, format: Format) -> Imported:
    """States (N, 2, n, n) of two arrays (N, n, n), coefficient and solution as the format orders and names them.

    ``settings`` of the caller are kept, the others are found from the states.
    """
    first, second = ((key, check_field(file, key, array, ndim=3)) for key, array in arrays.items())
    check_pair(file, first, second)
    if settings.get("n", first[1].shape[1]) != first[1].shape[1]:
        raise UserError(f"{file} holds states of {first[1].shape[1]}² points, the settings ask for n = {settings['n']}")
    swapped = _swapped(first[1], second[1], format)
    (name, stored), (other, values) = (second, first) if swapped else (first, second)
    solution = torch.from_numpy(values)
    kind, edges = grid_kind(file, solution)
    fixed: dict[str, Any] = {"n": solution.shape[-1], "law": format.law, "grid": kind, **settings}
    coefficient, levels, known = _coefficient(file, stored, settings, format)
    candidates = calibrate(fixed | levels, coefficient, solution, format.source)
    if not known:
        levels = _with_ratio(levels, fit_ratio(candidates[0], coefficient, solution), keep_low="low" in settings)
        coefficient = two_level_field(coefficient > coefficient.mean(), **levels)
        candidates = calibrate(fixed | levels, coefficient, solution, format.source)
    best = candidates[0]
    _check_source(file, best, format)
    states = torch.stack([coefficient, solution.mT if best.transposed else solution], 1)
    note = ": channels swapped against the format" if swapped else ""
    shifted = "" if kind == format.grid else f", against the format, whose grid is {format.grid}"
    chosen = "chosen" if best.transposed == format.transposed else "chosen (against the format)"
    return Imported(
        best.pde,
        states,
        (
            f"coefficient {name!r}, solution {other!r}{note}",
            _describe_levels(levels, fitted=not known),
            f"{kind} grid ({edges}), h = {best.pde.grid.spacings[0]:.4g}{shifted}",
            *(f"{chosen if candidate is best else 'refused'}: {candidate.describe()}" for candidate in candidates),
            outliers(best.pde, states),
        ),
    )


def grid_kind(file: Path, solution: Tensor) -> tuple[str, str]:
    """Kind of grid, and in words, on which the solution (N, n, n), extrapolated to the edges, vanishes there.

    Raises:
        UserError: it does not vanish at the ends of any such grid.
    """
    near, far = _edge_distance(solution, 0, 1), _edge_distance(solution, -1, -2)
    nearest = min(GRIDS, key=lambda ends: max(abs(ends[0] - near), abs(ends[1] - far)))
    if max(abs(nearest[0] - near), abs(nearest[1] - far)) > max(EDGE_MARGIN, BEND / solution.shape[-1]):
        raise UserError(
            f"{file}: the solution does not vanish near its edges (extrapolated, {near:.2g} and {far:.2g} spacings "
            "outside): the grid is neither node, cell nor left-closed; check the keys and --pde"
        )
    return GRIDS[nearest]


def calibrate(
    settings: Settings, coefficient: Tensor, solution: Tensor, published: float | None
) -> tuple[Candidate, ...]:
    """Candidates by orientation and face rule, the smallest residual first.

    The discrete solution is linear in the source: the fitted value is the least-squares fit of the solution by the
    own scheme to the stored one. A published or given source is kept.
    """
    a, u = (first_states(field[:, None])[:, 0] for field in (coefficient, solution))
    candidates = []
    for rule in (settings["faces"],) if "faces" in settings else FACES:
        unit = make_pde("darcy", {**settings, "faces": rule, "source": 1.0})
        response = unit.solve(torch.stack([a, torch.zeros_like(a)], 1))[:, 1]
        for transposed in (False, True):
            oriented = u.mT if transposed else u
            fitted = _fitted_source(response, oriented)
            source = settings.get("source", fitted if published is None else published)
            pde = make_pde("darcy", {**settings, "faces": rule, "source": source})
            candidates.append(_candidate(pde, transposed, fitted, torch.stack([a, oriented], 1), response))
    return tuple(sorted(candidates, key=lambda candidate: candidate.residual))


def fit_ratio(best: Candidate, coefficient: Tensor, solution: Tensor) -> float:
    """Ratio of both levels that, with the best source for it, re-solves the stored solution best.

    The states fix ratio and source alone: a common factor of both levels and the source leaves the equation as it is.
    """
    a, u = (first_states(field[:, None], RATIO_STATES)[:, 0] for field in (coefficient, solution))
    oriented, upper = u.mT if best.transposed else u, a > a.mean()
    settings, high = {**asdict(best.pde.config), "source": 1.0}, best.pde.config.high

    def misfit(log_ratio: float) -> float:
        low = high * exp(-log_ratio)
        field = two_level_field(upper, low, high)
        unit = make_pde("darcy", {**settings, "low": low})
        response = unit.solve(torch.stack([field, torch.zeros_like(field)], 1))[:, 1]
        return float((_fitted_source(response, oriented) * response - oriented).norm())

    found: Any = minimize_scalar(
        misfit, bounds=(log(MIN_RATIO), log(MAX_RATIO)), method="bounded", options={"xatol": 1e-3}
    )
    return exp(found.x)


def _with_ratio(levels: Mapping[str, float], ratio: float, *, keep_low: bool) -> dict[str, float]:
    """Levels of a ratio, one of which is kept; the other one is rounded within the error of the ratio."""
    low, high = levels["low"], levels["high"]
    if keep_low:
        return {"low": low, "high": shortest_decimal(low * ratio, RATIO_ERROR)}
    return {"low": shortest_decimal(high / ratio, RATIO_ERROR), "high": high}


def two_level_field(upper: Tensor, low: float, high: float) -> Tensor:
    """``high`` where a mask holds, else ``low``, float64."""
    return low + (high - low) * upper.double()


def two_values(array: NDArray, rounding: float = 0.0) -> tuple[float, float] | None:
    """Both values of a two-valued array as the file has them, None for any other array.

    ``rounding``, relative to the larger one, is what single precision and scaling may have left of equal values; single
    precision and such values are read as the shortest decimals that they stand for.
    """
    middle, spread = (array.min() + array.max()) / 2, max(rounding, SINGLE) * np.abs(array).max()
    lower, upper = array[array <= middle], array[array > middle]
    if not all(len(group) and np.ptp(group) <= spread for group in (lower, upper)):
        return None
    return _stored_value(lower, rounding), _stored_value(upper, rounding)


def _stored_value(group: NDArray, rounding: float) -> float:
    """The decimal behind values that are equal up to a relative rounding error, or stored in single precision."""
    value = float(np.median(group))
    single = np.ptp(group) > 0 or float(np.float32(value)) == value
    return shortest_decimal(value, max(rounding, SINGLE if single else 0.0))


def _describe_levels(levels: Mapping[str, float], *, fitted: bool) -> str:
    if not levels:
        return "lognormal"
    values = " and ".join(f"{value:g}" for value in levels.values())
    return f"coefficient values {values}" + (", their ratio by least squares" if fitted else "")


def _fitted_source(response: Tensor, solution: Tensor) -> float:
    """Source whose response fits a solution best, of as few digits as the misfit allows, four at least."""
    source = float((response * solution).sum() / response.square().sum())
    misfit = float((source * response - solution).norm() / solution.norm())
    return shortest_decimal(source, min(misfit, SOURCE_DIGITS))


def _swapped(first: NDArray, second: NDArray, format: Format) -> bool:
    """Whether the second array looks like a coefficient and the first does not."""
    if format.law == "two_valued":
        return two_values(first, format.rounding) is None and two_values(second, format.rounding) is not None
    return bool((first <= 0).any() and (second > 0).all()) or _edge_share(first) < 0.5 < _edge_share(second)


def _edge_share(array: NDArray) -> float:
    """Median absolute value on the first row over that on the middle row."""
    return float(np.median(np.abs(array[:, 0])) / np.median(np.abs(array[:, array.shape[1] // 2])))


def _coefficient(
    file: Path, array: NDArray, settings: Settings, format: Format
) -> tuple[Tensor, dict[str, float], bool]:
    """Field, its levels, and whether these are known: a file of 0 and 1 tells none, the caller may tell both."""
    if format.law == "lognormal":
        if not (array > 0).all():
            raise UserError(f"{file}: the coefficient is not positive everywhere: check the keys and --pde")
        return torch.from_numpy(array), {}, True
    stored = two_values(array, format.rounding)
    if stored is None:
        raise UserError(
            f"{file}: no array is two-valued, as the coefficient of this format must be: check --format and the keys, "
            "or give --set law=lognormal"
        )
    known = stored != (0.0, 1.0) or {"low", "high"} <= set(settings)
    low, high = format.levels if format.levels and stored == (0.0, 1.0) else stored
    low, high = settings.get("low", low), settings.get("high", high)
    if low <= 0:
        raise UserError(f"{file}: the coefficient takes the value {low:g}, not positive: check keys and scale")
    return torch.from_numpy(np.where(array > sum(stored) / 2, high, low)), {"low": low, "high": high}, known


def _check_source(file: Path, best: Candidate, format: Format) -> None:
    wanted = best.pde.config.source if format.source is not None else best.source
    if abs(best.source / wanted - 1) > SOURCE_MARGIN:
        raise UserError(
            f"{file}: the states fit the source {best.source:g}, not {wanted:g} as expected; {best.describe()}; "
            "rescale the solution, or name another `source` in the settings"
        )


def _edge_distance(solution: Tensor, outer: int, inner: int) -> float:
    """Distance in spacings from the outer rows and columns to the zero of a line through them and the inner ones.

    The median over all points, which is robust against outliers and jumps of the coefficient.
    """
    ends, next_ones = (torch.cat([solution[:, i], solution[..., i]]) for i in (outer, inner))
    distance = float((ends / (next_ones - ends)).nanmedian())
    return distance if distance >= 0 else float("inf")


def _candidate(pde: PDE, transposed: bool, source: float, states: Tensor, response: Tensor) -> Candidate:
    residual = pde.residual(states)["interior"].square().mean().sqrt() / abs(pde.config.source)
    solved = pde.config.source * response
    distance = (solved - states[:, 1]).flatten(1).norm(dim=1) / states[:, 1].flatten(1).norm(dim=1)
    return Candidate(pde, transposed, source, float(residual), float(distance.mean()))
