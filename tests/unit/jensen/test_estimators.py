"""Identities of the Jensen gap, and agreement of its estimators within their standard errors where they overlap."""

from functools import cache

import pytest
import torch

from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UserError
from jensenbench.jensen.estimate import mean_and_error, require_level, split_in_halves, summary
from jensenbench.jensen.estimators.analytic import analytic_gap
from jensenbench.jensen.estimators.empirical import empirical_gap
from jensenbench.jensen.estimators.monte_carlo import monte_carlo_gap, posterior_draws
from jensenbench.jensen.estimators.tweedie import tweedie_gap, wide_directions
from jensenbench.jensen.residual import InteriorResidual
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.empirical import EmpiricalPrior
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.mixture import MixturePrior
from pdes._stencils import divergence_of_flux, face_values, periodic_first

KEYS = [("test", i) for i in range(48)]


class Case:
    """Training states of a PDE, its residual in prior coordinates, and noisy states of other states."""

    def __init__(self, name: str, power: int = 0, count: int = 60, **settings: object):
        self.pde = make_pde(name, settings)
        states = self.pde.generate(range(count), seed=0)
        self.codec = Codec.fit(self.pde, states, power=power)
        self.states = self.codec.encode(states)
        self.residual = InteriorResidual(self.pde, self.codec, term_scale(self.pde, states), self.states[:8])
        self.clean = self.codec.encode(self.pde.generate(range(1000, 1000 + len(KEYS)), seed=0))

    def noisy(self, sigma: float) -> torch.Tensor:
        return self.clean + sigma * KeyedNoise(KEYS)(self.pde.shape)


@cache
def case_of(name: str, **settings: object) -> Case:
    return Case(name, **settings)


@cache
def toy() -> tuple[Case, MixturePrior]:
    case = Case("mixture", count=2000)
    case.codec = Codec(case.pde, shift=[0.1, -0.2], scale=[1.5, 1.5])
    case.states, case.clean = (
        case.codec.encode(case.pde.generate(range(start, start + count), seed=0))
        for start, count in ((0, 4000), (5000, len(KEYS)))
    )
    case.residual = InteriorResidual(case.pde, case.codec, 1.0, case.states[:8])
    return case, MixturePrior.of_pde(case.pde, case.codec)


def agrees(first: torch.Tensor, second: torch.Tensor, slack: float = 0.0) -> bool:
    """Whether paired estimates have the same mean within four standard errors of their difference."""
    mean, error = mean_and_error(first - second)
    return abs(mean) <= 4 * error + slack * float(second.abs().mean())


@pytest.mark.parametrize(
    ("name", "settings", "degree"),
    [
        ("poisson", {"n": 8}, 1),
        ("helmholtz", {"n": 8}, 1),
        ("heat", {"n": 8}, 1),
        ("darcy", {"n": 8}, 2),
        ("burgers", {"n": 8}, 2),
        pytest.param("navier_stokes", {"n": 8, "snapshots": 3}, 2, marks=pytest.mark.slow),
        ("circle", {"n": 1}, 2),
        ("darcy", {"n": 8, "faces": "harmonic"}, None),
    ],
)
def test_the_degree_of_a_residual_is_found(name, settings, degree):
    assert case_of(name, count=8, **settings).residual.degree == degree


def test_an_affine_residual_has_no_gap_by_any_estimator():
    case = case_of("poisson", n=8, power=1)
    prior, law, x = GaussianPrior.of_pde(case.pde, case.codec), EmpiricalPrior(case.states), case.noisy(1.0)
    found = [
        analytic_gap(case.residual, prior, x, 1.0),
        empirical_gap(case.residual, law, x, 1.0),
        monte_carlo_gap(case.residual, prior, x, 1.0, KEYS, draws=4, steps=8),
        tweedie_gap(case.residual, prior, x, 1.0, KeyedNoise(KEYS), probes=4),
    ]
    for values in found:
        assert float(values.gap.abs().max()) < 1e-20
        assert float(values.loss_gap.abs().max()) < 1e-9


def test_loss_gap_of_a_gaussian_that_violates_the_equation_is_a_trace():
    """G2 = tr(A Σ Aᵀ) with the dense Jacobian A, by the three estimators that know a Gaussian."""
    case, std, sigma = case_of("poisson", n=8), 0.7, 0.9
    prior, x = GaussianPrior.isotropic(case.pde.shape, std), case.noisy(sigma)
    jacobian = torch.autograd.functional.jacobian(lambda s: case.residual(s[None])[0], case.clean[0])
    trace = jacobian.square().sum() * (std * sigma) ** 2 / (std**2 + sigma**2) / len(jacobian)
    exact = analytic_gap(case.residual, prior, x, sigma).loss_gap
    assert torch.allclose(exact, trace.expand_as(exact), rtol=1e-10)
    assert agrees(tweedie_gap(case.residual, prior, x, sigma, KeyedNoise(KEYS), probes=16).loss_gap, exact)
    drawn = monte_carlo_gap(case.residual, prior, x, sigma, KEYS, draws=8, steps=40)
    assert agrees(drawn.loss_gap, exact, slack=0.06)


