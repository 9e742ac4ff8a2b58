"""Rows of the tables of the Jensen gap: curves, visits of methods and likelihoods with numbers put in."""

import math

from jensenbench.jensen.estimate import SQUARES
from jensenbench.jensen.table import COLUMNS, table

SIGMAS = (0.1, 1.0, 10.0)
GAPS = dict(zip(SIGMAS, (0.001, 0.2, 0.4), strict=True))


def row(law, estimator, sigma, gap, **others):
    known = {"gap": gap, "denoised": gap, "posterior": 1e-12} | others
    squares = {name: known.pop(name, math.nan) for name in SQUARES}
    values = {}
    for name, value in squares.items():
        values |= {name: value, f"{name}_low": 0.9 * value, f"{name}_high": 1.1 * value, f"{name}_error": 0.01}
    labels = {"pde": "darcy-8", "prior": "net", "power": 1, "law": law, "estimator": estimator, "sigma": sigma}
    return labels | values | {"ess": 50.0, "usable": True, "floor": 1e-14, "states": 8} | known


def frame(rows, columns=COLUMNS):
    """Rows as the pages read them: a missing reason is empty text."""
    return table(rows, columns)


def visit(method, sigma, gap, **others):
    spread = {f"gap{end}": factor * gap for end, factor in (("", 1.0), ("_low", 0.9), ("_high", 1.1))}
    labels = {"pde": "darcy-8", "prior": "net", "power": 1, "method": method, "variant": "a", "task": "unconditional"}
    known = {
        "sigma": sigma,
        "sigma_mean": sigma,
        "calls": 8,
        "states": 4,
        "denoised": 0.5,
        "network": 0.3,
        "denoiser": "prior",
    }
    return labels | spread | known | {"usable": True} | others


VISITED = [
    visit("edm", 10.0, 0.42),
    visit("dps", 10.0, 0.2, task="forward"),
    visit("dps", 3.1622776601683795, 0.6, task="forward", network=0.6),
    visit("guided", 0.1, 0.2, usable=False, residual_of="denoised", residual_low=0.05, residual_high=1.0),
    visit("walker", 10.0, 0.4, residual_of="noisy", residual_low=0.1, residual_high=1.0),
    visit("learner", 10.0, 0.41, network=0.9, denoiser="own"),
    visit("edm", math.nan, math.nan, usable=False, reason="3 of 8 calls lie outside sigma = 0.1 to 10"),
    visit("dps", math.nan, math.nan, usable=False, reason="2 of 8 calls lie outside sigma = 0.1 to 10"),
    visit("student", math.nan, math.nan, usable=False, reason="it learns"),
]


def likelihood(law, sigma, difference, **others):
    ends = {"difference_low": difference - 0.1, "difference_high": difference + 0.1}
    labels = {"pde": "darcy-8", "prior": "net", "law": law, "noise": 0.5, "points": 8, "sigma": sigma}
    return (
        labels
        | {"difference": difference, "printed": 3.0, "lipschitz": 0.2, "ess": 9.0, "usable": True}
        | ends
        | others
    )


LIKELIHOODS = [
    likelihood("net", 0.1, 0.001, ess=math.inf),
    likelihood("net", 10.0, 1.5, ess=math.inf),
    likelihood("empirical", 0.1, 7.77, usable=False),
]
