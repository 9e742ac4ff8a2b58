"""PIDM's schedule, objective, sampler and corrections against recordings of its public code."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.noise import Replay
from jensenbench.core.problem import Problem
from jensenbench.numerics.tensors import per_row
from jensenbench.plugins.registry import make_pde
from methods.pidm import PIDM, PUBLISHED, Config, Objective, residual_parts
from tests.support.golden import Fixture, toy_prior

LOSS, SAMPLER, CORRECTION = Fixture("pidm_loss"), Fixture("pidm_sampler"), Fixture("pidm_correction")
ESTIMATES = {"mean": "mean", "sample (use_ddim_x0, ddim_steps=0)": "sample_published"}


class Model(Denoiser):
    """The recorded network theta_0 D + theta_1, for states (K, p) where recordings have (p, K); remembers its calls."""

    def __init__(self, prior: Denoiser, theta: tuple[float, ...] | Tensor = (1.0, 0.0)):
        self.prior, self.calls = prior, []
        self.theta = nn.Parameter(torch.as_tensor(theta, dtype=torch.float64))
        self.shape, self.sigma_data = prior.shape, prior.sigma_data
        self.sigma_min, self.sigma_max = prior.sigma_min, prior.sigma_max

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls.append(x / per_row((1 + sigma.square()).sqrt(), x))
        return self.theta[0] * self.prior(x.flip(1), sigma).flip(1) + self.theta[1]


def problem_of(n: int) -> Problem:
    """Raw fields are the model's coordinates, as in the published data."""
    pde = make_pde("darcy_corner", {"n": n})
    return Problem(pde, "unconditional", Codec(pde, shift=[0.0, 0.0], scale=[1.0, 1.0]))


def channels(problem: Problem, x: Tensor) -> Tensor:
    """Residual (b, n², 3)."""
    return torch.stack(residual_parts(problem, x, PUBLISHED), -1).flatten(1, 2)


def test_schedule():
    settings = replace(PUBLISHED, levels=LOSS.config["T"])
    schedule, objective = settings.schedule(), Objective(settings, problem_of(LOSS.config["grid"]))
    at = schedule.coefficients()
    LOSS.assert_close("schedule/betas", schedule.betas)
    LOSS.assert_close("schedule/alphas_prod", schedule.alphas_bar)
    LOSS.assert_close("schedule/posterior_mean_coef1", torch.tensor(at["mean_x0"], dtype=torch.float64))
    LOSS.assert_close("schedule/posterior_mean_coef2", torch.tensor(at["mean_x"], dtype=torch.float64))
    LOSS.assert_close("schedule/posterior_variance_clipped", objective.variance)
    LOSS.assert_close("schedule/p2_loss_weight", objective.weights)


@pytest.mark.parametrize("case", [case for case in LOSS.cases if case != "schedule"])
def test_objective(case):
    settings = replace(
        PUBLISHED,
        levels=LOSS.parameter(case, "T"),
        c_data=LOSS.parameter(case, "c_data"),
        c_residual=LOSS.parameter(case, "c_residual"),
        estimate=ESTIMATES[LOSS.parameter(case, "estimate")],
    )
    model = Model(toy_prior(LOSS, LOSS.parameter(case, "denoiser")), LOSS[f"{case}/theta"])
    objective = Objective(settings, problem_of(LOSS.config["grid"]))
    loss, parts = objective(model, LOSS["x0"].flip(1), LOSS[f"{case}/t"], LOSS[f"{case}/noise"].flip(1))
    LOSS.assert_close(f"{case}/loss", loss)
    LOSS.assert_close(f"{case}/data_loss", parts["data_loss"])
    LOSS.assert_close(f"{case}/mean_abs_residual", parts["mean_abs_residual"])
    LOSS.assert_close(f"{case}/grad_theta", *torch.autograd.grad(loss, model.theta))
    if f"{case}/second_call_input" in LOSS:
        LOSS.assert_close(f"{case}/second_call_input", model.calls[1].flip(1))


@pytest.mark.parametrize("case", SAMPLER.cases)
def test_sampler(case):
    recorded = SAMPLER.cases[case]
    config = Config(
        fit=replace(PUBLISHED, levels=recorded["T"]),
        correction=recorded.get("correction_mode", "xt"),
        late=recorded.get("N_correction", 0),
        extra=recorded.get("M_correction", 0),
    )
    model, problem = Model(toy_prior(SAMPLER, recorded["denoiser"])), problem_of(SAMPLER.config["shape"][-1])
    draws = Replay([draw.flip(1) for draw in (SAMPLER[f"{case}/noise_init"], *SAMPLER[f"{case}/noise"])])
    states = list(PIDM(config).steps(model, problem, draws))
    stored = [states[i].flip(1) for i in SAMPLER[f"{case}/step_index"].tolist()]
    SAMPLER.assert_close(f"{case}/x_steps", torch.stack(stored))
    SAMPLER.assert_close(f"{case}/x_final", states[-1].flip(1))
    SAMPLER.assert_close(f"{case}/residual_final", channels(problem, states[-1]))


def test_correction():
    problem, x = problem_of(CORRECTION.config["grid"]), CORRECTION["x0"].flip(1)
    correct = PIDM(Config(fit=PUBLISHED, length=CORRECTION.config["eps_over_jmax"])).correction(problem)
    after = {0: x}
    for iteration in range(int(CORRECTION["iteration"].max())):
        after[iteration + 1] = correct(after[iteration])
    stored = [after[i] for i in CORRECTION["iteration"].tolist()]
    CORRECTION.assert_close("x_after", torch.stack(stored).flip(2))
    CORRECTION.assert_close("residual_after", torch.stack([channels(problem, x) for x in stored]))
