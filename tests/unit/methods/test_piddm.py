"""PIDDM: closed forms of affine students, training that never loses a step, refinement and algorithm 3."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from jensenbench.checks.method_bench import kill_fit
from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import TASKS, Task
from jensenbench.data.dataset import term_scale
from jensenbench.errors import TrainingDiverged, UserError
from jensenbench.numerics.autograd import gradient_ratio
from jensenbench.numerics.random import generator_of
from jensenbench.plugins.registry import make_pde
from jensenbench.priors import pairs as pairs_module
from jensenbench.priors.backbones.build import UNetSettings, build_backbone
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.network import NetworkPrior
from jensenbench.priors.pairs import PairSettings, make_pairs
from jensenbench.priors.symmetries import PairSymmetry
from jensenbench.runtime.meter import Meter, MeteredModule, MeteredProblem
from methods._losses import residual_loss
from methods.piddm import PIDDM, Config, Distillation, Fit

PDE = make_pde("poisson", {"n": 8})
STATES = PDE.generate(range(64), seed=0)
CODEC = Codec.fit(PDE, STATES, power=1)
EXACT = GaussianPrior.of_pde(PDE, CODEC)
BLIND = GaussianPrior.isotropic(PDE.shape, 0.5)  # knows no equation
SCALE = STATES.transpose(0, 1).flatten(1).std(1)
PAIRS = PairSettings(count=160, steps=8, batch=32)
TINY = {"width": 8, "embedding": 16}
AFFINE = Fit(pairs=PAIRS, residual_weight=0)
SCRATCH = Fit(pairs=PAIRS, student="unet", backbone=TINY, steps=6, batch=8, checks=2)


def make_problem(task: Task = TASKS["unconditional"], rows: int = 4) -> Problem:
    data = [task.observe(STATES[i], PDE, SCALE, seed=0, index=i) for i in range(rows)] if task.observes else []
    seen = (
        MaskObservation(torch.cat([d.mask for d in data]), torch.cat([d.values for d in data]), task.noise_std)
        if data
        else None
    )
    return Problem(PDE, task.label, CODEC, observation=seen, scale=SCALE, term_scale=term_scale(PDE, STATES))


def make_teacher() -> NetworkPrior:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NetworkPrior(build_backbone("unet", 2, (8, 8), UNetSettings(**TINY)), PDE.shape)


def fit_student(fit: Fit, prior, folder, seed: int = 0) -> nn.Module:
    pairs = make_pairs(prior, fit.pairs, key=(seed,), folder=folder)
    data = CODEC.encode(STATES)
    return PIDDM(Config(fit=fit)).fit(prior, make_problem(), data, state_dir=folder, seed=seed, pairs=pairs)


def draw(config: Config, student, prior, problem: Problem, rows: int = 4, meter: Meter | None = None) -> torch.Tensor:
    module = student if meter is None else MeteredModule(student, meter)
    problem = problem if meter is None else MeteredProblem(problem, meter)
    noise = KeyedNoise([("test", row) for row in range(rows)])
    return PIDDM(config).sample(prior, problem, noise, fitted=module)


@pytest.fixture(scope="module")
def affine(tmp_path_factory) -> nn.Module:
    return fit_student(AFFINE, EXACT, tmp_path_factory.mktemp("affine"))


def white(rows: int = 4) -> torch.Tensor:
    return torch.randn(rows, *PDE.shape, dtype=torch.float64, generator=generator_of(("white",)))


# closed forms


def test_affine_student_of_exact_pairs_is_the_exact_flow_map(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs_module, "deterministic_sample", lambda prior, settings, noise: prior.transport(noise, 0))
    student = fit_student(AFFINE, EXACT, tmp_path)
    assert (student(white()) - EXACT.transport(white(), 0.0)).abs().max() < 1e-6


def test_affine_student_is_its_teachers_sampler(affine):
    expected = pairs_module.deterministic_sample(EXACT, PAIRS, white())
    assert (affine(white()) - expected).abs().max() < 1e-6


def test_affine_student_with_a_residual_minimises_the_loss(tmp_path):
    """At the minimum the gradient of the loss with respect to the student's output vanishes."""
    fit, problem = replace(AFFINE, residual_weight=0.3), make_problem()
    student, plain = (fit_student(f, BLIND, tmp_path / str(i)) for i, f in enumerate((fit, AFFINE)))
    made = student(white()).detach().requires_grad_()
    match = ((made - plain(white()).detach()) / BLIND.sigma_data).flatten(1).square().mean(1)
    (total,) = torch.autograd.grad((match + 0.3 * residual_loss(problem, made)).sum(), made, retain_graph=True)
    (alone,) = torch.autograd.grad(match.sum(), made)
    assert total.abs().max() < 1e-6 * alone.abs().max()
    assert residual_loss(problem, made).mean() < 0.1 * residual_loss(problem, plain(white())).mean()


