"""Coloured Jacobian-vector products against dense Jacobians of every PDE's residuals."""

import pytest
import torch

from jensenbench.errors import UserError
from jensenbench.io.sources import public_modules
from jensenbench.numerics.jacobian import directions, jacobian_diagonal, jacobian_maximum, on_grid
from jensenbench.plugins.registry import load_pde, make_pde

# The stream function of navier_stokes couples all points, and so do parameters that are fitted to a state: no stencil.
GLOBAL = {"navier_stokes", "stokes", "porous_medium", "stefan"}
SCHEMES = [
    (name, scheme) for name in public_modules("pdes") if name not in GLOBAL for scheme in load_pde(name)().schemes
]
MODES = {"darcy_corner": {"modes": 9}}


def make(name, n):
    return make_pde(name, {"n": n, **MODES.get(name, {})})


def interior(pde, scheme):
    return lambda state: pde.residual(state, scheme)["interior"]


def dense(residual, state):
    """(points, C, *grid) Jacobian of one state."""
    return torch.func.jacrev(lambda s: residual(s[None])[0].flatten())(state)


def states(pde, seed):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(2, *pde.shape, generator=random, dtype=torch.float64) + 0.3


@pytest.mark.parametrize("n", [8, 9])
@pytest.mark.parametrize(("name", "scheme"), SCHEMES)
def test_diagonal_and_maximum_are_those_of_the_dense_jacobian(name, scheme, n):
    pde = make(name, n)
    residual, mask, x = interior(pde, scheme), pde.role_mask("solution"), states(pde, n)
    sets = directions(residual, mask)
    diagonal, largest = jacobian_diagonal(residual, x, sets), jacobian_maximum(residual, x, sets)
    for row in range(len(x)):
        jacobian = dense(residual, x[row]) * mask
        scale = jacobian.abs().max()
        assert abs(largest[row] - jacobian.max()) < 1e-12 * scale
        expected = torch.zeros_like(x[row])
        points = torch.arange(1, len(jacobian) + 1).reshape(residual(x).shape[1:])
        number = on_grid(points[None], pde.grid.shape)[0]
        for place in number.nonzero().tolist():
            expected[:, *place] = jacobian[number[*place] - 1][:, *place]
        assert (diagonal[row] - expected).abs().max() < 1e-12 * scale


@pytest.mark.parametrize(("name", "scheme"), SCHEMES)
def test_sets_split_the_solution_and_their_number_does_not_grow_with_the_grid(name, scheme):
    counts = []
    for n in (12, 24):
        pde = make(name, n)
        sets = directions(interior(pde, scheme), pde.role_mask("solution"))
        assert torch.equal(sets.sum(0), pde.role_mask("solution").long())
        counts.append(len(sets))
    assert counts[1] == counts[0] <= 36


def test_products_in_other_coordinates_give_the_same_diagonal():
    pde = make("darcy", 8)
    residual, x = interior(pde, "own"), states(pde, 0)
    sets = directions(residual, pde.role_mask("solution"))
    shrunk = jacobian_diagonal(lambda y: residual(4 * y), x / 4, sets, sets / 4)
    assert torch.allclose(shrunk, jacobian_diagonal(residual, x, sets), rtol=1e-12)


def test_several_equations_at_once():
    pde = make("darcy_corner", 7)
    x, mask = states(pde, 1), pde.role_mask("solution")

    def channels(state):
        return torch.stack(list(pde.residual(state, "pidm").values()), 1)

    largest = jacobian_maximum(channels, x, directions(channels, mask))
    for row in range(2):
        assert abs(largest[row] - (dense(channels, x[row]) * mask).max()) < 1e-12 * largest[row]


def test_a_residual_without_locality_moves_one_unknown_at_a_time():
    mask = torch.ones(1, 4, 5, dtype=torch.bool)
    assert len(directions(lambda s: torch.fft.fft2(s[:, 0]).real, mask)) == mask.sum()


def test_a_residual_without_points_is_refused():
    with pytest.raises(UserError, match="need 2 axes of points"):
        directions(lambda s: s.flatten(1), torch.ones(1, 4, 4, dtype=torch.bool))
