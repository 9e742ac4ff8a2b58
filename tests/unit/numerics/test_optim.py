"""Laws of the row-wise optimisers: parity with torch on one row, independent rows, exact quadratics, stopping."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jensenbench.errors import Diverged, UserError
from jensenbench.numerics.optim import LBFGS, Adam, GradientDescent

SEED = st.integers(0, 10**6)
EVERY = {
    "descent": GradientDescent(iterations=30, lr=1e-3),
    "adam": Adam(iterations=30, lr=0.05),
    "lbfgs": LBFGS(iterations=15, lr=0.1),
    "wolfe": LBFGS(iterations=30, line_search=True, history=5),
}
optimisers = pytest.mark.parametrize("optimiser", EVERY.values(), ids=EVERY)


def starts(seed, rows, size=6):
    return torch.randn(rows, 1, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rosenbrock(x, rows):
    """A curved valley, another one for every row of the starting batch."""
    flat, tilt = x.flatten(1), 1 + 0.1 * rows[:, None]
    bend = 10 * (flat[:, 1:] - tilt * flat[:, :-1].square()).square()
    return (bend + (1 - flat[:, :-1]).square()).sum(1)


class Recorded:
    """An objective that keeps the points and rows at which it was evaluated."""

    def __init__(self, objective=rosenbrock):
        self.objective, self.points, self.rows = objective, [], []

    def __call__(self, x, rows):
        self.points.append(x.detach().clone())
        self.rows.append(rows.tolist())
        return self.objective(x, rows)


def with_torch(kind, start, *, steps=1, **options):
    """All points at which torch's optimiser evaluates one row, and the point where it ends."""
    leaf, seen = start.clone().requires_grad_(), Recorded()
    optimiser = kind([leaf], **options)

    def closure():
        optimiser.zero_grad()
        loss = seen(leaf, torch.zeros(1, dtype=torch.long)).sum()
        loss.backward()
        return loss

    for _ in range(steps):
        optimiser.step(closure)
    return torch.stack([*seen.points, leaf.detach()])


def with_rows(optimiser, start):
    seen = Recorded()
    end = optimiser.minimise(seen, start).x
    return torch.stack([*seen.points, end])


@pytest.mark.parametrize("lr", [0.1, 1.0])
@pytest.mark.parametrize("iterations", [1, 7, 20])
@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_lbfgs_evaluates_and_ends_where_torch_does(lr, iterations, search, seed):
    start = starts(seed, 1) / 2
    theirs = with_torch(
        torch.optim.LBFGS, start, lr=lr, max_iter=iterations, line_search_fn="strong_wolfe" if search else None
    )
    mine = with_rows(LBFGS(lr=lr, iterations=iterations, line_search=search), start)
    assert mine.shape == theirs.shape
    assert torch.allclose(mine, theirs, rtol=1e-6, atol=1e-6)  # rounding grows along the curved valley