def test_the_residual_changes_no_student_of_a_teacher_that_meets_the_equation(tmp_path, affine):
    student = fit_student(replace(AFFINE, residual_weight=1), EXACT, tmp_path)
    assert (student(white()) - affine(white())).abs().max() < 1e-4


def test_too_few_pairs_for_an_affine_student_are_refused(tmp_path):
    with pytest.raises(UserError, match="128 unknowns"):
        fit_student(replace(AFFINE, pairs=replace(PAIRS, count=128)), EXACT, tmp_path)


def test_affine_students_are_refused_where_there_is_no_closed_form():
    darcy = make_pde("darcy", {"n": 8})
    states = darcy.generate(range(4), seed=0)
    problem = Problem(darcy, "unconditional", Codec.fit(darcy, states, power=1))
    assert "closed form" in PIDDM(Config(fit=Fit(student="affine"))).skip(problem)
    assert PIDDM(Config(fit=Fit(student="affine", residual_weight=0))).skip(problem) is None


# training


@pytest.mark.parametrize("student", ["teacher", "unet"])
def test_killed_fit_equals_uninterrupted_fit(tmp_path, student):
    fit = replace(SCRATCH, student=student, backbone=TINY if student == "unet" else {}, balance="gradients")
    teacher = make_teacher()
    whole = fit_student(fit, teacher, tmp_path / "whole").state_dict()
    assert kill_fit(lambda: fit_student(fit, teacher, tmp_path / "cut"))
    resumed = fit_student(fit, teacher, tmp_path / "cut").state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert (tmp_path / "cut/log.csv").read_bytes() == (tmp_path / "whole/log.csv").read_bytes()


def test_teacher_student_starts_as_the_teacher_at_its_highest_level_and_leaves_it_alone(tmp_path):
    teacher = make_teacher()
    before = {name: value.clone() for name, value in teacher.module.state_dict().items()}
    start = PIDDM(Config(fit=replace(SCRATCH, student="auto", backbone={}))).build(teacher, make_problem())
    assert torch.equal(start(white()), teacher(80 * white(), 80.0))
    fit_student(replace(SCRATCH, student="teacher", backbone={}), teacher, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in teacher.module.state_dict().items())


