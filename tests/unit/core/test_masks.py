"""Tasks on regions of an evolution: what they observe, what they hold fixed, and what they leave open."""

import numpy as np
import pytest
import torch

from jensenbench.core.codec import Codec
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import TASKS, Task, find_task
from jensenbench.data.observations import conditional_resamples
from jensenbench.errors import UserError
from jensenbench.evaluation.distribution import conditional_moments
from jensenbench.evaluation.residuals import constraint_errors
from jensenbench.experiment.config import parse_tier
from jensenbench.io.files import read_yaml
from jensenbench.io.provenance import ROOT
from jensenbench.plugins.registry import make_pde

EVOLUTIONS = [
    ("burgers", {}),
    ("heat", {}),
    ("heat", {"law": "eci"}),
    ("convection", {}),
    ("stokes", {}),
    ("reaction_diffusion", {}),
    ("burgers_inviscid", {}),
    ("porous_medium", {}),
    ("stefan", {}),
    ("navier_stokes", {"snapshots": 3}),
    ("navier_stokes", {"arm": "end_points"}),
]
LATENT = [case for case in EVOLUTIONS if make_pde(case[0], {"n": 12, **case[1]}).latent]
evolutions = pytest.mark.parametrize(("name", "settings"), EVOLUTIONS)


def setting(name, settings, count=3):
    pde = make_pde(name, {"n": 12, **settings})
    return pde, pde.generate(range(count), seed=5)


def seen(task, pde, states):
    parts = [task.observe(state, pde, torch.ones(len(pde.fields)), seed=0, index=i) for i, state in enumerate(states)]
    return torch.cat([part.mask for part in parts]), torch.cat([part.values for part in parts])


@evolutions
def test_the_initial_task_observes_what_the_solver_starts_from(name, settings):
    pde, states = setting(name, settings)
    mask, values = seen(TASKS["initial"], pde, states)
    assert torch.equal(mask[0], pde.role_mask("coefficient"))
    assert torch.equal(values, torch.where(mask, states, 0))


@evolutions
def test_sensors_watch_the_same_points_at_all_times(name, settings):
    pde, states = setting(name, settings)
    mask, _ = seen(TASKS["sensors"], pde, states)
    times = mask[:, :, 0] if name == "navier_stokes" else mask
    points = mask if name == "navier_stokes" else mask[:, 0]
    assert torch.equal(points, points[:, :1].expand_as(points))
    assert times.any()
    assert 0 < float(mask.double().mean()) <= 1 / 12
    others = [TASKS["sensors"].mask(pde, seed=0, index=index) for index in range(20)]
    assert len({tuple(other.flatten().tolist()) for other in others}) > 5


@evolutions
def test_a_boundary_has_both_ends_of_space_or_there_is_none(name, settings):
    pde, _ = setting(name, settings)
    task = TASKS["boundary"]
    if name in ("burgers", "heat", "convection", "navier_stokes"):
        assert "periodic" in str(task.unsupported(pde))
        return
    mask = task.mask(pde, seed=0, index=0)[0]
    assert mask[:, [0, -1]].all()
    assert not mask[:, 1:-1].any()


@evolutions
def test_conserved_quantities_are_met_by_the_data_and_tell_states_that_lose_mass(name, settings):
    pde, states = setting(name, settings)
    task = TASKS["mass"]
    if name == "stokes":
        assert "no conserved quantity" in str(task.unsupported(pde))
        return
    _, values = seen(task, pde, states)
    held = task.constraints(pde, values)
    assert held
    size = float(states.abs().max())
    leaking = states.clone()
    leaking[:, -1, ..., -1 if name == "navier_stokes" else slice(-1, None), :] += 0.1 * size
    for constraint in held:
        assert constraint.violation(states).abs().max() < 1e-10 * size
        assert constraint.violation(leaking).norm(dim=1).min() > 1e-3 * size


@evolutions
def test_constraint_errors_are_zero_for_the_truth_and_those_of_the_sample_otherwise(name, settings):
    pde, states = setting(name, settings)
    mask, values = seen(TASKS["initial"], pde, states)
    data = MaskObservation(mask, values)
    size = float(states.norm())
    truth = constraint_errors(pde, states[:, None], truth=states, data=data)
    assert max(float(value.max()) for value in truth.values()) < 1e-9 * size
    wrong = states + 0.1 * mask.double()
    found = constraint_errors(pde, wrong[:, None], truth=states, data=data)
    expected = 0.1 * np.sqrt(float(mask[0].sum()))
    np.testing.assert_allclose(found["constraint_error/observations"], expected, rtol=1e-9)
    assert "constraint_error/observations" not in constraint_errors(pde, wrong[:, None])


