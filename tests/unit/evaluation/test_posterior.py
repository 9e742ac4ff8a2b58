"""Draws of a method against draws of the posterior."""

import pytest
import torch
from torch import Tensor

from jensenbench.evaluation.posterior import against_draws

STD = torch.tensor([1.0, 2.0], dtype=torch.float64)
UNKNOWN = torch.ones(2, 2, 4, dtype=torch.bool)


def draws(count: int, *, width: float = 1.0, shift: float = 0.0, seed: int = 0) -> Tensor:
    """(2, count, 2, 2, 2) independent normals in units of each field's std."""
    noise = torch.randn(2, count, 2, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (shift + width * noise) * STD[:, None, None]


def test_the_same_draws_have_no_distance():
    fields = draws(50)
    assert torch.allclose(
        against_draws(fields, fields, UNKNOWN, STD)["posterior_w2"], torch.zeros(2).double(), atol=1e-12
    )


def test_a_shift_of_one_std_along_all_entries_is_the_distance_of_its_projections():
    """Projections of a vector of d ones onto random directions have a mean square of one."""
    fields = draws(50)
    moved = fields + STD[:, None, None]
    found = against_draws(moved, fields, UNKNOWN, STD)["posterior_w2"]
    assert torch.allclose(found, torch.ones(2).double(), atol=0.25)


@pytest.mark.parametrize(("width", "expected"), [(1.0, 0.9), (0.2, 0.26), (5.0, 1.0)])
def test_coverage_of_intervals(width, expected):
    """Share of N(0, 1) inside the central 90 % of N(0, width²), by the normal distribution."""
    found = against_draws(draws(400, width=width), draws(200, seed=1), UNKNOWN, STD)
    assert float(found["posterior_coverage_90"].mean()) == pytest.approx(expected, abs=0.03)


def test_a_single_draw_has_no_interval():
    assert set(against_draws(draws(1), draws(20), UNKNOWN, STD)) == {"posterior_w2"}


def test_an_instance_without_reference_has_no_value():
    exact = draws(20)
    exact[1] = torch.nan
    for values in against_draws(draws(8), exact, UNKNOWN, STD).values():
        assert torch.isfinite(values[0])
        assert torch.isnan(values[1])
