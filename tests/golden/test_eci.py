"""Variant ``published`` of ECI, and the projections behind it, against recordings of its public code."""

import pytest
import torch

from jensenbench.core.constraints import Conserved, FixedEntries, Periodic
from jensenbench.core.noise import Replay
from methods.eci import ECI, Config
from tests.support.golden import Fixture, plain_problem, toy_prior

FIXTURE = Fixture("eci_sample")
SHAPE = (1, *FIXTURE.config["dims"])  # one channel on a grid of x and t
X, T = 0, 1


def row(name, axis, index, values):
    return FixedEntries.at(name, SHAPE, axis, index, values[:, None])


def declared():
    """The recorded constraints as the benchmark's problems declare them."""
    initial = row("initial", T, 0, FIXTURE["ic"])
    weights = torch.tensor(FIXTURE.config["area"] / SHAPE[1], dtype=torch.float64)
    conservation = Conserved("conservation", weights, FIXTURE["conserved_value"][:, None])
    periodic = Periodic("periodic", (X,))
    mask, value = (FIXTURE[f"dirichlet_{part}"][None, None] for part in ("mask", "value"))
    return {
        "none": (),
        "dirichlet_mask": (FixedEntries("dirichlet", mask, value),),
        "initial": (initial,),
        "boundary": (row("boundary", X, 0, FIXTURE["bc"]),),
        "final_per_sample": (row("final", T, -1, FIXTURE["final_value"]),),
        "frame3": (row("frame", T, 3, FIXTURE["ic"]),),
        "periodic": (periodic,),
        "periodic_both": (Periodic("periodic", (X, T)),),
        "conservation": (conservation,),
        "chain": (conservation, periodic, initial),
    }


@pytest.mark.parametrize("name", [name for name in FIXTURE.keys("adjust") if name != "x"])
def test_projections(name):
    problem = plain_problem(SHAPE, constraints=declared()[name])
    FIXTURE.assert_close(f"adjust/{name}", problem.correct(FIXTURE["adjust/x"][:, None])[:, 0])


@pytest.mark.parametrize("case", FIXTURE.cases)
def test_states(case):
    prior = toy_prior(FIXTURE, FIXTURE.parameter(case, "denoiser"), channels=False)
    problem = plain_problem(SHAPE, constraints=declared()[FIXTURE.parameter(case, "constraint")])
    steps, mixing, resample = (FIXTURE.parameter(case, name) for name in "NMR")
    draws = Replay(FIXTURE[f"{case}/noise"][:, :, None])
    states = list(ECI(Config(steps=steps, mixing=mixing, resample=resample)).steps(prior, problem, draws))
    FIXTURE.assert_close(f"{case}/x_steps", torch.stack(states)[:, :, 0])
