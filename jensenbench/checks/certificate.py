"""Certificate of a PDE module: the numbers that a reader of its results needs, all measured."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from jensenbench.checks.pde import ROWS, check_pde, rms
from jensenbench.checks.report import Check, Report
from jensenbench.core.pde import PDE
from jensenbench.data.dataset import term_scale
from jensenbench.plugins.registry import high_order_residual

SIZES = (32, 64, 128)
TIMED = 4  # states
LONGEST = 20.0  # seconds that one size may take, guessed from the size before
STATES, BATCH, POINTS = 1000, 100, 64  # of the statistics; the laws depend little on the grid
FARTHEST = 4.0  # standard errors
INITIAL = "{} at t = 0"  # the coefficient row of a space-time field

# Mean and standard deviation of DiffusionPDE's training sets (arXiv 2406.17763), as FunDPS's code keeps them
# (arXiv 2505.17004, utils/dataset_prop.py).
RELEASED: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "darcy": {"a": (7.5, 4.5), "u": (5.69201936e-03, 3.79030361e-03)},
    "poisson": {"f": (0.0, 0.2919494), "u": (9.67226952e-06, 0.00417478)},
    "helmholtz": {"f": (0.0, 0.2844538), "u": (1.05050595e-05, 0.00428004)},
    "navier_stokes": {"w0": (0.0, 0.26211293), "w7": (0.0, 0.2561266)},  # at t = 0 and 1
    "burgers": {INITIAL.format("u"): (0.0, 0.27366568), "u": (0.0, 0.20088117)},
}


@dataclass(frozen=True)
class Statistic:
    """Mean and std of a field over generated states beside the released ones, z: their distances in standard errors."""

    field: str
    mean: float
    released_mean: float
    z_mean: float
    std: float
    released_std: float
    z_std: float


def certify(pde: PDE) -> Report:
    """All checks of a PDE, with its certificate as labels.

    The labels: order declared and measured, floors of own data as stored, rounded to float32 and by a stencil of fourth
    order where there is one, by how much 1 % noise raises the residual, whether it is affine, statistics of 1000 states
    where a set of the law is released, and milliseconds of the processor that a state takes at the sizes.
    """
    report, statistics = check_pde(pde), compare_released(pde)
    data = pde.generate(range(ROWS), seed=0)
    measured = {check.name: check.value for check in report.checks}
    labels = {
        "PDE": report.subject,
        "declared order": "exact" if pde.order is None else pde.order,
        "order": None if pde.order is None else measured["order"],
        "floor float64": measured["floor"],
        "floor float32": float32_floor(pde, data),
        "floor 4th order": fourth_order_floor(pde, data),
        "1 % noise": measured["not_vacuous"],
        "affine": "yes" if pde.affine() else "no",
        **{f"ms at {n}²": milliseconds for n, milliseconds in speeds(pde).items()},
        "statistics": [asdict(statistic) for statistic in statistics],
    }
    return replace(report, checks=(*report.checks, *_released(statistics)), labels=labels)


def float32_floor(pde: PDE, data: Tensor) -> float:
    """rms of the own residual of data that were rounded to float32, over the equation's largest term."""
    return rms(pde.residual(data.float().double())["interior"]) / (term_scale(pde, data) or 1.0)


def fourth_order_floor(pde: PDE, data: Tensor) -> float | None:
    """The same of data as they are, by a stencil of fourth order; None where the equation has none."""
    residual = high_order_residual(pde, data)
    return None if residual is None else rms(residual) / (term_scale(pde, data) or 1.0)


def compare_released(pde: PDE) -> list[Statistic]:
    """Fields of generated states beside a released set of the law, empty where none is."""
    released = RELEASED.get(pde.name, {})
    if not released:
        return []
    fine = _resized(pde, POINTS)
    batches = [range(start, start + BATCH) for start in range(0, STATES, BATCH)]
    moments = [_moments(fine, fine.generate(batch, seed=0)) for batch in batches]

    def joined(name: str, power: int) -> Tensor:
        return torch.cat([batch[name][power] for batch in moments])

    return [_compare(name, joined(name, 0), joined(name, 1), *known) for name, known in released.items()]


def speeds(pde: PDE) -> dict[int, float | None]:
    """Milliseconds of the processor for one generated state at each of the sizes, None where it would take too long."""
    found: dict[int, float | None] = dict.fromkeys(SIZES)
    if pde.n_points == 1:
        return found
    guess = 0.0
    for n in SIZES:
        if guess > LONGEST:
            break
        start = time.process_time()
        resized = _resized(pde, n)
        resized.generate([0], seed=0)  # what is made once
        prepared = time.process_time()
        resized.generate(range(TIMED), seed=0)
        end = time.process_time()
        found[n], guess = 1e3 * (end - prepared) / TIMED, 16 * (end - start)
    return found


def _resized(pde: PDE, n: int) -> PDE:
    return type(pde)(replace(pde.config, n=n))


def _compare(name: str, first: Tensor, second: Tensor, released_mean: float, released_std: float) -> Statistic:
    """Of the integral means (N,) of a field and of its square in each state."""
    mean, std = float(first.mean()), float((second.mean() - first.mean() ** 2).sqrt())
    least, root = 1e-9 * std, len(first) ** 0.5  # a mean that is zero in every state has no standard error
    z_mean = (mean - released_mean) / max(float(first.std()) / root, least)
    z_std = (std - released_std) / max(float(second.std()) / (2 * std * root), least)
    return Statistic(name, mean, released_mean, z_mean, std, released_std, z_std)


def _released(statistics: list[Statistic]) -> tuple[Check, ...]:
    farthest = max((max(abs(s.z_mean), abs(s.z_std)) for s in statistics), default=None)
    if farthest is None:
        return ()
    detail = f"standard errors from the released set's mean and std, at most {FARTHEST:g}"
    return (Check("released_law", farthest <= FARTHEST, farthest, detail),)


def _moments(pde: PDE, states: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Integral means (N,) of each field and of its square, by the trapezoidal rule on axes that hold both ends."""
    weights = [torch.ones(axis.n, dtype=states.dtype) for axis in pde.grid.axes]
    for axis, weight in zip(pde.grid.axes, weights, strict=True):
        if axis.kind == "node":
            weight[[0, -1]] = 0.5
    share = weights[0][:, None] * weights[1]
    found = {}
    for channel, field in enumerate(pde.fields):
        values = states[:, channel]
        found[field.name] = _mean(values, share), _mean(values.square(), share)
        if field.role == "space_time":
            row, part = values[:, :1], weights[1][None]
            found[INITIAL.format(field.name)] = _mean(row, part), _mean(row.square(), part)
    return found


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum((1, 2)) / weights.sum()
