"""The EDM sampler against recordings of NVlabs/edm."""

import pytest
import torch

from jensenbench.core.noise import Replay
from methods.edm import EDM, Config
from tests.support.golden import Fixture, plain_problem, toy_prior

FIXTURE = Fixture("edm_heun")
SETTINGS = {"num_steps": "steps", "sigma_min": "sigma_min", "sigma_max": "sigma_max", "rho": "rho"}
CHURN = {"S_churn": "churn", "S_min": "churn_from", "S_max": "churn_to", "S_noise": "churn_inflation"}


def method(case):
    return EDM(Config(**{mine: FIXTURE.parameter(case, theirs) for theirs, mine in {**SETTINGS, **CHURN}.items()}))


def walk(case, sampler):
    prior = toy_prior(FIXTURE, FIXTURE.parameter(case, "denoiser"))
    draws = [FIXTURE[f"{case}/noise"], *(FIXTURE.get(f"{case}/churn_noise", ()))]
    return list(sampler.steps(prior, plain_problem(prior.shape), Replay(draws)))


@pytest.mark.parametrize("case", FIXTURE.cases)
def test_states(case):
    sampler = method(case)
    states = walk(case, sampler)
    FIXTURE.assert_close(f"{case}/sigmas", sampler.config.sigmas())
    FIXTURE.assert_close(f"{case}/x_final", states[-1])
    if f"{case}/x_steps" in FIXTURE:
        FIXTURE.assert_close(f"{case}/x_steps", torch.stack(states))


@pytest.mark.parametrize("case", [case for case in FIXTURE.cases if f"{case}/x_hat_steps" in FIXTURE])
def test_noise_injection(case):
    sampler = method(case)
    starts = zip(
        walk(case, sampler), sampler.config.sigmas().tolist()[:-1], FIXTURE[f"{case}/churn_noise"], strict=False
    )
    raised = [sampler.perturb(x, sigma, Replay([draw])) for x, sigma, draw in starts]
    FIXTURE.assert_close(f"{case}/x_hat_steps", torch.stack([x for x, _ in raised]))
    FIXTURE.assert_close(f"{case}/sigma_hat", torch.tensor([sigma for _, sigma in raised], dtype=torch.float64))
