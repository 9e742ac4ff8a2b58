"""Laws of schedules and update rules, on Gaussian laws whose exact maps are known."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.noise import KeyedNoise
from jensenbench.diffusion.samplers import AncestralRule, ScaledRule, euler, guide, heun, raise_noise
from jensenbench.diffusion.schedules import EDMGrid, Scaled, VPGrid, power_grid
from jensenbench.errors import UserError
from jensenbench.numerics.autograd import frozen
from jensenbench.priors.gaussian import GaussianPrior

SHAPE = (1, 6, 6)
COUNT = st.integers(2, 60)


def anisotropic():
    """A Gaussian law with widths from 0.1 to 1 along random axes."""
    generator = torch.Generator().manual_seed(0)
    axes, _ = torch.linalg.qr(torch.randn(36, 36, generator=generator, dtype=torch.float64))
    return GaussianPrior(torch.ones(SHAPE, dtype=torch.float64), axes, torch.linspace(0.1, 1, 36, dtype=torch.float64))


def latents(rows=4):
    return KeyedNoise([(row,) for row in range(rows)])


def flow_error(step, steps):
    """Error of an integrator of the probability flow from sigma = 3 to 0.3."""
    prior, z = anisotropic(), latents()(SHAPE)
    x = prior.transport(z, 3.0)
    for sigma, sigma_next in pairwise(torch.linspace(3, 0.3, steps + 1).tolist()):
        x = step(prior, x, sigma, sigma_next)
    return float((x - prior.transport(z, 0.3)).abs().max())


def euler_step(prior, x, sigma, sigma_next):
    return euler(x, prior(x, sigma), sigma, sigma_next)


def heun_step(prior, x, sigma, sigma_next):
    return heun(prior, x, sigma, sigma_next).x


@pytest.mark.parametrize(("step", "order"), [(euler_step, 1), (heun_step, 2)])
def test_order_of_accuracy(step, order):
    coarse, fine = flow_error(step, 100), flow_error(step, 200)
    assert coarse / fine == pytest.approx(2**order, rel=0.1)


def test_heun_ends_in_a_denoised_state():
    prior = anisotropic()
    x = latents()(SHAPE)
    assert torch.allclose(heun(prior, x, 0.5, 0.0).x, prior(x, 0.5))


@given(sigma=st.floats(0.01, 50), gamma=st.floats(0, 0.41))
def test_raised_noise_has_the_variance_it_claims(sigma, gamma):
    xi = torch.ones(1, dtype=torch.float64)
    added, raised = raise_noise(torch.zeros(1, dtype=torch.float64), sigma, gamma, xi)
    assert float(added) ** 2 + sigma**2 == pytest.approx(raised**2)


def walk(rule, prior, rows=200):
    noise = latents(rows)
    x = rule.start * noise(SHAPE)
    for i in rule.order:
        x = rule.step(x, rule.denoise(prior, x, i), i, noise)
    return x


@pytest.mark.parametrize(
    "rule",
    [
        AncestralRule(VPGrid().schedule()),
        AncestralRule(VPGrid(steps=300, levels="edm").schedule()),
        ScaledRule(Scaled.vp(1000), stochastic=True),
        ScaledRule(Scaled.vp(1000), stochastic=False),
        ScaledRule(Scaled.edm(1000), stochastic=False),
        ScaledRule(Scaled.vp(1000, sigma_end=None), stochastic=True, quiet_end=True),
    ],
    ids=["ancestral", "ancestral-edm", "vp-sde", "vp-ode", "edm-ode", "vp-sde-quiet"],
)
def test_sampler_reproduces_an_isotropic_gaussian(rule):
    x = walk(rule, GaussianPrior.isotropic(SHAPE, 0.5))
    assert float(x.std()) == pytest.approx(0.5, rel=0.03)  # 4 standard errors of 7200 entries
    assert abs(float(x.mean())) < 4 * 0.5 / x.numel() ** 0.5


RULES = [AncestralRule(VPGrid(steps=60, levels="edm").schedule()), ScaledRule(Scaled.vp(4000), stochastic=True)]


def moments(draw):
    """Factor of the state and variance of an affine draw ``draw(x, noise)``."""
    one, none = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    return float(draw(one, lambda shape: none)), float(draw(none, lambda shape: one)) ** 2


@pytest.mark.parametrize(("rule", "error"), [(RULES[0], 1e-12), (RULES[1], 1e-4)], ids=["ancestral", "scaled"])
def test_renoising_undoes_a_step_in_law(rule, error):
    """Noised to a level and re-noised by a step is noised to the level before; Euler steps by their order."""
    for done, i in enumerate(rule.order[:-1]):
        factor, variance = moments(lambda x, noise, k=done + 1: rule.noised(x, k, noise))
        back, added = moments(lambda x, noise, i=i: rule.renoise(x, i, noise))
        expected = moments(lambda x, noise, k=done: rule.noised(x, k, noise))
        assert back * factor == pytest.approx(expected[0], rel=error)
        assert back**2 * variance + added == pytest.approx(expected[1], rel=error, abs=error)


@pytest.mark.parametrize("rule", RULES, ids=["ancestral", "scaled"])
def test_noised_states_have_the_levels_that_a_rule_visits(rule):
    assert len(rule.sigmas) == len(rule.order) + 1
    for done, sigma in enumerate(rule.sigmas):
        factor, variance = moments(lambda x, noise, k=done: rule.noised(x, k, noise))
        assert variance**0.5 / factor == pytest.approx(sigma)


@given(steps=st.integers(2, 400), last=st.floats(1e-5, 0.1))
def test_vp_without_a_last_level_takes_equal_steps(steps, last):
    times = Scaled.vp(steps, last=last, sigma_end=None).times
    assert torch.allclose(times.diff(), times.diff()[:1], rtol=1e-9)
    assert float(times[-2]) == pytest.approx(last)


@given(steps=COUNT, low=st.floats(1e-3, 0.1), high=st.floats(1, 200), rho=st.floats(1, 9))
def test_edm_grid_ends(steps, low, high, rho):
    sigmas = EDMGrid(steps=steps, sigma_min=low, sigma_max=high, rho=rho).sigmas()
    assert len(sigmas) == steps + 1
    assert sigmas[0] == pytest.approx(high)
    assert sigmas[-2] == pytest.approx(low)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


@given(steps=COUNT, extra=st.integers(0, 500))
def test_respaced_levels_belong_to_the_schedule(steps, extra):
    length = max(steps + extra, 25)
    full, kept = VPGrid(steps=length, schedule_steps=length), VPGrid(steps=steps, schedule_steps=length)
    bars, some = full.schedule().alphas_bar, kept.schedule().alphas_bar
    assert some[0] == pytest.approx(float(bars[0]))
    assert some[-1] == pytest.approx(float(bars[-1]))
    assert float((some[:, None] - bars[None]).abs().min(1).values.max()) < 1e-12


def test_thousand_linear_levels_are_those_of_ddpm():
    betas = VPGrid().schedule().betas
    assert float(betas[0]) == pytest.approx(1e-4)
    assert float(betas[-1]) == pytest.approx(0.02)


@given(steps=COUNT)
def test_edm_levels_of_the_ancestral_sampler(steps):
    sigmas = VPGrid(steps=steps, levels="edm").schedule().sigmas
    assert torch.allclose(sigmas.flip(0), EDMGrid(steps=steps).sigmas()[:-1], rtol=1e-6)


def test_float32_coefficients_are_close_and_rounded():
    exact, rounded = VPGrid().schedule().coefficients(), VPGrid(float32_coefficients=True).schedule().coefficients()
    for name, values in rounded.items():
        single = torch.tensor(values, dtype=torch.float64)
        assert torch.equal(single, single.float().double())
        assert torch.allclose(single[1:], torch.tensor(exact[name], dtype=torch.float64)[1:], rtol=1e-5)


@pytest.mark.parametrize("schedule", [Scaled.vp(4000), Scaled.edm(4000)], ids=["vp", "edm"])
def test_scaled_schedule_ends_and_slopes(schedule):
    assert float(schedule.sigmas[-1]) == pytest.approx(0.01)
    middle = slice(100, 3900)
    time_steps = schedule.times.diff()[middle]
    numeric = schedule.sigmas.diff()[middle] / time_steps
    mean_slope = (schedule.sigma_slopes[:-1] + schedule.sigma_slopes[1:])[middle] / 2
    assert torch.allclose(numeric, mean_slope, rtol=1e-3)
    shrink = schedule.scales.log().diff()[middle] / time_steps
    assert torch.allclose(shrink, (schedule.log_scale_slopes[:-1] + schedule.log_scale_slopes[1:])[middle] / 2)


def test_vp_scale_keeps_unit_variance():
    schedule = Scaled.vp(50)
    assert torch.allclose(
        schedule.scales.square() * (1 + schedule.sigmas.square()), torch.ones(51, dtype=torch.float64)
    )


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: EDMGrid(steps=0), "steps = 0"),
        (lambda: EDMGrid(steps=1), "steps = 1"),
        (lambda: EDMGrid(steps=2.5), "steps = 2.5"),  # type: ignore[arg-type]
        (lambda: EDMGrid(sigma_min=80, sigma_max=80), "sigma_max = 80"),
        (lambda: EDMGrid(sigma_min=0), "sigma_min = 0"),
        (lambda: EDMGrid(rho=0), "rho = 0"),
        (lambda: VPGrid(steps=0), "steps = 0"),
        (lambda: VPGrid(steps=2000), "steps = 2000"),
        (lambda: VPGrid(steps=15, schedule_steps=15), "beta_last = 20"),
        (lambda: VPGrid(levels="linaer"), "did you mean 'linear'"),
    ],
)
def test_bad_grids_are_refused(make, named):
    with pytest.raises(UserError, match=named):
        make()


@settings(deadline=None)
@given(sigma=st.floats(0.1, 10))
def test_guidance_gradient_agrees_with_differences(sigma):
    prior = anisotropic()
    x, direction = latents()(SHAPE), KeyedNoise([("d", row) for row in range(4)])(SHAPE)

    def loss(state):
        return (prior(state, sigma).square().flatten(1).sum(1),)

    (gradient,) = guide(prior, x, loss)
    numeric = (loss(x + 1e-6 * direction)[0] - loss(x - 1e-6 * direction)[0]) / 2e-6
    assert torch.allclose((gradient * direction).flatten(1).sum(1), numeric, rtol=1e-5)
    assert not gradient.requires_grad


def test_parameters_are_frozen_only_inside():
    module = torch.nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), frozen(module):
        assert not any(p.requires_grad for p in module.parameters())
        raise ZeroDivisionError
    assert module.weight.requires_grad
    assert not module.bias.requires_grad


def test_power_grid_is_even_in_the_root():
    roots = power_grid(80, 0.002, 10, 7) ** (1 / 7)
    assert torch.allclose(roots.diff(), roots.diff()[:1].expand(9))
