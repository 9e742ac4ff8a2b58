"""Variant ``published`` of D-Flow against recordings of the ECI repository's version."""

import pytest
import torch

from methods.dflow import Config, DFlow
from tests.support.golden import Fixture, mask_observation, plain_problem, toy_prior

FIXTURE = Fixture("eci_dflow")
SHAPE = (1, *FIXTURE.config["dims"])


@pytest.mark.parametrize("case", FIXTURE.cases)
def test_noises_losses_and_states(case):
    prior = toy_prior(FIXTURE, FIXTURE.parameter(case, "denoiser"), channels=False)
    mask, value = (FIXTURE[name][None, None] for name in ("mask", "value"))
    problem = plain_problem(SHAPE, mask_observation(mask, value, (FIXTURE.config["batch"], *SHAPE)))
    steps, iterations, lr = (FIXTURE.parameter(case, name) for name in ("N", "n_iter", "lr"))
    method = DFlow(Config(steps=steps, iterations=iterations, lr=lr, couple_batch=True))
    noises, losses = zip(*method.iterates(prior, problem, FIXTURE[f"{case}/noise_init"][:, None]), strict=True)
    FIXTURE.assert_close(f"{case}/noise_iterates", torch.stack(noises)[:, :, 0])
    FIXTURE.assert_close(f"{case}/losses", torch.cat(losses[:-1]))
    FIXTURE.assert_close(f"{case}/x_final", method.flow(prior, noises[-1])[:, 0])
