"""Corner-to-corner Darcy flow: modes of its medium, closed finite volumes, published generators, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.pde import Axis
from jensenbench.errors import UnknownName, UserError
from jensenbench.plugins.registry import make_pde
from pdes._kle import expand
from pdes._neumann import CosineSolver, mean_of_nodes, net_outflow, node_weights
from pdes._published_pressures import GENERATORS
from pdes._stencils import face_means, first_difference, second_difference


def covariance(n, length):
    x = np.linspace(0, 1, n)
    points = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    return np.exp(-np.linalg.norm(points[:, None] - points, axis=-1) / length)


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 11), st.floats(0.05, 1.0), st.integers(1, 16))
def test_the_modes_are_the_largest_eigenpairs_of_the_covariance(n, length, modes):
    expansion, matrix = expand(n, length, modes), covariance(n, length)
    assert np.allclose(expansion.eigenvalues, np.linalg.eigvalsh(matrix)[::-1][:modes], atol=1e-12 * n * n)
    vectors = expansion.eigenvectors
    assert np.allclose(matrix @ vectors, vectors * expansion.eigenvalues, atol=1e-12 * n * n)
    assert np.allclose(vectors.T @ vectors, np.eye(modes), atol=1e-12)


def test_all_modes_give_the_covariance():
    fields = expand(7, 0.1, 49).field(np.eye(49)).reshape(49, -1)
    assert np.allclose(fields.T @ fields, covariance(7, 0.1), atol=1e-12)


@pytest.mark.parametrize(("law", "mean", "variance"), [("pidm", 0, 1), ("cocogen", 1.25, 2.5**2 / 12)])
def test_weights_follow_the_law(law, mean, variance):
    weights = make_pde("darcy_corner", {"law": law}).weights(range(300), seed=4)
    error = (variance / weights.size) ** 0.5
    assert abs(weights.mean() - mean) < 5 * error
    assert abs(weights.var() / variance - 1) < 0.05
    assert (weights.min() >= 0) == (law == "cocogen")


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 17), st.integers(0, 1000))
def test_a_closed_square_loses_nothing_and_constants_do_not_flow(n, seed):
    generator = torch.Generator().manual_seed(seed)
    k, u = torch.rand(2, 3, n, n, generator=generator, dtype=torch.float64) + 0.1
    faces = face_means(k, -2, "arithmetic"), face_means(k, -1, "arithmetic")
    outflow = net_outflow(faces, u)
    assert outflow.sum((-2, -1)).abs().max() < 1e-12 * outflow.abs().max() * n
    assert net_outflow(faces, torch.ones_like(u)).abs().max() == 0
    one = [torch.ones_like(face) for face in faces]
    solved = CosineSolver(Axis("x", n))(net_outflow((one[0], one[1]), u))
    assert torch.allclose(solved, u - mean_of_nodes(u)[:, None, None], atol=1e-10)


def test_pressures_converge_at_second_order_to_those_of_a_smooth_problem():
    """cos πx has no flux at the ends and mean zero; its source is put into the control volumes."""
    errors = []
    for n in (9, 17, 33):
        pde = make_pde("darcy_corner", {"n": n, "modes": 16})
        x, y = pde.grid.mesh()
        k, p = 1 + x.square(), torch.cos(torch.pi * x) * torch.cos(2 * torch.pi * y)
        p_x, p_xx = -torch.pi * torch.sin(torch.pi * x) * torch.cos(2 * torch.pi * y), -(torch.pi**2) * p
        f = -k * (p_xx + 4 * p_xx) - 2 * x * p_x
        f = f - mean_of_nodes(f[None])
        pde.source = lambda f=f: f
        errors.append(float((pde.solve(torch.stack([k, p])[None])[0, 1] - p).abs().max()))
    assert 3.5 < errors[0] / errors[1] < 4.5
    assert 3.5 < errors[1] / errors[2] < 4.5


def test_the_solver_is_differentiable_in_the_medium():
    pde = make_pde("darcy_corner", {"n": 6, "modes": 9})
    k = pde.draw([0], seed=0)[:, :1].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda k: pde.solve(torch.cat([k, torch.zeros_like(k)], 1))[:, 1], k, fast_mode=True
    )


@pytest.mark.parametrize("law", GENERATORS)
def test_published_pressures_are_least_squares(law):
    pde = make_pde("darcy_corner", {"n": 8, "law": law, "modes": 16, "data": "published"})
    k, p = pde.generate([3], seed=1)[0]
    system = GENERATORS[law](k, pde.source())
    left = system.matrix @ p.numpy().ravel() - system.rhs
    assert np.abs(left).max() > 1e-3
    assert np.abs(system.matrix.T @ left).max() < 1e-8 * np.abs(left).max() * np.abs(system.matrix).max()


def test_a_pressure_that_cocogen_stores_is_transposed():
    """It meets its equation far better with axes exchanged, and PIDM's does not."""
    worse = {}
    for law in GENERATORS:
        pde = make_pde("darcy_corner", {"n": 32, "law": law, "modes": 16, "data": "published"})
        state = pde.generate([0, 1], seed=0)
        exchanged = torch.stack([state[:, 0], state[:, 1].mT], 1)
        here, there = (pde.residual(s, "cocogen_nodal")["interior"].square().mean() for s in (state, exchanged))
        worse[law] = float(here / there)
    assert worse["cocogen"] > 10
    assert worse["pidm"] < 0.01


