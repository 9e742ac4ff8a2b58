"""Variant ``inversebench`` of DPS against recordings of InverseBench."""

import pytest
import torch

from jensenbench.core.noise import Replay
from methods.dps import DPS, InverseBench
from tests.support.golden import Fixture, every_second, plain_problem, toy_prior

FIXTURE = Fixture("inversebench_dps")
SCHEDULES = {"vp": "vp", "linear": "edm"}


def config(case):
    return InverseBench(
        steps=FIXTURE.parameter(case, "num_steps"),
        schedule=SCHEDULES[FIXTURE.parameter(case, "schedule")],
        stochastic=FIXTURE.parameter(case, "sde"),
        sigma_max=FIXTURE.parameter(case, "sigma_max"),
        sigma_end=FIXTURE.parameter(case, "sigma_min"),
        zeta=FIXTURE.parameter(case, "guidance_scale"),
        couple_batch=True,
    )


@pytest.mark.parametrize("case", FIXTURE.cases)
def test_states(case):
    prior = toy_prior(FIXTURE, FIXTURE.parameter(case, "denoiser"))
    start = FIXTURE[f"{case}/noise_init"]
    problem = plain_problem(prior.shape, every_second(FIXTURE["y"], start.shape))
    draws = Replay([start, *(FIXTURE.get(f"{case}/noise", ()))])
    states = torch.stack(list(DPS(config(case)).steps(prior, problem, draws)))
    FIXTURE.assert_close(f"{case}/x_steps", states)


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if FIXTURE.keys(f"schedule_{name}")])
def test_schedule(schedule):
    case = next(case for case in FIXTURE.cases if FIXTURE.parameter(case, "schedule") == schedule)
    mine = config(case).levels()
    FIXTURE.assert_close(f"schedule_{schedule}/time", mine.times)
    FIXTURE.assert_close(f"schedule_{schedule}/sigma", mine.sigmas)
    FIXTURE.assert_close(f"schedule_{schedule}/scaling", mine.scales)
    FIXTURE.assert_close(f"schedule_{schedule}/scaling_factor", mine.drift)
    FIXTURE.assert_close(f"schedule_{schedule}/factor", mine.diffusion)


@pytest.mark.parametrize("case", FIXTURE.cases)
def test_start(case):
    mine = config(case).rule().start
    assert mine == pytest.approx(FIXTURE.parameter(case, "sigma_max_used_for_init"), rel=FIXTURE.tolerance("*")[1])