def test_weights_from_scratch_belong_to_the_seed(tmp_path):
    one, same, other = (fit_student(replace(SCRATCH, steps=1), BLIND, tmp_path / n, s) for n, s in ("a0", "b0", "c1"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def make_loss(fit: Fit, folder, prior=BLIND) -> Distillation:
    pairs = make_pairs(prior, fit.pairs, key=(0,), folder=folder)
    return Distillation(fit, prior, make_problem(), pairs, seed=0, device=torch.device("cpu"))


def test_pairs_are_renewed_as_often_as_there_are_rounds(tmp_path):
    fit = replace(SCRATCH, steps=6, pairs=replace(PAIRS, rounds=3), augment=False)
    loss = make_loss(fit, tmp_path)
    known = [{tuple(row) for row in loss._round(number)[0].flatten(1).tolist()} for number in range(3)]
    for step in range(6):
        rows = {tuple(row) for row in loss.batch(step)[0].flatten(1).tolist()}
        assert rows <= known[step // 2]


def test_weight_of_the_residual_rises_to_lambda_and_is_left_out_at_zero(tmp_path):
    fit = Fit(steps=10, warm_up=0.5, residual_weight=2.0)
    assert [fit.weight(step) for step in range(6)] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0, 2.0])
    _, parts = make_loss(replace(SCRATCH, residual_weight=0), tmp_path)(nn.Identity(), 0)
    assert set(parts) == {"match"}


def test_the_residual_of_a_network_student_is_that_of_physical_fields(tmp_path):
    """By hand: the five-point stencil on decoded fields, in units of the data's largest term; not of coordinates."""
    student = build_backbone("unet", 2, (8, 8), UNetSettings(**TINY))

    class OneStep(nn.Module):
        def forward(self, noise):
            return student(noise, torch.ones(len(noise)))

    loss = make_loss(replace(SCRATCH, residual_weight=1.0, warm_up=0.0), tmp_path)
    made = OneStep()(loss.batch(3)[0])
    f, u = CODEC.decode(made.double()).unbind(1)
    interior = torch.zeros(len(f), 6, 6, dtype=torch.float64)
    for i in range(1, 7):
        for j in range(1, 7):
            around = u[:, i - 1, j] + u[:, i + 1, j] + u[:, i, j - 1] + u[:, i, j + 1] - 4 * u[:, i, j]
            interior[:, i - 1, j - 1] = 49 * around - f[:, i, j]
    edge = torch.cat([u[:, 0], u[:, -1], u[:, 1:-1, 0], u[:, 1:-1, -1]], 1)
    unit = STATES[:, 0, 1:-1, 1:-1].square().mean().sqrt()
    squares = (interior / unit).square().mean((1, 2)) + (edge / SCALE[1]).square().mean(1)
    _, parts = loss(OneStep(), 3)
    assert float(parts["physics"]) == pytest.approx(float(squares.detach().mean()), rel=1e-3)


def test_balanced_weights_make_both_gradients_equally_large():
    weights = [torch.tensor([1.0, 2.0], requires_grad=True)]
    first, second = (weights[0] * torch.tensor([3.0, 4.0])).sum(), (weights[0][0] * 0.1)
    assert gradient_ratio(first, second, weights) == pytest.approx(5 / 0.1)


@pytest.mark.parametrize("name", ["poisson", "darcy", "helmholtz", "burgers"])
def test_symmetries_move_noise_and_states_alike(name):
    """The flow of white noise commutes with them, up to the shift of the codec; noise keeps its length."""
    pde = make_pde(name, {"n": 8})
    states = pde.generate(range(6), seed=0)
    problem = Problem(pde, "unconditional", Codec.fit(pde, states, power=1))
    symmetry, x = PairSymmetry(problem, torch.device("cpu")), problem.encode(states).float()
    chance = torch.rand(6, generator=generator_of((name,)))
    noise, moved = symmetry(x[:1].expand_as(x), x[:1].expand_as(x), chance)
    assert symmetry.exact
    assert torch.allclose(noise.flatten(1).norm(dim=1), x[0].norm().expand(6), rtol=1e-5)
    assert not torch.allclose(moved, x[:1].expand_as(x))


def test_diverging_fit_names_its_step(tmp_path):
    with pytest.raises(TrainingDiverged, match="diverged at step"):
        fit_student(replace(SCRATCH, lr=1e18, clip=1e30, steps=12), BLIND, tmp_path)


# sampling


def test_one_step_costs_one_evaluation(affine):
    meter = Meter(budget=1)
    meter.begin(4)
    draw(Config(fit=AFFINE), affine, EXACT, make_problem(), meter=meter)
    assert meter.per_state() == {"nfe": 1, "vjp": 0, "jvp": 0, "residual_calls": 0}


def test_refinement_costs_a_derivative_a_step(affine):
    meter = Meter()
    meter.begin(4)
    draw(Config(fit=AFFINE, steps=5), affine, EXACT, make_problem(), meter=meter)
    assert meter.per_state() == {"nfe": 6, "vjp": 5, "jvp": 0, "residual_calls": 5}


@pytest.fixture(scope="module")
def crude(tmp_path_factory) -> nn.Module:
    """A student whose states violate the equation."""
    return fit_student(AFFINE, BLIND, tmp_path_factory.mktemp("crude"))


@pytest.mark.parametrize(("optimiser", "lr"), [("adam", 0.02), ("gradient", 1e-4)])
def test_refinement_lowers_the_residual(crude, optimiser, lr):
    problem, config = make_problem(), Config(fit=AFFINE, steps=20, optimiser=optimiser, lr=lr)
    before, after = (residual_loss(problem, draw(c, crude, BLIND, problem)) for c in (replace(config, steps=0), config))
    assert (after < 0.9 * before).all()


def test_an_anchor_keeps_the_state_near_where_it_was(crude):
    problem, config = make_problem(), Config(fit=AFFINE, steps=20)
    start, free, held = (
        draw(c, crude, BLIND, problem) for c in (replace(config, steps=0), config, replace(config, anchor=1000))
    )
    assert (held - start).norm() < 0.5 * (free - start).norm()


def test_a_relative_residual_does_not_change_with_the_amplitude():
    """Both the equation and a codec without shifts are linear."""
    codec = Codec(PDE, shift=[0, 0], scale=[1, 1], power=1)
    problem, x = Problem(PDE, "unconditional", codec, scale=SCALE), white()
    relative = [residual_loss(problem, factor * x, relative=True) for factor in (1, 0.1)]
    assert torch.allclose(*relative)
    assert torch.allclose(*(residual_loss(problem, f * x) / f**2 for f in (1, 0.1)))


def test_algorithm_3_without_residual_on_a_full_mask_returns_the_data(tmp_path):
    """An affine student of full rank reaches every state."""
    student, problem = fit_student(AFFINE, BLIND, tmp_path), make_problem(Task("full", 1, 1))
    config = Config(fit=AFFINE, uses_data=True, steps=400, optimiser="gradient", lr=0.05, residual_weight=0)
    misfit = problem.misfit(draw(config, student, BLIND, problem)) / SCALE.reshape(1, -1, 1, 1)
    assert misfit.abs().max() < 1e-6


@pytest.mark.parametrize("mixed", [True, False])
def test_algorithm_3_approaches_the_data_and_pastes_nothing(affine, mixed):
    problem = make_problem(TASKS["reconstruction_30"])
    config = Config(fit=AFFINE, uses_data=True, steps=40, mixed=mixed)
    far, near = (
        problem.misfit(draw(c, affine, EXACT, problem)).square().mean() for c in (replace(config, steps=1), config)
    )
    assert 0 < near < 0.3 * far


def test_noisy_data_are_not_pasted_into_the_state_whose_residual_counts(affine):
    problem = make_problem(Task("noisy", 0.3, 0.3, noise_std=0.1))
    mixed, unmixed = (
        draw(Config(fit=AFFINE, uses_data=True, steps=5, mixed=mixed), affine, EXACT, problem)
        for mixed in (True, False)
    )
    assert torch.allclose(mixed, unmixed, atol=1e-9)


def test_variants_take_the_tasks_they_are_made_for():
    free, seen = make_problem(), make_problem(TASKS["inverse"])
    for variant, config in PIDDM.variants.items():
        reasons = [PIDDM(config).skip(problem) for problem in (free, seen)]
        assert (reasons.index(None) == 1) == variant.startswith("algorithm3")
        assert sum(reason is None for reason in reasons) == 1


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (Fit, {"residual_weight": -1}, "residual_weight = -1"),
        (Fit, {"student": "unnet"}, "did you mean 'unet'"),
        (Fit, {"balance": "norms"}, "unknown balance"),
        (Fit, {"warm_up": 2}, "warm_up = 2"),
        (Fit, {"backbone": {"width": 8}}, "takes no settings"),
        (Fit, {"student": "unet", "backbone": {"widht": 8}}, "did you mean 'width'"),
        (Config, {"steps": -1}, "steps = -1"),
        (Config, {"uses_data": True}, "steps = 0"),
        (Config, {"anchor": -0.5}, "anchor = -0.5"),
        (Config, {"lr": 0.0}, "lr = 0"),
        (Config, {"optimiser": "adamm"}, "did you mean 'adam'"),
    ],
)
def test_settings_are_checked(kind, change, message):
    with pytest.raises(UserError, match=message):
        kind(**change)