@settings(max_examples=10, deadline=None)
@given(st.integers(4, 12), st.floats(0.1, 2.0), st.sampled_from([-2, -1]))
def test_differences_are_exact_for_quadratics_at_the_edges_too(n, h, dim):
    x = torch.arange(n, dtype=torch.float64) * h
    u = (3 * x.square() - x + 2)[:, None].expand(n, n)[None]
    u, slope = (u, (6 * x - 1)[:, None].expand(n, n)) if dim == -2 else (u.mT, (6 * x - 1).expand(n, n))
    scale = u.abs().max() / h**2
    assert (first_difference(u, dim, h)[0] - slope).abs().max() < 1e-12 * scale
    assert (second_difference(u, dim, h) - 6).abs().max() < 1e-11 * scale


def test_symmetries_are_declared_where_the_law_has_them():
    """Mirror pairs of modes share an eigenvalue: cut between them, the law prefers an axis."""
    eigenvalues = expand(9, 0.1, 8).eigenvalues
    pairs = [i for i in range(1, 8) if np.isclose(eigenvalues[i - 1], eigenvalues[i], rtol=1e-12)]
    assert pairs
    for modes in range(1, 8):
        pde = make_pde("darcy_corner", {"n": 9, "modes": modes})
        assert len(pde.symmetries()) == (1 if modes in pairs else 4)
    assert len(make_pde("darcy_corner", {"n": 9, "law": "cocogen"}).symmetries()) == 1


def test_control_volumes_fill_the_square():
    assert float(node_weights(torch.zeros(9, 9)).sum()) == 64


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"law": "pidn"}, "did you mean 'pidm'"), ({"data": "continuous"}, r"known: discrete, published\)")],
)
def test_unknown_names_are_offered_what_is_near_or_what_there_is(setting, message):
    with pytest.raises(UnknownName, match=message):
        make_pde("darcy_corner", setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"length": 0.0}, "length = 0.0"), ({"side": 0.7}, "side = 0.7"), ({"strength": 0.0}, "strength = 0.0")],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(UserError, match=message):
        make_pde("darcy_corner", setting)


def test_more_modes_than_nodes_are_refused():
    with pytest.raises(UserError, match=r"modes = 64, n = 7: .* 49 nodes"):
        make_pde("darcy_corner", {"n": 7})
