"""Variants ``published`` and ``pfode`` of CoCoGen against recordings of its samplers."""

from functools import cache

import pytest
import torch

from jensenbench.core.codec import Codec
from jensenbench.core.noise import Replay
from jensenbench.core.pde import Axis, Grid
from jensenbench.core.problem import Problem
from jensenbench.plugins.registry import make_pde
from methods.cocogen import CoCoGen, Published
from tests.support.golden import Fixture, mask_observation, toy_prior

FIXTURE = Fixture("cocogen_inpaint")
NUMBERS = FIXTURE.config["operator"]


def conditional(case):
    return "inpaint" in FIXTURE.parameter(case, "method")


def config(case):
    flow = "ProbabilityFlow" in FIXTURE.parameter(case, "method")
    return Published(
        steps=FIXTURE.parameter(case, "num_time_steps") or FIXTURE.config["K"],
        resample=1 if flow else FIXTURE.config["resample"],
        stochastic=not flow,
        beta_min=FIXTURE.config["beta_min"],
        beta_max=FIXTURE.config["beta_max"],
        last_time=FIXTURE.config["t_min"],
        last=FIXTURE.config["correction_last_steps"],
        extra=FIXTURE.config["correction_extra"],
        unit=NUMBERS["sigma_p"],
        scheme="cocogen_nodal",
    )


def problem(case):
    n = FIXTURE["values"].shape[-1]
    pde = make_pde("darcy_corner", {"n": n})
    pde.grid = Grid(tuple(Axis(name, n, extent=NUMBERS["dx"] * (n - 1)) for name in "xy"))
    codec = Codec(pde, shift=[NUMBERS["mu_k"], NUMBERS["mu_p"]], scale=[NUMBERS["sigma_k"], NUMBERS["sigma_p"]])
    observation = None
    if conditional(case):
        mask = torch.zeros_like(FIXTURE["values"])
        mask[tuple(FIXTURE["sensor_index"].T)] = 1
        values = codec.decode(FIXTURE["values"].flip(1))
        observation = mask_observation(mask.flip(1), values, tuple(values.shape))
    return Problem(
        pde, "recorded", codec, observation=observation, scale=torch.tensor(codec.scale, dtype=torch.float64)
    )


@cache
def walked(case):
    """Recorded states hold (p, K), those of the suite (K, p)."""
    prior = toy_prior(FIXTURE, FIXTURE.parameter(case, "denoiser"), solution_first=True)
    draws = Replay([FIXTURE[f"{case}/noise_prior"].flip(1), *FIXTURE[f"{case}/noise_sequence"].flip(2)])
    return [state.flip(1) for state in CoCoGen(config(case)).steps(prior, problem(case), draws)]


@pytest.mark.parametrize("case", FIXTURE.cases)
def test_states(case):
    states = walked(case)
    FIXTURE.assert_close(f"{case}/x_final", states[-1])
    if f"{case}/x_steps" in FIXTURE:
        entering = FIXTURE.get(f"{case}/step_index", torch.arange(len(states) - 2))
        FIXTURE.assert_close(f"{case}/x_steps", torch.stack([states[i] for i in entering.tolist()]))


@pytest.mark.parametrize("case", ["A"])
def test_times(case):
    FIXTURE.assert_close("time_steps", config(case).schedule().times[:-1])
