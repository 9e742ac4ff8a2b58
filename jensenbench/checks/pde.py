"""Conformance of a PDE module: the laws that every equation, generator and residual must obey."""

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from jensenbench.checks.report import Check, Report
from jensenbench.core.pde import PDE, sum_terms
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UserError

ROWS = 4  # states a check looks at
ORDER_MARGIN = 0.3
MARGIN = 10  # by how much a wrong state must exceed a right one
ROUNDING = 1e-12  # relative; rows of a batch may go through other machine code than a row alone
NOISE = 0.01  # of each field's standard deviation


class PDECase:
    """A PDE with a few generated states; what several laws read is computed once.

    Attributes:
        data: (ROWS, C, *grid) generated states.
    """

    def __init__(self, pde: PDE, *, seed: int = 0):
        self.pde, self.seed = pde, seed

    @cached_property
    def data(self) -> Tensor:
        return self.pde.generate(range(ROWS), seed=self.seed)

    @cached_property
    def solved(self) -> Tensor:
        """The states themselves where they solve the discrete equation, otherwise what ``solve`` makes of them."""
        return self.data if self.pde.data_floor == self.pde.floor else self.pde.solve(self.data)


def check_pde(pde: PDE, *, seed: int = 0) -> Report:
    """Hold a PDE against all laws, on a few states of its own size; seconds up to 64².

    The order of accuracy is measured on refined grids, made by replacing ``n`` in the settings. Data that do not
    solve the discrete equation are held to their declared floor, and what ``solve`` makes of them to all laws.
    """
    case = PDECase(pde, seed=seed)
    return Report(pde.label, tuple(law(case) for law in LAWS.values()))


def rms(values: Tensor) -> float:
    """Root mean square of all entries, zero for none."""
    return float(values.square().mean().sqrt()) if values.numel() else 0.0


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def _ratio(value: float, unit: float) -> float:
    return value / unit if unit > 0 else (0.0 if value == 0 else float("inf"))


def _interior(pde: PDE, state: Tensor) -> float:
    return rms(pde.residual(state)["interior"])


def _stacked(parts: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten(1) for part in parts.values()], 1)


def _perturbed(pde: PDE, data: Tensor, share: float) -> Tensor:
    """``data`` with white noise on the solution, ``share`` of each field's standard deviation."""
    noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(0), dtype=data.dtype)
    spread = data.transpose(0, 1).flatten(1).std(1).reshape(-1, *[1] * len(pde.grid.shape))
    return data + share * spread * noise * pde.role_mask("solution")


def _order(case: PDECase) -> Check:
    pde = case.pde
    return _pointwise(pde) if pde.order is None else _convergence(pde, pde.order)


def _convergence(pde: PDE, order: int) -> Check:
    """Every part of the residual converges to the exact one at the declared order, or equals it to rounding."""
    coarse = max(16, min(pde.config.n, 64))
    grids = [pde.refined(coarse * factor) for factor in (1, 2, 4)]
    errors: dict[str, list[float]] = {}
    scale = 1.0
    for grid in grids:
        state, exact = grid.manufactured(2)
        found = grid.residual(state)
        scale = max(scale, term_scale(grid, state))
        for part, value in exact.items():
            errors.setdefault(part, []).append(rms(found[part] - value))
    spacing = np.log([max(grid.grid.spacings) for grid in grids])
    inexact = {part: values for part, values in errors.items() if max(values) > 1e-9 * scale}
    slopes = [float(np.polyfit(spacing, np.log(np.maximum(values, 1e-300)), 1)[0]) for values in inexact.values()]
    worst = max(slopes, key=lambda slope: abs(slope - order), default=float(order))
    declared = f"declared order {order}" if slopes else "equal to the exact one up to rounding"
    detail = f"slope of the residual's error on a smooth state, {declared}"
    return Check("order", abs(worst - order) <= ORDER_MARGIN, worst, detail)


