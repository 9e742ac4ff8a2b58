"""Variant ``published`` of DPS against recordings of its image code."""

import pytest
import torch

from jensenbench.core.noise import Replay
from methods.dps import DPS, Published
from tests.support.golden import Fixture, linear_observation, mask_observation, plain_problem, toy_prior

FIXTURE = Fixture("dps_ddpm")


def config(case):
    length = FIXTURE.parameter(case, "T")
    return Published(
        steps=length,
        schedule_steps=length,
        zeta=FIXTURE.parameter(case, "scale"),
        clip=FIXTURE.parameter(case, "clip_denoised"),
        float32_coefficients=FIXTURE.parameter(case, "coefficients") != "float64",
        couple_batch=True,
    )


def observation(case):
    if FIXTURE.parameter(case, "operator") == "linear":
        return linear_observation(FIXTURE["A_linear"], FIXTURE["y_linear"])
    return mask_observation(FIXTURE["mask"], FIXTURE["y_mask"], FIXTURE["x_start"].shape)


@pytest.mark.parametrize("case", FIXTURE.cases)
def test_states(case):
    prior = toy_prior(FIXTURE, FIXTURE.parameter(case, "denoiser"))
    problem = plain_problem(prior.shape, observation(case))
    draws = Replay([FIXTURE["x_start"], *FIXTURE[f"{case}/noise"]])
    states = list(DPS(config(case)).steps(prior, problem, draws))
    FIXTURE.assert_close(f"{case}/x_final", states[-1])
    if f"{case}/x_steps" in FIXTURE:
        FIXTURE.assert_close(f"{case}/x_steps", torch.stack(states))


@pytest.mark.parametrize(
    "case", [case for case in FIXTURE.cases if FIXTURE.parameter(case, "coefficients") == "float64"]
)
def test_schedule(case):
    schedule = config(case).schedule()
    FIXTURE.assert_close("betas", schedule.betas)
    FIXTURE.assert_close("alphas_cumprod", schedule.alphas_bar)