def test_short_history_skips_pairs_as_torch_does():
    """On a concave stretch pairs are left out, and the ones kept before stay in their slots."""

    def waves(x, rows):
        return torch.cos(3 * x.flatten(1)).sum(1) + 0.1 * x.flatten(1).square().sum(1)

    for seed in range(5):
        start = starts(seed, 1)
        leaf = start.clone().requires_grad_()
        theirs = torch.optim.LBFGS([leaf], lr=0.4, max_iter=30, history_size=3)

        def closure(leaf=leaf, theirs=theirs):
            theirs.zero_grad()
            loss = waves(leaf, None).sum()
            loss.backward()
            return loss

        theirs.step(closure)
        mine = LBFGS(lr=0.4, iterations=30, history=3).minimise(waves, start).x
        assert torch.allclose(mine, leaf.detach(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_first_order_methods_are_those_of_torch(seed):
    start = starts(seed, 1) / 2
    theirs = with_torch(torch.optim.Adam, start, steps=25, lr=0.05, betas=(0.8, 0.9), eps=1e-6)
    mine = with_rows(Adam(lr=0.05, beta1=0.8, beta2=0.9, eps=1e-6, iterations=25), start)
    assert torch.allclose(mine, theirs, rtol=1e-10, atol=1e-12)
    theirs = with_torch(torch.optim.SGD, start, steps=25, lr=1e-3)
    mine = with_rows(GradientDescent(lr=1e-3, iterations=25), start)
    assert torch.allclose(mine, theirs, rtol=1e-10, atol=1e-12)


@optimisers
@settings(deadline=None, max_examples=5)
@given(seed=SEED, batch=st.integers(2, 5))
def test_rows_do_not_know_their_neighbours(optimiser, seed, batch):
    start = starts(seed, batch) / 2
    together = list(optimiser.iterates(rosenbrock, start))
    for row in range(batch):
        alone = list(optimiser.iterates(lambda x, rows, row=row: rosenbrock(x, rows + row), start[row : row + 1]))
        last = min(len(alone), len(together)) - 1
        assert torch.allclose(together[last].x[row], alone[last].x[0], rtol=1e-9, atol=1e-12)
        assert torch.allclose(together[-1].x[row], alone[-1].x[0], rtol=1e-9, atol=1e-12)


@optimisers
def test_losses_are_those_of_the_states(optimiser):
    start = starts(1, 3) / 2
    walk = list(optimiser.iterates(rosenbrock, start))
    assert torch.equal(walk[0].x, start)
    for x, loss in walk[:-1]:
        assert torch.allclose(loss, rosenbrock(x, torch.arange(3)), rtol=1e-12)
    known = ~walk[-1].loss.isnan()
    assert torch.allclose(walk[-1].loss[known], rosenbrock(walk[-1].x, torch.arange(3))[known], rtol=1e-12)
    assert known.all() == (optimiser is EVERY["wolfe"])


def quadratic(seed, size=6):
    """Loss x'Hx/2 - b'x with eigenvalues of H between 1 and 20, and its minimiser."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    hessian = basis @ torch.diag(torch.linspace(1, 20, size, dtype=torch.float64)) @ basis.T
    target = torch.randn(size, generator=generator, dtype=torch.float64)

    def loss(x, rows):
        off = x.flatten(1) - target
        return ((off @ hessian) * off).sum(1) / 2

    return loss, target


@settings(deadline=None, max_examples=5)
@given(seed=SEED)
def test_quadratics_are_solved_to_rounding(seed):
    loss, target = quadratic(seed)
    exact = LBFGS(iterations=200, line_search=True, tolerance_grad=1e-13, tolerance_change=0, evaluations=10**4)
    for optimiser in (exact, replace(exact, line_search=False), GradientDescent(iterations=900, lr=0.05)):
        assert torch.allclose(optimiser.minimise(loss, starts(seed, 2)).x.flatten(1), target, atol=1e-11)


@settings(deadline=None, max_examples=10)
@given(seed=SEED)
def test_line_search_never_raises_the_loss(seed):
    walk = list(LBFGS(iterations=20, lr=5.0, line_search=True).iterates(rosenbrock, 3 * starts(seed, 4)))
    losses = torch.stack([loss for _, loss in walk])
    assert (losses.diff(dim=0) <= 0).all()


def test_line_search_steps_back_from_losses_that_are_not_finite():
    def barrier(x, rows):
        return x.flatten(1).square().sum(1) - (1 - x.flatten(1)).log().sum(1)

    end = LBFGS(iterations=40, lr=50.0, line_search=True, tolerance_change=0.0).minimise(
        barrier, starts(0, 3).clamp(max=0.5)
    )
    minimiser = (1 - 3**0.5) / 2  # 2x + 1/(1 - x) = 0
    assert torch.allclose(end.x, torch.full_like(end.x, minimiser), atol=1e-6)


def test_coupled_rows_are_one_problem():
    start = starts(4, 3) / 2
    both = [LBFGS(iterations=12, lr=0.1, couple_batch=couple) for couple in (True, False)]
    joint, apart = (optimiser.minimise(rosenbrock, start).x for optimiser in both)
    single = both[0].minimise(lambda x, rows: rosenbrock(x.reshape(3, 6), torch.arange(3)).sum()[None], start[None])
    assert torch.allclose(joint, single.x[0], rtol=1e-9)
    assert not torch.allclose(joint, apart, rtol=1e-3)


@optimisers
def test_rows_that_have_met_their_target_cost_nothing_more(optimiser):
    start, seen = starts(2, 3), Recorded()
    start[1] = 0.0
    level = float(rosenbrock(start, torch.arange(3))[1]) + 1e-9
    walk = list(replace(optimiser, target=level).iterates(seen, start))
    assert torch.equal(walk[-1].x[1], start[1])
    assert walk[-1].loss[1] == walk[0].loss[1]
    assert all(1 not in rows for rows in seen.rows[1:])
    assert seen.rows[0] == [0, 1, 2]


def test_evaluations_are_bounded():
    seen = Recorded()
    LBFGS(iterations=40, line_search=True, evaluations=9).minimise(seen, 3 * starts(0, 1))
    assert 9 <= len(seen.points) <= 9 + 1


@optimisers
def test_networks_inside_are_not_trained(optimiser):
    network = nn.Linear(6, 1, dtype=torch.float64)
    end = optimiser.minimise(lambda x, rows: network(x.flatten(1)).square().sum(1), starts(0, 2), module=network)
    assert network.weight.grad is None
    assert network.weight.requires_grad
    assert not end.x.requires_grad


@pytest.mark.parametrize("optimiser", [EVERY["descent"], EVERY["adam"], EVERY["lbfgs"]])
def test_divergence_is_named(optimiser):
    with pytest.raises(Diverged, match="batch element 1 is nan after 0 steps"):
        optimiser.minimise(lambda x, rows: (x.flatten(1).sum(1) - 1e3 * rows).sqrt(), starts(0, 2).abs())


def test_settings_out_of_range_are_refused():
    for make in (
        lambda: GradientDescent(iterations=0),
        lambda: Adam(lr=0.0),
        lambda: Adam(beta2=1.0),
        lambda: LBFGS(lr=math.inf),
        lambda: LBFGS(history=0),
    ):
        with pytest.raises(UserError, match=r"0|inf|1\.0"):
            make()