def _pointwise(pde: PDE) -> Check:
    state, exact = pde.manufactured(ROWS)
    value = _ratio(_largest(_stacked(pde.residual(state)) - _stacked(exact)), term_scale(pde, state))
    detail = "not applicable to a pointwise residual: compared with the exact one"
    return Check("order", value <= ROUNDING, value, detail)


def _form(case: PDECase) -> Check:
    pde, data = case.pde, case.data
    good = tuple(data.shape[1:]) == pde.shape and data.dtype == torch.float64 and bool(torch.isfinite(data).all())
    return Check("states", good, None, f"float64, finite, {pde.shape} each")


def _floor(case: PDECase) -> Check:
    pde, data = case.pde, case.data
    interior = _ratio(_interior(pde, data), term_scale(pde, data))
    conditions = _ratio(max((rms(part) for part in pde.conditions(data).values()), default=0.0), rms(data))
    value = max(interior, conditions)
    detail = f"residual of its own data, at most {pde.data_floor:g}"
    return Check("floor", value <= pde.data_floor, value, detail)


def _not_vacuous(case: PDECase) -> Check:
    pde, data = case.pde, case.solved
    least = max(_interior(pde, data), pde.floor * term_scale(pde, data))
    factor = _ratio(_interior(pde, _perturbed(pde, data, NOISE)), least)
    return Check("not_vacuous", factor >= MARGIN, factor, f"x the floor with {NOISE:.0%} noise, at least {MARGIN}")


def _gradient(case: PDECase) -> Check:
    pde, data = case.pde, case.solved
    scale = term_scale(pde, data) or 1.0
    state = _perturbed(pde, data, NOISE)[:1].requires_grad_()
    try:
        passed = torch.autograd.gradcheck(lambda s: _stacked(pde.residual(s)) / scale, state, fast_mode=True, rtol=1e-3)
        detail = "autograd agrees with finite differences"
    except RuntimeError as error:  # gradcheck raises GradcheckError, autograd RuntimeError where the graph is cut
        passed, detail = False, str(error).strip().splitlines()[0]
    return Check("gradient", bool(passed), None, detail)


def _rows_alone(case: PDECase) -> Check:
    pde, data, seed = case.pde, case.data, case.seed
    alone = torch.cat([pde.generate([row], seed=seed) for row in range(ROWS)])
    noisy = _perturbed(pde, data, NOISE)
    together = _stacked(pde.residual(noisy))
    singly = torch.cat([_stacked(pde.residual(noisy[row : row + 1])) for row in range(ROWS)])
    generated = _ratio(_largest(alone - data), _largest(data))
    value = max(generated, _ratio(_largest(singly - together), _largest(together)))
    return Check("batch_invariance", value <= ROUNDING, value, "difference of a row alone from the row in a batch")


def _streams(case: PDECase) -> Check:
    pde, data, seed = case.pde, case.data, case.seed
    value = _ratio(_largest(pde.generate([2, 0], seed=seed) - data[[2, 0]]), _largest(data))
    distinct = _largest(data[0] - data[1]) > 0 and _largest(pde.generate([0], seed=seed + 1) - data[:1]) > 0
    return Check("streams", value <= ROUNDING and distinct, value, "sample i depends on (seed, i) alone")


def _transposition(case: PDECase) -> Check:
    """Swapped axes of the solution must show in the residual."""
    pde, data = case.pde, case.solved
    shape = pde.grid.shape
    if len(shape) != 2 or shape[0] != shape[1]:
        return Check("transposition", True, None, "not applicable: the grid is not square")
    solution = torch.tensor([field.role != "coefficient" for field in pde.fields]).reshape(-1, 1, 1)
    value = _ratio(_interior(pde, torch.where(solution, data.mT, data)), term_scale(pde, data))
    return Check("transposition", value >= MARGIN * pde.floor, value, "residual with the solution's axes swapped")


