"""Method ``pcfm`` and its final projection against recordings of PCFM's public code."""

import pytest
import torch

from jensenbench.core.noise import Replay
from jensenbench.numerics.least_norm import sequential
from methods.pcfm import PCFM, Config
from tests.support.golden import Fixture, plain_problem, published_balances, toy_prior

FIXTURE = Fixture("pcfm_sample")
CONSTRAINED = [case for case in FIXTURE.cases if FIXTURE.cases[case]["constraint"]]


def recorded(case):
    """The toy prior and the problem with the recorded constraint."""
    family, name = (FIXTURE.parameter(case, key) for key in ("family", "constraint"))
    prior = toy_prior(FIXTURE, FIXTURE.parameter(case, "denoiser"), family=family, channels=False)
    balances = published_balances(FIXTURE, family)
    constraint = balances.constraint(name.replace("ns_", "heat_"))
    return prior, plain_problem(prior.shape, constraints=(constraint,))


def settings(case):
    given = {name: FIXTURE.parameter(case, key) for name, key in NAMES.items()}
    if FIXTURE.parameter(case, "guided_interpolation"):
        relaxed = FIXTURE.parameter(case, "interpolation_params")
        given |= {name: relaxed[key] for name, key in RELAXED.items()}
    return Config(**given)


NAMES = {"steps": "N", "mode": "mode", "newton": "newtonsteps", "damping": "eps"}
RELAXED = {"relax": "num_steps", "step_size": "step_size", "weight": "custom_lam"}


@pytest.mark.parametrize("case", CONSTRAINED)
def test_states(case):
    prior, problem = recorded(case)
    draws = Replay([FIXTURE[f"{case}/noise"][:, None]])
    states = list(PCFM(settings(case)).steps(prior, problem, draws))
    FIXTURE.assert_close(f"{case}/x_steps", torch.stack(states)[:, :, 0])
    FIXTURE.assert_close(f"{case}/h_final", problem.violation(states[-1]))


@pytest.mark.parametrize("case", [case for case in FIXTURE.cases if case not in CONSTRAINED])
def test_without_constraint_the_flow_that_estimates_its_noise_is_eulers(case):
    family = FIXTURE.parameter(case, "family")
    prior = toy_prior(FIXTURE, FIXTURE.parameter(case, "denoiser"), family=family, channels=False)
    config = Config(steps=FIXTURE.parameter(case, "N"), source="estimated")
    draws = Replay([FIXTURE[f"{case}/noise"][:, None]])
    states = list(PCFM(config).steps(prior, plain_problem(prior.shape), draws))
    FIXTURE.assert_close(f"{case}/x_steps", torch.stack(states)[:, :, 0])


@pytest.mark.parametrize(
    ("case", "key"), [(c, k) for c in CONSTRAINED for k in FIXTURE.keys(c) if "projected_iter" in k]
)
def test_final_projection(case, key):
    _, problem = recorded(case)
    steps = int(key.removeprefix("projected_iter"))
    found = sequential(problem.violation, FIXTURE[f"{case}/x_steps"][-1][:, None], steps)
    FIXTURE.assert_close(f"{case}/{key}", found[:, 0])
