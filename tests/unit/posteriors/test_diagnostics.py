"""R-hat and effective sample sizes on chains whose answers are known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.errors import UserError
from jensenbench.posteriors.diagnostics import autocovariance, diagnose, effective_size, potential_scale, split


def autoregressive(rho: float, *, chains: int = 8, draws: int = 4000, seed: int = 0) -> torch.Tensor:
    """Stationary chains x' = rho x + sqrt(1 - rho²) noise of unit variance, (chains, draws, 1)."""
    noise = torch.randn(draws, chains, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = noise.clone()
    for t in range(1, draws):
        x[t] = rho * x[t - 1] + (1 - rho**2) ** 0.5 * noise[t]
    return x.T[..., None].contiguous()


@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.5, 0.9])
def test_the_size_of_an_autoregressive_chain_is_known(rho):
    chains = autoregressive(rho)
    expected = chains.numel() * (1 - rho) / (1 + rho)
    assert float(effective_size(chains)) == pytest.approx(expected, rel=0.1)
    found = diagnose(chains)
    assert float(found.bulk) == pytest.approx(expected, rel=0.12)
    assert float(found.rhat) < 1.01


def test_the_autocorrelation_of_an_autoregressive_chain_is_a_power():
    covariance = autocovariance(autoregressive(0.5)).mean(0)[:, 0]
    assert torch.allclose(covariance[:5], 0.5 ** torch.arange(5.0, dtype=torch.float64), atol=0.03)


def test_a_chain_elsewhere_raises_rhat_and_takes_the_size():
    chains = autoregressive(0.0, draws=500)
    chains[0] += 3
    assert float(diagnose(chains).rhat) > 1.1
    assert float(diagnose(chains).ess) < 50


def test_a_chain_of_another_width_raises_the_folded_rhat_alone():
    chains = autoregressive(0.0, draws=500)
    chains[0] *= 5
    assert float(potential_scale(split(chains))) < 1.01
    assert float(diagnose(chains).rhat) > 1.05


def test_a_drift_within_chains_raises_rhat():
    chains = autoregressive(0.0, draws=500) + torch.linspace(-2, 2, 500, dtype=torch.float64)[:, None]
    assert float(diagnose(chains).rhat) > 1.1


def test_rhat_against_its_definition():
    """Two chains of two draws each, by hand: within 1/2, between 2, R² = 1/2 + 2/(1/2)."""
    chains = torch.tensor([[0.0, 1.0], [2.0, 3.0]], dtype=torch.float64)[..., None]
    assert float(potential_scale(chains)) == pytest.approx((0.5 + 2 / 0.5) ** 0.5)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_bulk_diagnostics_do_not_depend_on_units(scale, shift):
    chains = autoregressive(0.5, draws=64)
    here, there = diagnose(chains), diagnose(chains * scale + shift)
    assert float(here.bulk) == pytest.approx(float(there.bulk), rel=1e-6)
    assert float(here.rhat) == pytest.approx(float(there.rhat), rel=1e-6)


def test_many_functionals_are_each_on_their_own():
    first, second = autoregressive(0.0, draws=200), autoregressive(0.9, draws=200, seed=1)
    both = diagnose(torch.cat([first, second], 2))
    for i, alone in enumerate((diagnose(first), diagnose(second))):
        assert float(both.rhat[i]) == pytest.approx(float(alone.rhat))
        assert float(both.ess[i]) == pytest.approx(float(alone.ess))


def test_a_functional_without_spread_is_settled():
    chains = torch.ones(4, 100, 1, dtype=torch.float64)
    found = diagnose(chains)
    assert float(found.rhat) == 1
    assert float(found.ess) == 400


def test_chains_that_stand_still_apart_are_not():
    chains = torch.arange(4.0, dtype=torch.float64)[:, None, None].expand(4, 100, 1)
    assert float(diagnose(chains).rhat) == float("inf")


@pytest.mark.parametrize(
    ("traces", "complaint"),
    [
        (torch.zeros(1, 100, 1), "chains >= 2"),
        (torch.zeros(4, 3, 1), "draws >= 8"),
        (torch.full((4, 100, 1), torch.nan), "NaN"),
    ],
)
def test_bad_traces_are_refused(traces, complaint):
    with pytest.raises(UserError, match=complaint):
        diagnose(traces)