def _affine(case: PDECase) -> Check:
    pde, data = case.pde, case.solved
    one, two, weight = _perturbed(pde, data, NOISE), data.flip(0), 0.7
    mixed = _stacked(pde.residual(weight * one + (1 - weight) * two))
    average = weight * _stacked(pde.residual(one)) + (1 - weight) * _stacked(pde.residual(two))
    value = _ratio(_largest(mixed - average), max(_largest(mixed), _largest(average)))
    return Check(
        "affine", (value <= 1e-9) == pde.affine(), value, f"departure from superposition, affine() is {pde.affine()}"
    )


def _solve(case: PDECase) -> Check:
    pde, data, solved = case.pde, case.data, case.solved
    again = pde.solve(solved)
    kept = torch.equal(*(torch.where(pde.role_mask("coefficient"), states, 0.0) for states in (again, data)))
    value = _ratio(_largest(again - solved), _largest(solved))
    return Check("solve", value <= 1e-9 and kept, value, "solving again changes nothing, coefficient untouched")


def _symmetries(case: PDECase) -> Check:
    pde, data = case.pde, case.solved
    scale, maps = term_scale(pde, data), pde.symmetries()
    values = [_ratio(_interior(pde, move(data)), scale) for move in maps]
    identity = any(torch.equal(move(data), data) for move in maps)
    wrong = [str(number) for number, value in enumerate(values) if not value <= pde.floor]
    detail = f"residual of data moved by {len(maps)} maps"
    if wrong:
        owner = next(kind.__name__ for kind in type(pde).__mro__ if "symmetries" in vars(kind))
        detail += f"; of those of {owner} number {', '.join(wrong)} do not hold: override `symmetries` without them"
    if not identity:
        detail += "; none is the identity: let `symmetries` return (lambda state: state, ...)"
    return Check("symmetries", not wrong and identity, max(values, default=0.0), detail)


def _terms(case: PDECase) -> Check:
    pde, data = case.pde, case.solved
    noisy = _perturbed(pde, data, NOISE)
    total, interior = sum_terms(pde.terms(noisy)), pde.residual(noisy)["interior"]
    value = _ratio(_largest(total - interior), _largest(interior))
    return Check("terms", value <= ROUNDING, value, "interior residual less the sum of the terms")


def _constraints(case: PDECase) -> Check:
    """Data meet the declared constraints and projections keep them."""
    pde, data = case.pde, case.data
    held = pde.constraints(data)
    broken = max((_largest(constraint.violation(data)) for constraint in held), default=0.0)
    moved = max((_largest(constraint.project(data) - data) for constraint in held), default=0.0)
    value = _ratio(max(broken, moved), _largest(data))
    return Check("constraints", value <= pde.floor, value, f"violation of {len(held)} constraints by data")


def _dtype(case: PDECase) -> Check:
    pde, data = case.pde, case.solved
    state = data.float()
    found = [pde.solve(state), *pde.terms(state).values(), *pde.conditions(state).values()]
    found += [part for scheme in pde.schemes for part in pde.residual(state, scheme).values()]
    found += [constraint.project(state) for constraint in pde.constraints(state)]
    return Check("dtype", all(value.dtype == torch.float32 for value in found), None, "float32 in, float32 out")


def _refusals(case: PDECase) -> Check:
    pde, data = case.pde, case.solved
    poisoned = data.clone()
    poisoned.view(-1)[0] = float("nan")
    refused = [_refuses(pde, state) for state in (data[..., :-1], poisoned)]
    return Check("refusals", all(refused) and not _refuses(pde, data), None, "check() refuses wrong shapes and NaN")


def _refuses(pde: PDE, state: Tensor) -> bool:
    try:
        pde.check(state)
    except UserError:
        return True
    return False


LAWS: Mapping[str, Callable[[PDECase], Check]] = {
    "order": _order,
    "batch_invariance": _rows_alone,
    "streams": _streams,
    "states": _form,
    "floor": _floor,
    "solve": _solve,
    "constraints": _constraints,
    "not_vacuous": _not_vacuous,
    "gradient": _gradient,
    "transposition": _transposition,
    "affine": _affine,
    "symmetries": _symmetries,
    "terms": _terms,
    "dtype": _dtype,
    "refusals": _refusals,
}
