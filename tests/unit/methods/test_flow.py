"""Closed forms and invariants of the methods that follow the prior's flow."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.codec import Codec
from jensenbench.core.constraints import Conserved
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.diffusion.samplers import FLOW_STEPS, extrapolate, interpolate
from jensenbench.diffusion.schedules import FlowGrid
from jensenbench.errors import UnknownName, UserError
from jensenbench.plugins.registry import load_method, make_pde
from jensenbench.priors.backbones.build import UNetSettings, build_backbone
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.network import NetworkPrior
from methods.dflow import norm_penalty

PDE = make_pde("poisson", {"n": 6})
STATES = PDE.generate(range(60), seed=0)
CODEC = Codec.fit(PDE, STATES, power=1)
PRIOR = GaussianPrior.of_pde(PDE, CODEC)
SCALE = STATES.transpose(0, 1).flatten(1).std(1)
ECI, DFLOW = load_method("eci"), load_method("dflow")
SEED = st.integers(0, 10**6)


def latents(rows=3, seed=0):
    return KeyedNoise([(seed, row) for row in range(rows)])


def problem(share=0.4, *, rows=3, noise_std=0.0, seed=0, constraints=()):
    mask = torch.rand(rows, *PDE.shape, generator=torch.Generator().manual_seed(seed)) < share
    data = MaskObservation(mask, STATES[:rows] * mask, noise_std)
    return Problem(PDE, "test", CODEC, observation=data, constraints=constraints, scale=SCALE)


def short(method, variant, **overrides):
    overrides = {"steps": 8, **overrides}
    return method(dataclasses.replace(method.variants[variant], **overrides))


@pytest.mark.parametrize("times", ["uniform", "edm"])
def test_times_run_from_noise_to_states(times):
    grid = FlowGrid(steps=7, times=times).grid()
    assert grid[0] == 0
    assert grid[-1] == 1
    assert (grid.diff() > 0).all()
    assert len(grid) == 8


def test_unknown_times_are_refused():
    with pytest.raises(UnknownName, match="did you mean 'uniform'"):
        FlowGrid(times="unifrom")


@given(t=st.floats(0, 0.99))
def test_straight_paths_lead_to_both_ends(t):
    eps, x1 = latents()(PDE.shape), latents(seed=1)(PDE.shape)
    x, velocity = interpolate(eps, x1, t), x1 - eps
    assert torch.allclose(extrapolate(x, velocity, t), x1)
    assert torch.allclose(extrapolate(x, velocity, t, end=0.0), eps)


@pytest.mark.parametrize("variant", ECI.variants)
def test_eci_with_a_full_mask_returns_it(variant):
    task = problem(share=1.1)
    sample = short(ECI, variant).sample(PRIOR, task, latents())
    assert torch.allclose(task.decode(sample), STATES[:3], rtol=0, atol=1e-11)


@pytest.mark.parametrize("variant", ECI.variants)
@settings(deadline=None, max_examples=3)
@given(seed=SEED, share=st.floats(0.05, 0.9))
def test_constraints_of_eci_hold_to_rounding(variant, seed, share):
    task = problem(share, seed=seed)
    sample = short(ECI, variant).sample(PRIOR, task, latents(seed=seed))
    assert task.violation(sample).abs().max() < 1e-11


def test_joint_projection_lets_eci_meet_laws_that_cross():
    weights = torch.full((), 1 / 36, dtype=torch.float64)
    mass = Conserved("mass", weights, (STATES[:3] / 36).sum((2, 3)), kept=None)
    task = problem(0.3, constraints=(mass,))
    crossed, met = (short(ECI, name).sample(PRIOR, task, latents()) for name in ("published", "corrected"))
    assert task.violation(met).abs().max() < 1e-11
    assert task.violation(crossed).abs().max() > 1e-4


def test_eci_without_constraints_and_with_the_noise_of_the_flow_is_the_flow():
    free = Problem(PDE, "free", CODEC)
    sample = ECI(dataclasses.replace(ECI.variants["corrected"], steps=300, mixing=1)).sample(PRIOR, free, latents())
    assert torch.allclose(sample, PRIOR.transport(latents()(PDE.shape), 0.0), atol=0.03)


def test_eci_draws_noise_as_often_as_it_says():
    class Counting:
        calls = 0

        def __call__(self, shape):
            self.calls += 1
            return latents(seed=self.calls)(shape)

    for overrides, draws in (({"resample": None}, 1), ({"resample": 3}, 1 + 8), ({"resample": 1}, 1 + 24)):
        noise = Counting()
        short(ECI, "published", mixing=3, **overrides).sample(PRIOR, problem(), noise)
        assert noise.calls == draws


def test_noisy_data_are_no_constraint_for_eci():
    assert ECI().skip(problem(noise_std=0.1)) == "noisy data are no hard constraint"
    assert ECI().skip(problem()) is None


def test_settings_of_eci_out_of_range_are_refused():
    for name, value in (("mixing", 0), ("resample", 0), ("source", "drawm"), ("projection", "both"), ("steps", 1)):
        with pytest.raises(UserError, match=str(value)):
            ECI.Config(**{name: value})


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_solvers_of_the_flow_have_their_order(solver, order):
    prior = GaussianPrior.isotropic(PDE.shape, 0.5)
    z = latents()(PDE.shape)
    errors = []
    for steps in (32, 64):
        state = DFLOW(DFLOW.Config(steps=steps, solver=solver)).flow(prior, z)
        errors.append(float((state - prior.transport(z, 0.0)).norm()))
    assert errors[0] / errors[1] > 0.95 * 2**order


@pytest.mark.parametrize("solver", FLOW_STEPS)
def test_every_solver_ends_on_the_support_of_the_prior(solver):
    state = DFLOW(DFLOW.Config(steps=4, solver=solver)).flow(PRIOR, latents()(PDE.shape))
    assert torch.allclose(PRIOR(state, 0.0), state, atol=1e-12)


@pytest.mark.parametrize("blend", [0.0, 0.7])
def test_dflow_reaches_the_noise_nearest_to_its_start_that_meets_the_data(blend):
    """z0 + A⁺(y - A z0): under a Gaussian prior the flow's end is affine in its start."""
    task, rows = problem(0.15), 3
    method = short(DFLOW, "corrected", steps=4, iterations=400, blend=blend, within_noise=False)
    start = method.start(PRIOR, task, latents()(PDE.shape))
    *_, (end, _) = method.iterates(PRIOR, task, latents()(PDE.shape))
    unit = SCALE.reshape(1, 2, 1, 1)
    misfit = lambda z: (task.misfit(method.flow(PRIOR, z)) / unit).flatten(1)  # noqa: E731
    at_zero = misfit(torch.zeros_like(start))
    basis = torch.eye(72, dtype=torch.float64).reshape(72, *PDE.shape)
    for row in range(rows):
        part = task.subset([row] * 72)
        matrix = (part.misfit(method.flow(PRIOR, basis)) / unit).flatten(1).T - at_zero[row][:, None]
        nearest = start[row].flatten() - torch.linalg.pinv(matrix, rtol=1e-10) @ misfit(start)[row]
        assert torch.allclose(end[row].flatten(), nearest, atol=2e-3)
    assert misfit(end).abs().max() < 1e-4


