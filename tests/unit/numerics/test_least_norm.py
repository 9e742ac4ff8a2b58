"""Shortest corrections: pseudo-inverses of any rank, independence of rows, convergence on curved sets."""

from itertools import islice

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.numerics.least_norm import Equations, GaussNewton, Linearised, equilibrated, least_norm

EXACT = GaussNewton(tolerance=1e-12, iterations=200, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def affine(matrix: Tensor, values: Tensor):
    return lambda x: x.flatten(1) @ matrix.T.to(x) - values.to(x)


def circle(x: Tensor) -> Tensor:
    return x.square().sum(1, keepdim=True) - 1


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), rank=st.integers(1, 5), rows=st.integers(1, 7))
@example(seed=126308, rank=2, rows=3)  # a target almost orthogonal to what J reaches
def test_one_step_is_the_pseudo_inverse_whatever_the_rank(seed, rank, rows):
    """Redundant and contradicting rows too: then it is the shortest least-squares step."""
    matrix = normal(rows, rank, seed=seed) @ normal(rank, 6, seed=seed + 1)
    x, values = normal(3, 2, 3, seed=seed + 2), normal(3, rows, seed=seed + 3)
    h = affine(matrix, values)
    step = least_norm(Linearised(h, x), -h(x), tolerance=1e-13, iterations=100).step
    expected = -h(x) @ torch.linalg.pinv(matrix, rtol=1e-9).T
    scale = float(expected.abs().max())
    assert torch.allclose(step.flatten(1), expected, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("damping", [1e-6, 0.3, 20.0])
def test_damped_step_is_the_regularised_inverse(damping):
    matrix, x, values = normal(4, 6), normal(3, 2, 3, seed=1), normal(3, 4, seed=2)
    h = affine(matrix, values)
    step = least_norm(Linearised(h, x), -h(x), tolerance=1e-14, iterations=100, damping=damping).step
    expected = -torch.linalg.solve(matrix @ matrix.T + damping * torch.eye(4, dtype=x.dtype), h(x).T).T @ matrix
    assert torch.allclose(step.flatten(1), expected, rtol=1e-9, atol=1e-10)


def test_products_are_those_of_the_jacobian():
    x, step, rows = normal(2, 3), normal(2, 3, seed=1), normal(2, 2, seed=2)
    h = lambda state: torch.stack([state.prod(1), state.sin().sum(1)], 1)  # noqa: E731
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda row: h(row[None])[0], row) for row in x])
    at = Linearised(h, x)
    assert torch.allclose(at.jvp(step), torch.einsum("bmd,bd->bm", jacobian, step))
    assert torch.allclose(at.vjp(rows), torch.einsum("bmd,bm->bd", jacobian, rows))
    assert torch.equal(at.value, h(x))


def test_steps_onto_a_sphere_keep_the_direction_and_converge_quadratically():
    x = 3 * torch.nn.functional.normalize(normal(5, 4), dim=1)
    errors = [float(circle(state).abs().max()) for state, _ in islice(EXACT.iterates(circle, x), 6)]
    ends = list(islice(EXACT.iterates(circle, x), 6))
    assert torch.allclose(ends[-1].step, x / 3)
    assert errors[-1] < 1e-12
    assert errors[3] <= errors[2] ** 2


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_a_row_does_not_depend_on_its_neighbours(dtype, rounding):
    """Rows that need few iterations stand still while others go on."""
    matrix = torch.diag(torch.logspace(0, 3, 8, dtype=torch.float64))
    x = normal(4, 8) * torch.tensor([1.0, 0, 1e-6, 1], dtype=torch.float64)[:, None]
    x[1, 0] = 1.0
    h, rule = affine(matrix, torch.zeros(8, dtype=torch.float64)), GaussNewton(tolerance=1e-4, dtype=dtype)
    together = next(rule.iterates(h, x)).step
    alone = torch.cat([next(rule.iterates(h, row[None])).step for row in x])
    assert torch.allclose(together, alone, rtol=rounding, atol=1e-12)


def test_a_solve_that_stops_at_its_cap_is_not_called_converged():
    matrix = torch.diag(torch.logspace(0, 4, 30, dtype=torch.float64))
    h, x = affine(matrix, torch.zeros(30, dtype=torch.float64)), normal(2, 30)
    few, many = (next(GaussNewton(iterations=n, dtype=torch.float64).iterates(h, x)) for n in (3, 2000))
    assert not few.converged.any()
    assert many.converged.all()
    assert (h(few.step).norm(dim=1) < h(x).norm(dim=1)).all()


def test_rows_at_the_floor_or_without_a_value_stand_still():
    x = torch.stack([normal(4), torch.full((4,), torch.nan, dtype=torch.float64), normal(4, seed=1)])
    x[0] /= x[0].norm()
    after = next(GaussNewton(floor=1e-9).iterates(circle, x)).step
    assert torch.equal(after[0], x[0])
    assert torch.isnan(after[1]).all()
    assert not torch.equal(after[2], x[2])


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), unit=st.floats(1e-4, 1e4))
def test_units_of_rows_do_not_change_the_step_but_its_price(seed, unit):
    first, second = normal(3, 8, seed=seed), normal(2, 8, seed=seed + 1)
    x, count = normal(2, 8, seed=seed + 2), torch.tensor([2.0, 2.0], dtype=torch.float64)

    def groups(state: Tensor) -> list[Equations]:
        return [Equations(state @ first.T - 1, 1.5 * count), Equations(unit * (state @ second.T), count)]

    plain = lambda state: torch.cat([state @ first.T - 1, state @ second.T], 1)  # noqa: E731
    h = equilibrated(groups, x)
    assert torch.allclose(next(EXACT.iterates(h, x)).step, next(EXACT.iterates(plain, x)).step, rtol=1e-6, atol=1e-8)
    at = Linearised(h, x)
    lengths = torch.stack([at.vjp(row.expand(2, -1)).norm(dim=1) for row in torch.eye(5, dtype=torch.float64)])
    assert float(lengths.max() / lengths.min()) < 50


@pytest.mark.parametrize("wrong", [{"tolerance": 0.0}, {"iterations": 0}, {"floor": -1.0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError, match=str(next(iter(wrong.values())))):
        GaussNewton(**wrong)
