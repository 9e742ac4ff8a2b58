"""Decimals behind numbers that were fitted, or stored with few digits."""


def shortest_decimal(value: float, tolerance: float) -> float:
    """The decimal of fewest digits within a relative tolerance of a value; the value itself where none is so near."""
    for digits in range(17):
        rounded = float(f"{value:.{digits}e}")
        if abs(rounded - value) <= tolerance * abs(value):
            return rounded
    return value
