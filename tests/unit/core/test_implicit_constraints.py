"""Curved constraints: their projection finds the nearest point, row by row."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.constraints import Implicit, Measured
from jensenbench.numerics.least_norm import sequential


def radius(fields):
    return fields.flatten(1).square().sum(1, keepdim=True) - 1


def states(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.7, 1.5))
def test_the_projection_onto_a_sphere_is_along_the_radius(seed, distance):
    nearest = states(seed, 3, 1, 2, 2)
    nearest = nearest / nearest.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    found = Implicit("sphere", radius).project(distance * nearest)
    assert (found - nearest).abs().max() < 1e-10


def test_the_nearest_point_of_an_ellipse_leaves_in_the_direction_of_its_normal():
    axes = torch.tensor([1.0, 3.0], dtype=torch.float64)
    start = torch.tensor([[1.5, 2.0], [0.2, 3.1]], dtype=torch.float64)
    found = sequential(lambda x: (x / axes).square().sum(1, keepdim=True) - 1, start, 40)
    normal, way = found / axes**2, start - found
    assert ((found / axes).square().sum(1) - 1).abs().max() < 1e-12
    assert (normal[:, 0] * way[:, 1] - normal[:, 1] * way[:, 0]).abs().max() < 1e-8


def test_on_an_affine_map_one_step_is_the_projection_of_measured():
    matrix, x = states(0, 4, 9), states(1, 5, 1, 3, 3)
    wanted = Measured("measured", lambda fields: fields.flatten(1) @ matrix.T, torch.ones(1, 4))
    assert torch.allclose(sequential(wanted.violation, x, 1), wanted.project(x), atol=1e-11)


def test_rows_do_not_depend_on_their_neighbours_and_the_dtype_is_kept():
    constraint, x = Implicit("sphere", radius), 1 + 0.3 * states(2, 4, 1, 2, 2)
    alone = torch.cat([constraint.subset([row]).project(x[row : row + 1]) for row in range(4)])
    assert (constraint.project(x) - alone).abs().max() < 1e-14
    assert constraint.project(x.float()).dtype == torch.float32
