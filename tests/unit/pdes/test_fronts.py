"""Porous medium and Stefan: closed forms, front positions and conditions, latent parameters read from noisy states."""

from math import erf, exp, pi, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde
from pdes.stefan import front_factor


def closed(name, n, latent):
    pde = make_pde(name, {"n": n, "data": "continuous"})
    return pde, pde.closed_form(torch.tensor([[latent]], dtype=torch.float64))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 0.95))
def test_the_front_factor_solves_its_equation(shock):
    alpha = float(front_factor(torch.tensor(shock, dtype=torch.float64)))
    assert abs(sqrt(pi) * shock * alpha * erf(alpha) * exp(alpha**2) - (1 - shock)) < 1e-12


@settings(max_examples=8, deadline=None)
@given(st.floats(0.55, 0.7), st.floats(0.5, 2.0))
def test_the_stefan_front_jumps_from_the_shock_value_and_moves_as_the_heat_that_arrives(shock, k):
    pde = make_pde("stefan", {"n": 501, "horizon": 0.05, "k": k, "data": "continuous"})
    u = pde.closed_form(torch.tensor([[shock]], dtype=torch.float64))[0, -1]
    x = pde.grid.axes[1].coordinates
    count = int((u > 0).sum())
    front = 2 * float(front_factor(torch.tensor(shock))) * sqrt(k * 0.05)
    assert abs(x[count - 1] - front) <= x[1]
    assert abs(u[count - 1] - shock) < 4e-3
    slope = float(u[count - 1] - u[count - 3]) / (2 * float(x[1]))  # of the hot side
    assert front / (2 * 0.05) == pytest.approx(-k * slope / shock, rel=0.03)


@pytest.mark.parametrize(("name", "level"), [("porous_medium", 0.02), ("stefan", 0.1)])
def test_discrete_fronts_are_where_the_closed_form_has_them(name, level):
    own, exact = (make_pde(name, {"n": 65, "data": data}).generate(range(4), seed=0)[:, 0] for data in KINDS)
    ahead = ((own > level).sum(2) - (exact > level).sum(2)).abs()
    assert ahead.max() <= 3


KINDS = ("discrete", "continuous")


@settings(max_examples=15, deadline=None)
@given(st.floats(1.0, 6.0), st.integers(6, 60))
def test_the_exponent_of_the_closed_form_is_found_and_noise_moves_it_little(m, n):
    pde, u = closed("porous_medium", n, m)
    assert float(pde.fitted(u)) == pytest.approx(m, abs=1e-9)
    noise = torch.randn(u.shape, generator=torch.Generator().manual_seed(n), dtype=u.dtype)
    assert float(pde.fitted(u + 1e-4 * noise)) == pytest.approx(m, abs=0.1)


def test_the_shock_value_of_a_finely_sampled_closed_form_is_found():
    for shock in (0.56, 0.63, 0.69):
        pde, u = closed("stefan", 129, shock)
        assert float(pde.fitted(u)) == pytest.approx(shock, abs=0.01)


def test_states_without_a_front_or_an_inflow_have_finite_residuals():
    for name in ("porous_medium", "stefan"):
        pde = make_pde(name, {"n": 8})
        for value in (0.0, -1.0, 1.0):
            state = torch.full((1, *pde.shape), value, dtype=torch.float64)
            assert all(torch.isfinite(part).all() for part in pde.residual(state).values())


def test_a_row_that_newton_cannot_follow_is_refused_with_its_number():
    pde = make_pde("porous_medium", {"n": 8})
    state = pde.generate(range(2), seed=0)
    state[1, 0, 0, 3] = 1e80
    with pytest.raises(UserError, match="sample 1"):
        pde.solve(state)