def discrete_product(case: Case, states: torch.Tensor) -> torch.Tensor:
    """Q(δ, δ) of deviations in prior coordinates, from the stencils: -∇·(δa ∇δu), or ∂ₓ δu²/2 at mid times."""
    spread = torch.tensor(case.codec.scale, dtype=torch.float64).reshape(-1, 1, 1)
    fields = states * spread
    if case.pde.name == "darcy":
        return -divergence_of_flux(face_values(fields[:, 0], "arithmetic"), fields[:, 1], case.pde.grid.spacings)
    middle = (fields[:, 0, 1:] + fields[:, 0, :-1]) / 2
    return periodic_first(middle.square() / 2, case.pde.grid.spacings[1])


@pytest.mark.parametrize("name", ["darcy", "burgers"])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_the_gap_is_the_mean_of_the_quadratic_part(name, sigma):
    """E[R] - R(E) = E[Q(δ, δ)] on empirical posteriors, to rounding."""
    case = case_of(name, n=8)
    law, x = EmpiricalPrior(case.states), case.noisy(sigma)
    weights = law.weights(x, sigma)
    mean = law.average(weights, lambda states: states)
    gap = law.average(weights, case.residual) - case.residual(mean)
    deviations = law.states.double() - mean[:, None]
    products = discrete_product(case, deviations.flatten(0, 1)).flatten(1).unflatten(0, weights.shape)
    expected = torch.einsum("bn,bnm->bm", weights, products) / case.residual.unit
    assert float((gap - expected).abs().max()) < 1e-10 * (1 + float(gap.abs().max()))
    found = empirical_gap(case.residual, law, x, sigma)
    assert torch.allclose(found.gap, expected.square().mean(1), rtol=1e-8, atol=1e-18)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 3.0])
def test_all_estimators_agree_on_a_mixture(sigma):
    case, prior = toy()
    x = case.noisy(sigma)
    exact = analytic_gap(case.residual, prior, x, sigma)
    drawn = monte_carlo_gap(case.residual, prior, x, sigma, KEYS, draws=32, steps=60)
    probed = tweedie_gap(case.residual, prior, x, sigma, KeyedNoise(KEYS), probes=64)
    counted = empirical_gap(case.residual, EmpiricalPrior(case.states), x, sigma)
    assert float(exact.gap.mean()) > 1e-6
    for name in ("gap", "loss_gap", "posterior"):
        value = getattr(exact, name)
        assert agrees(getattr(drawn, name), value, slack=0.06), name
        assert agrees(getattr(counted, name), value, slack=0.1), name
    assert agrees(probed.gap, exact.gap)


@pytest.mark.parametrize(("name", "sigma"), [("darcy", 1.0), ("burgers", 1.0), ("darcy", 4.0)])
def test_draws_and_derivatives_reproduce_the_empirical_posterior(name, sigma):
    case = case_of(name, n=8)
    law, x = EmpiricalPrior(case.states), case.noisy(sigma)
    exact = empirical_gap(case.residual, law, x, sigma)
    drawn = monte_carlo_gap(case.residual, law, x, sigma, KEYS, draws=8, steps=40)
    probed = tweedie_gap(case.residual, law, x, sigma, KeyedNoise(KEYS), probes=8)
    assert agrees(drawn.gap, exact.gap, slack=0.03)
    assert agrees(drawn.denoised, exact.denoised, slack=0.03)
    assert agrees(probed.gap, exact.gap)
    assert agrees(probed.network, torch.zeros_like(x[:, 0, 0, 0]))


@pytest.mark.parametrize("name", ["darcy", "burgers"])
def test_derivatives_along_all_directions_leave_no_noise(name):
    """Cov(x0|x_t) = sigma² ∂D/∂x: summed over a whole basis, the gap of the empirical posterior to rounding."""
    case, sigma = case_of(name, n=8), 1.0
    law, x = EmpiricalPrior(case.states), case.noisy(sigma)[:3]
    basis = torch.eye(x[0].numel(), dtype=x.dtype).reshape(-1, *x.shape[1:])
    found = tweedie_gap(case.residual, law, x, sigma, KeyedNoise(KEYS[:3]), probes=4, directions=basis)
    assert torch.allclose(found.gap, empirical_gap(case.residual, law, x, sigma).gap, rtol=1e-7)


