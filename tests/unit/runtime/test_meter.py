"""Costs are counted from outside, derivatives included."""

import pytest
import torch

from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.problem import Problem
from jensenbench.errors import BudgetExceeded, Diverged
from jensenbench.plugins.registry import make_pde
from jensenbench.runtime.meter import Meter, MeteredDenoiser, MeteredProblem


class Shrink(Denoiser):
    shape, sigma_min, sigma_max, sigma_data = (1, 4), 0.002, 80.0, 0.5

    def denoise(self, x, sigma):
        return x * 0.25 / (0.25 + sigma[:, None, None] ** 2)


def metered(batch, **settings):
    meter = Meter(**settings)
    meter.begin(batch)
    return MeteredDenoiser(Shrink(), meter), meter


def test_evaluations_and_backward_sweeps_are_counted_per_state():
    prior, meter = metered(3)
    x = torch.randn(3, 1, 4, requires_grad=True)
    first = prior(x, 1.0)
    second = prior(first, 0.5)
    torch.autograd.grad(second.square().sum(), x, retain_graph=True)
    torch.autograd.grad(first.sum(), x)
    assert meter.per_state() == {"nfe": 2, "vjp": 3, "jvp": 0, "residual_calls": 0}


def test_forward_derivatives_are_counted():
    prior, meter = metered(2)
    x = torch.randn(2, 1, 4)
    torch.func.jvp(lambda state: prior(state, 1.0), (x,), (x,))
    assert meter.per_state()["jvp"] == 1


def test_rows_of_a_line_search_count_as_fractions():
    prior, meter = metered(4)
    prior(torch.randn(1, 1, 4), 1.0)
    assert meter.per_state()["nfe"] == 0.25


def test_residuals_of_a_part_of_the_batch_are_counted():
    pde, meter = make_pde("poisson", {"n": 6}), Meter()
    meter.begin(4)
    problem = MeteredProblem(Problem(pde, "free", Codec(pde, shift=[0, 0], scale=[1, 1])), meter)
    problem.subset([2]).residual(torch.zeros(1, *pde.shape))
    assert meter.per_state()["residual_calls"] == 0.25


def test_the_budget_holds_for_each_batch():
    prior, meter = metered(2, budget=2)
    for _ in range(2):
        prior(torch.zeros(2, 1, 4), 1.0)
    with pytest.raises(BudgetExceeded, match="budget of 2"):
        prior(torch.zeros(2, 1, 4), 1.0)
    meter.begin(2)
    prior(torch.zeros(2, 1, 4), 1.0)


def test_a_state_that_is_not_finite_stops_with_its_noise_level():
    prior, _ = metered(1)
    with pytest.raises(Diverged, match=r"sigma = 0\.7"):
        prior(torch.full((1, 1, 4), torch.nan), 0.7)


def test_probes_hold_what_the_network_saw():
    prior, meter = metered(2, record=True)
    x = torch.randn(2, 1, 4)
    result = prior(x, 3.0)
    ((sigma, seen, answer),) = meter.probes
    assert sigma.tolist() == [3.0, 3.0]
    assert torch.equal(seen, x)
    assert torch.equal(answer, result)


def test_probes_of_a_flow_are_those_of_its_denoiser():
    prior, meter = metered(3, record=True)
    x, t = torch.randn(3, 1, 4), torch.tensor([0.0, 0.2, 0.9])
    prior.velocity(x, t)
    ((sigma, seen, answer),) = meter.probes
    assert torch.allclose(sigma, torch.tensor([4.0, 1 / 9]))
    assert torch.allclose(answer, Shrink()(seen, sigma), atol=1e-6)


def test_probes_of_a_score_are_those_of_its_denoiser():
    """Variance-preserving and exploding processes: m and variance a row."""
    prior, meter = metered(3, record=True)
    x = torch.randn(3, 1, 4, dtype=torch.float64)
    factor, variance = torch.tensor([0.1, 0.8, 1.0]).double(), torch.tensor([0.99, 0.36, 4.0]).double()
    prior.score(x, factor, variance)
    ((sigma, seen, answer),) = meter.probes
    assert torch.allclose(sigma, torch.tensor([99**0.5, 0.75, 2.0]).double())
    assert torch.allclose(seen * factor[:, None, None], x)
    assert torch.allclose(answer, Shrink()(seen, sigma))
    assert meter.per_state()["nfe"] == 1


def test_a_score_that_is_not_finite_stops_with_its_variance():
    prior, _ = metered(1)
    with pytest.raises(Diverged, match=r"variance = 0\.7"):
        prior.score(torch.full((1, 1, 4), torch.nan), 1.0, 0.7)


def test_a_flow_that_is_not_finite_stops_with_its_time():
    prior, _ = metered(1)
    with pytest.raises(Diverged, match=r"t = 0\.7"):
        prior.velocity(torch.full((1, 1, 4), torch.nan), 0.7)


def test_a_prior_answers_every_noise_level():
    prior, x = Shrink(), torch.randn(2, 1, 4, dtype=torch.float64)
    assert torch.equal(prior(x, 0.0), prior(x, 0.002))
    assert torch.allclose(prior(x, 800.0), prior(x / 10, 80.0))
    assert torch.equal(prior(x, torch.inf), torch.zeros_like(x))
    with pytest.raises(ValueError, match="shape"):
        prior(torch.zeros(2, 1, 5), 1.0)
