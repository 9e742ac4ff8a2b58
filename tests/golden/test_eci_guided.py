"""Variant ``detached`` of DiffusionPDE against recordings of the ECI repository's baseline."""

import pytest
import torch

from jensenbench.core.noise import Replay
from methods.diffusionpde import Detached, DiffusionPDE
from tests.support.golden import Fixture, mask_observation, plain_problem, toy_prior

FIXTURE = Fixture("eci_guided")
SHAPE = (1, *FIXTURE.config["dims"])


@pytest.mark.parametrize("case", FIXTURE.cases)
def test_states(case):
    prior = toy_prior(FIXTURE, FIXTURE.parameter(case, "denoiser"), channels=False)
    mask, value = (FIXTURE[name][None, None] for name in ("mask", "value"))
    problem = plain_problem(SHAPE, mask_observation(mask, value, (FIXTURE.config["batch"], *SHAPE)))
    problem.scale = torch.tensor([prior.sigma_data], dtype=torch.float64)
    settings = Detached(steps=FIXTURE.parameter(case, "N"), zeta_obs=FIXTURE.parameter(case, "eta"), couple_batch=True)
    draws = Replay([FIXTURE[f"{case}/noise"][:, None]])
    states = list(DiffusionPDE(settings).steps(prior, problem, draws))
    FIXTURE.assert_close(f"{case}/x_steps", torch.stack(states)[:, :, 0])