@evolutions
def test_resimulated_states_share_the_start_and_solve_the_equation(name, settings):
    pde, states = setting(name, settings)
    again = pde.resimulate(states, range(7, 10), seed=1)
    start = pde.role_mask("coefficient")
    assert torch.equal(again[:, start], states[:, start])
    residual = pde.residual(again)
    terms = max(float(term.square().mean().sqrt()) for term in pde.terms(again).values())
    assert float(residual["interior"].square().mean().sqrt()) <= 10 * pde.floor * terms
    if not pde.latent:
        torch.testing.assert_close(again, states, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "settings"), LATENT)
def test_resimulated_states_follow_the_law_of_what_was_not_told(name, settings):
    """Resimulated from generated states they are generated states again: equal moments, up to sampling."""
    pde, count = make_pde(name, {"n": 12, **settings}), 400
    states = pde.generate(range(count), seed=2)
    again = pde.resimulate(states, range(count, 2 * count), seed=2)
    assert (again - states).abs().flatten(1).amax(1).min() > 0
    spread = states.std(0)
    gap = (again.mean(0) - states.mean(0)).abs()
    assert float((gap - 5 * spread * np.sqrt(2 / count)).max()) < 1e-12
    torch.testing.assert_close(pde.resimulate(states[3:4], [count + 3], seed=2), again[3:4], rtol=1e-9, atol=1e-9)


def test_states_alike_differ_between_draws_and_share_their_coefficient():
    pde, states = setting("heat", {"law": "eci"})
    found = conditional_resamples(pde, states, seed=0)
    assert found.shape == (3, 64, *pde.shape)
    assert torch.equal(found[:, :, :, 0], states[:, None, :, 0].expand(-1, 64, -1, -1))
    assert float(found[:, :, :, 1].std(1).min()) > 0


@pytest.mark.parametrize(("name", "settings"), [("heat", {}), ("burgers", {}), ("navier_stokes", {"snapshots": 3})])
def test_a_problem_holds_a_sample_to_its_start_and_its_integrals(name, settings):
    pde, states = setting(name, settings)
    task = TASKS["mass"]
    data = MaskObservation(*seen(task, pde, states))
    codec = Codec.fit(pde, pde.generate(range(20), seed=0), power=0)
    problem = Problem(pde, task.label, codec, observation=data, constraints=task.constraints(pde, data.values))
    assert len(problem.hard_constraints()) == 2
    noise = torch.randn(states.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fields = problem.decode(problem.correct(codec.encode(states + noise), jointly=True))
    held = constraint_errors(pde, fields[:, None], truth=states, data=data)
    assert len(held) == 2
    assert max(float(value.max()) for value in held.values()) < 1e-8
    assert float((fields - states).norm()) > 1


def test_moments_of_draws_of_the_open_law_do_not_differ_from_the_resimulated_ones():
    pde = make_pde("heat", {"n": 8, "law": "eci"})
    states = pde.generate(range(40), seed=3)
    found, std = conditional_resamples(pde, states, seed=1), states.transpose(0, 1).flatten(1).std(1)
    own = conditional_moments(pde, found[:, :8], found[:, 8:], std)
    wrong = conditional_moments(pde, found[:, :8] + 0.3 * std, found[:, 8:], std)
    narrow = conditional_moments(pde, states[:, None].expand(-1, 8, -1, -1, -1), found, std)
    assert abs(float(own["mmse"])) < 0.01
    assert abs(float(own["smse"])) < 0.01
    assert float(wrong["mmse"]) == pytest.approx(0.09, abs=0.02)
    assert float(narrow["smse"]) > 0.01
    assert not conditional_moments(pde, found[:, :3], found, std)


def test_tasks_that_an_equation_does_not_have_are_refused_by_name():
    micro = read_yaml(ROOT / "config" / "micro.yaml")
    with pytest.raises(UserError, match="poisson-8 has no task 'sensors': its states are no evolution"):
        parse_tier({**micro, "tasks": ["sensors"]})
    heat = [{"pde": "heat", "settings": {"n": 8}, "priors": ["gaussian-p1"]}]
    with pytest.raises(UserError, match="heat-gaussian-8 has no task 'boundary': it is periodic in space"):
        parse_tier({**micro, "pdes": heat, "tasks": ["boundary"]})
    with pytest.raises(UserError, match="noise-free initial state"):
        find_task("mass", noise_std=0.1)
    with pytest.raises(UserError, match="did you mean 'initial'"):
        Task("x", region="initia")
    with pytest.raises(UserError, match="use data: discrete"):
        continuous = make_pde("stefan", {"n": 8, "data": "continuous"})
        continuous.resimulate(continuous.generate([0], seed=0), [1], seed=0)
