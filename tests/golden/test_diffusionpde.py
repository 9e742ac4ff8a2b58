"""Variant ``published`` of DiffusionPDE against recordings of its four scripts."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch

from jensenbench.core.noise import Replay
from jensenbench.diffusion.samplers import euler, heun
from methods.diffusionpde import Config, DiffusionPDE
from tests.support.golden import Fixture, equation_problem, recorded, toy_prior

PDES = [pde for pde in ("darcy", "poisson", "helmholtz", "burgers") if recorded(f"diffusionpde_{pde}")]
FIXTURES = {pde: Fixture(f"diffusionpde_{pde}") for pde in PDES}
CASES = [(pde, case) for pde, fixture in FIXTURES.items() for case in fixture.cases]


def config(fixture, case):
    last_without = fixture.parameter(case, "last_step_without_pde")
    settings = Config(
        steps=fixture.parameter(case, "num_steps"),
        sigma_min=fixture.parameter(case, "sigma_min"),
        sigma_max=fixture.parameter(case, "sigma_max"),
        rho=fixture.parameter(case, "rho"),
        zeta_obs=weights(fixture, case),
        zeta_pde=fixture.parameter(case, "zeta_pde"),
        pde_normaliser=fixture.config["pde_loss_normaliser"],
        obs_normaliser=fixture.config.get("obs_loss_normaliser", 1),
    )
    assert not DiffusionPDE(settings).late(last_without)
    assert DiffusionPDE(settings).late(last_without + 1)
    return settings


def weights(fixture, case):
    if fixture.parameter(case, "zeta_obs") is not None:
        return fixture.parameter(case, "zeta_obs")
    return fixture.parameter(case, "zeta_obs_a"), fixture.parameter(case, "zeta_obs_u")


@cache
def walked(pde, case):
    """Prior, problem, method and its states, walked once for all tests."""
    fixture = FIXTURES[pde]
    prior, problem = toy_prior(fixture, fixture.parameter(case, "denoiser")), equation_problem(fixture, pde)
    method = DiffusionPDE(config(fixture, case))
    return prior, problem, method, list(method.steps(prior, problem, Replay([fixture["noise"]])))


def holding(key):
    """The cases of all scripts that hold this array."""
    return pytest.mark.parametrize(("pde", "case"), [(p, c) for p, c in CASES if f"{c}/{key}" in FIXTURES[p]])


@pytest.mark.parametrize(("pde", "case"), CASES)
def test_states(pde, case):
    fixture, (_, _, method, states) = FIXTURES[pde], walked(pde, case)
    fixture.assert_close("sigmas", method.config.sigmas())
    for key, mine in {
        "x_steps": torch.stack(states),
        "x_steps_sub": torch.stack(states)[..., ::8, ::8],
        "x_final": states[-1],
        "x_final_norm": states[-1].norm(),
    }.items():
        if f"{case}/{key}" in fixture:
            fixture.assert_close(f"{case}/{key}", mine)


@holding("a_final")
def test_fields(pde, case):
    _, problem, _, states = walked(pde, case)
    fields = problem.pde.two_valued(problem.decode(states[-1]))
    for channel, name in enumerate(("a_final", "u_final")):
        FIXTURES[pde].assert_close(f"{case}/{name}", fields[:, channel : channel + 1])


@holding("loss_norms")
def test_losses(pde, case):
    prior, problem, method, states = walked(pde, case)
    levels = pairwise(method.config.sigmas().tolist())
    estimates = [heun(prior, x, *pair).denoised for x, pair in zip(states, levels, strict=False)]
    rows = [
        torch.cat([method.equation_loss(problem, estimate)[:, None], method.data_loss(problem, estimate)], 1)
        for estimate in estimates
    ]
    FIXTURES[pde].assert_close(f"{case}/loss_norms", torch.cat(rows))


ALONE = {
    "debug_grad_obs_a": {"zeta_obs": (1.0, 0.0), "zeta_pde": 0.0, "late_obs": 1.0},
    "debug_grad_obs_u": {"zeta_obs": (0.0, 1.0), "zeta_pde": 0.0, "late_obs": 1.0},
    "debug_grad_pde": {"zeta_obs": 0.0, "zeta_pde": 1.0, "switch": 0.0},
}


@pytest.mark.parametrize("key", ALONE)
@holding("debug_steps")
def test_gradients(pde, case, key):
    fixture, (prior, problem, method, states) = FIXTURES[pde], walked(pde, case)
    single = DiffusionPDE(replace(method.config, **ALONE[key]))
    gradients = [single.guided(prior, problem, states[i], i)[1] for i in fixture[f"{case}/debug_steps"].tolist()]
    fixture.assert_close(f"{case}/{key}", torch.stack(gradients))


@holding("debug_steps")
def test_predictor(pde, case):
    fixture, (prior, _, method, states) = FIXTURES[pde], walked(pde, case)
    sigmas, steps = method.config.sigmas().tolist(), fixture[f"{case}/debug_steps"].tolist()
    predicted = [euler(states[i], prior(states[i], sigmas[i]), sigmas[i], sigmas[i + 1]) for i in steps]
    fixture.assert_close(f"{case}/debug_euler_predicted_state", torch.stack(predicted))