def test_wide_directions_lower_the_error_not_the_mean():
    case, sigma = case_of("darcy", n=8, power=1), 20.0
    law, x = EmpiricalPrior(case.states), case.noisy(sigma)
    exact, wide = empirical_gap(case.residual, law, x, sigma).gap, wide_directions(case.states, 20)
    assert torch.allclose(wide.flatten(1) @ wide.flatten(1).T, torch.eye(20, dtype=x.dtype), atol=1e-10)
    plain, deflated = (
        tweedie_gap(case.residual, law, x, sigma, KeyedNoise(KEYS), probes=4, directions=directions).gap
        for directions in (None, wide)
    )
    assert agrees(deflated, exact)
    assert mean_and_error(deflated - exact)[1] < 0.5 * mean_and_error(plain - exact)[1]


def test_fourth_moments_of_a_gaussian_by_pairs_are_those_of_draws():
    case, std, sigma = case_of("darcy", n=4), 0.3, 1.0
    prior, x = GaussianPrior.isotropic(case.pde.shape, std), case.noisy(sigma)[:6]
    exact = analytic_gap(case.residual, prior, x, sigma)
    width = std * sigma / (std**2 + sigma**2) ** 0.5
    draws = prior(x, sigma)[:, None] + width * KeyedNoise(KEYS[:6])((4000, *case.pde.shape))
    values = case.residual(draws.flatten(0, 1)).unflatten(0, draws.shape[:2]).square().mean(2)
    error = values.std(1) / values.shape[1] ** 0.5
    assert ((values.mean(1) - exact.posterior).abs() <= 4 * error).all()


def test_halves_remove_the_bias_of_few_draws():
    """Four draws: the plug-in |mean(R) - R(mean)|² is too large by its own variance, the product of halves is not."""
    case, sigma = case_of("darcy", n=8), 4.0
    law, x = EmpiricalPrior(case.states), case.noisy(4.0)
    exact = empirical_gap(case.residual, law, x, sigma).gap
    draws = posterior_draws(law, x, sigma, KEYS, draws=4, steps=40)
    values = case.residual(draws.flatten(0, 1)).unflatten(0, draws.shape[:2])
    naive = ((values.mean(1) - case.residual(draws.mean(1))) * 4 / 3).square().mean(1)
    assert float(naive.mean()) > 1.2 * float(exact.mean())
    assert not agrees(naive, exact)
    assert agrees(monte_carlo_gap(case.residual, law, x, sigma, KEYS, draws=4, steps=40).gap, exact, slack=0.05)


def test_a_state_does_not_depend_on_its_neighbours():
    case, prior = toy()
    x = case.noisy(0.5)
    together = monte_carlo_gap(case.residual, prior, x, 0.5, KEYS, draws=4, steps=10).gap
    alone = monte_carlo_gap(case.residual, prior, x[5:6], 0.5, KEYS[5:6], draws=4, steps=10).gap
    assert torch.allclose(together[5:6], alone, rtol=1e-9)


def test_a_collapsed_posterior_is_marked_unusable():
    case = case_of("darcy", n=8)
    law = EmpiricalPrior(case.states)
    assert not summary(empirical_gap(case.residual, law, case.noisy(0.05), 0.05))["usable"]
    assert summary(empirical_gap(case.residual, law, case.noisy(50.0), 50.0))["usable"]


def test_what_cannot_be_estimated_is_refused_with_its_value():
    harmonic = case_of("darcy", count=8, n=8, faces="harmonic")
    prior = GaussianPrior.isotropic(harmonic.pde.shape, 1.0)
    for estimate in (
        lambda: tweedie_gap(harmonic.residual, prior, harmonic.clean, 1.0, KeyedNoise(KEYS), probes=4),
        lambda: analytic_gap(harmonic.residual, prior, harmonic.clean, 1.0),
    ):
        with pytest.raises(UserError, match="no constant Hessian"):
            estimate()
    with pytest.raises(UserError, match="3 draws"):
        split_in_halves(torch.zeros(2, 3, 1))
    with pytest.raises(UserError, match="sigma = 100"):
        require_level(100.0, 0.002, 80.0)
    with pytest.raises(UserError, match="three states"):
        InteriorResidual(harmonic.pde, harmonic.codec, 1.0, harmonic.states[:2])
    with pytest.raises(UserError, match="no posterior in closed form"):
        analytic_gap(case_of("darcy", n=8).residual, EmpiricalPrior(harmonic.states), harmonic.clean, 1.0)