def test_blended_start_leads_near_the_data():
    task, method = problem(0.3), DFLOW(DFLOW.Config(steps=300, times="edm", blend=1.0))
    start = method.start(PRIOR, task, latents()(PDE.shape))
    misfits = [float(task.misfit(method.flow(PRIOR, z)).norm()) for z in (start, latents()(PDE.shape))]
    assert misfits[0] < 0.5 * misfits[1]
    assert torch.equal(method.start(PRIOR, Problem(PDE, "free", CODEC), start), start)


@pytest.mark.parametrize("solver", FLOW_STEPS)
def test_checkpoints_keep_the_gradient_and_save_memory(solver):
    torch.manual_seed(0)
    backbone = build_backbone("unet", 2, (6, 6), UNetSettings(width=8))
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    prior = NetworkPrior(backbone, PDE.shape)
    gradients, kept = [], []
    for checkpoint in (False, True):
        method = DFLOW(DFLOW.Config(steps=4, solver=solver, checkpoint=checkpoint))
        z = latents()(PDE.shape).requires_grad_()
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t.numel()) or t, lambda t: t):
            loss = method.loss(problem(), z, method.flow(prior, z)).sum()
        kept.append(sum(saved))
        gradients.append(torch.autograd.grad(loss, z)[0])
    assert torch.allclose(*gradients, rtol=1e-9)
    assert kept[1] < kept[0] / 20


