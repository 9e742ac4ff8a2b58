"""Decimals of fewest digits within a tolerance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jensenbench.data.formats.rounding import shortest_decimal


@pytest.mark.parametrize(
    ("value", "tolerance", "decimal"),
    [
        (0.10000000149011612, 1.2e-7, 0.1),
        (11.99999988, 1e-6, 12.0),
        (0.00975455, 0.04, 0.01),
        (-2.5978, 5e-4, -2.598),
        (0.014814804, 0.0, 0.014814804),
    ],
)
def test_known_decimals(value, tolerance, decimal):
    assert shortest_decimal(value, tolerance) == decimal


@given(st.floats(1e-12, 1e12), st.floats(1e-9, 0.1))
def test_it_lies_within_the_tolerance_and_a_digit_less_does_not(value, tolerance):
    found = shortest_decimal(value, tolerance)
    assert abs(found - value) <= tolerance * value
    digits = len(f"{found:e}".split("e")[0].rstrip("0").replace(".", "")) - 1
    if digits > 0 and tolerance > 1e-6:
        assert abs(float(f"{value:.{digits - 1}e}") - value) > tolerance * value


@given(st.floats(1e-12, 1e12))
def test_without_a_tolerance_it_is_the_value(value):
    assert shortest_decimal(value, 0.0) == value