def test_penalty_of_the_norm_is_the_chi_law():
    """Least at |z|² = d - 1, and the negative log density of the norm up to a constant."""
    from scipy.stats import chi

    direction = torch.nn.functional.normalize(latents(1)(PDE.shape).flatten(1), dim=1)
    lengths = torch.linspace(6, 12, 50, dtype=torch.float64)
    penalties = norm_penalty((lengths[:, None] * direction).reshape(-1, *PDE.shape))
    density = torch.from_numpy(-chi.logpdf(lengths.numpy(), 72))
    assert torch.allclose(penalties - density, (penalties - density).mean().expand(50))
    assert float(norm_penalty(71**0.5 * direction.reshape(1, *PDE.shape))) < float(penalties.min())


def test_penalty_draws_the_norm_to_where_noise_lives():
    task = problem()
    ends = []
    for weight in (0.0, 100.0):
        *_, (end, _) = short(DFLOW, "corrected", zeta_norm=weight).iterates(PRIOR, task, 2 * latents()(PDE.shape))
        ends.append((end.flatten(1).norm(dim=1) - 71**0.5).abs())
    assert (ends[1] < 0.2 * ends[0]).all()


def test_equation_term_lowers_the_residual():
    prior = GaussianPrior.isotropic(PDE.shape, 0.5)  # knows nothing of the equation
    free = Problem(PDE, "free", CODEC, scale=SCALE)
    plain, bound = (short(DFLOW, "corrected", zeta_pde=weight).sample(prior, free, latents()) for weight in (0.0, 1.0))
    residuals = [float(free.residual(x)["interior"].square().mean()) for x in (plain, bound)]
    assert residuals[1] < 1e-2 * residuals[0]


def test_dflow_stops_at_the_noise_of_the_data():
    task = problem(noise_std=0.5)
    sample = short(DFLOW, "corrected").sample(PRIOR, task, latents())
    explained = task.observation.counts().sum(1) * 0.25
    squares = (task.misfit(sample) / SCALE.reshape(1, 2, 1, 1)).square().flatten(1).sum(1)
    assert (squares <= 1.001 * explained).all()
    assert (squares >= 0.3 * explained).all()


def test_coupled_rows_of_dflow_show():
    task = problem()
    coupled = short(DFLOW, "published", couple_batch=True)
    together = coupled.sample(PRIOR, task, latents())
    alone = coupled.sample(PRIOR, task.subset([0]), latents(1))
    assert not torch.allclose(together[:1], alone, rtol=1e-3)


def test_the_corrected_flow_has_the_spread_of_the_prior():
    """And the flow of the same number of evaluations in Euler steps has not."""
    pde = make_pde("poisson", {"n": 16})
    states = pde.generate(range(300), seed=0)
    codec = Codec.fit(pde, states, power=1)
    prior, free = GaussianPrior.of_pde(pde, codec), Problem(pde, "free", codec)

    def ratio(**changes):
        config = dataclasses.replace(DFLOW.variants["corrected"], **changes)
        end = codec.decode(DFLOW(config).sample(prior, free, latents(256)))
        return (end.var(0).sum((1, 2)) / states.var(0).sum((1, 2))).sqrt()

    assert torch.allclose(ratio(), torch.ones(2, dtype=torch.float64), atol=0.05)
    assert (ratio(steps=29, solver="euler", times="uniform") < 0.95).all()


def test_dflow_without_an_aim_is_the_flow():
    free, z = Problem(PDE, "free", CODEC), latents()(PDE.shape)
    method = short(DFLOW, "published")
    assert torch.equal(method.sample(PRIOR, free, latents()), method.flow(PRIOR, z))


def test_settings_of_dflow_out_of_range_are_refused():
    for name, value in (("zeta_pde", -1.0), ("solver", "rk4"), ("blend", 1.5), ("iterations", 0), ("lr", 0.0)):
        with pytest.raises(UserError, match=str(value)):
            DFLOW.Config(**{name: value})
    assert (
        DFLOW(DFLOW.Config(zeta_pde=1.0, scheme="other")).skip(problem()) == "poisson has no residual of scheme 'other'"
    )
