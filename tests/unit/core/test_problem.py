"""Tasks draw the masks they promise; problems measure misfits, residuals and violations of decoded states."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.codec import Codec
from jensenbench.core.constraints import FixedEntries
from jensenbench.core.masks import published_mask
from jensenbench.core.observations import LinearObservation, MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import TASKS, Task, find_task
from jensenbench.errors import UnknownName, UserError
from jensenbench.plugins.registry import make_pde

SHARES = st.sampled_from([0.0, 0.03, 0.3, 0.5, 1.0])


def _pde(name, n=8):
    return make_pde(name, {"n": n})


def _problem(name="poisson", noise_std=0.0, count=3):
    pde = _pde(name)
    states = pde.generate(range(count), seed=0)
    field_std = states.transpose(0, 1).flatten(1).std(1)
    task = find_task("reconstruction_30", noise_std=noise_std)
    data = [task.observe(state, pde, field_std, seed=0, index=i) for i, state in enumerate(states)]
    observation = MaskObservation(torch.cat([d.mask for d in data]), torch.cat([d.values for d in data]), noise_std)
    codec = Codec.fit(pde, states, power=1)
    constraints = pde.constraints(states)
    return Problem(pde, task.label, codec, observation=observation, constraints=constraints, scale=field_std), states


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["poisson", "burgers"]), st.integers(4, 13), SHARES, SHARES, st.integers(0, 99))
def test_masks_hold_the_promised_share_of_each_role(name, n, coefficient, solution, index):
    pde, task = _pde(name, n), Task("any", coefficient=coefficient, solution=solution)
    mask = task.mask(pde, seed=1, index=index)
    for role, share in (("coefficient", coefficient), ("solution", solution)):
        entries = pde.role_mask(role)
        expected = max(1, round(share * int(entries.sum()))) if share else 0
        assert int(mask[entries].sum()) == expected
    assert mask.shape == pde.shape


def test_roles_of_a_space_time_field_are_its_first_row_and_the_rest():
    pde = _pde("burgers")
    forward, inverse = (TASKS[name].mask(pde, seed=0, index=0) for name in ("forward", "inverse"))
    assert forward[0, 0].all()
    assert not forward[0, 1:].any()
    assert torch.equal(inverse, ~forward)


def test_masks_depend_on_seed_task_and_index_alone():
    pde, task = _pde("poisson"), TASKS["reconstruction_30"]
    mask = task.mask(pde, seed=0, index=3)
    torch.manual_seed(5)
    assert torch.equal(task.mask(pde, seed=0, index=3), mask)
    assert torch.equal(task.mask(_pde("darcy"), seed=0, index=3), mask)
    others = [
        task.mask(pde, seed=1, index=3),
        task.mask(pde, seed=0, index=4),
        find_task("reconstruction_30", noise_std=0.1).mask(pde, seed=0, index=3),
    ]
    assert all(not torch.equal(mask, other) for other in others)


def test_observations_are_exact_or_noisy_on_the_mask_and_zero_off_it():
    pde = _pde("poisson", 16)
    state = pde.generate([0], seed=0)[0]
    field_std = torch.tensor([2.0, 0.5], dtype=torch.float64)
    exact = TASKS["reconstruction_30"].observe(state, pde, field_std, seed=0, index=0)
    assert torch.equal(exact.values[0], torch.where(exact.mask[0], state, 0.0))
    noisy = Task("all", coefficient=1, solution=1, noise_std=0.1).observe(state, pde, field_std, seed=0, index=0)
    errors = (noisy.values[0] - state).flatten(1).std(1)
    assert torch.allclose(errors, 0.1 * field_std, rtol=0.2)


@pytest.mark.parametrize("name", ["poisson", "burgers"])
def test_misfit_vanishes_at_the_truth_and_off_the_mask(name):
    problem, states = _problem(name)
    x = problem.encode(states)
    assert problem.misfit(x).abs().max() < 1e-12
    elsewhere = problem.misfit(torch.zeros_like(x))
    assert torch.equal(elsewhere * ~problem.observation.mask, torch.zeros_like(elsewhere))
    assert elsewhere.abs().max() > 0


def test_residual_is_that_of_the_decoded_fields():
    problem, states = _problem()
    x = problem.encode(states) + 0.1
    found, direct = problem.residual(x), problem.pde.residual(problem.decode(x))
    assert found.keys() == direct.keys()
    assert all(torch.equal(found[part], direct[part]) for part in found)
    assert torch.equal(sum(problem.terms(x).values()), found["interior"])
    assert problem.residual(x, "diffusionpde")["interior"].shape == (3, 8, 8)


def test_a_task_without_data_has_no_misfit():
    problem, states = _problem()
    bare = Problem(problem.pde, "unconditional", problem.codec)
    with pytest.raises(UserError, match="observes nothing"):
        bare.misfit(bare.encode(states))
    assert bare.violation(states).shape == (3, 0)
    assert torch.allclose(bare.correct(states), states, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("noise_std", "names"), [(0.0, ["boundary", "observations"]), (0.1, ["boundary"])])
def test_exact_data_are_hard_constraints_and_noisy_ones_are_not(noise_std, names):
    problem, _ = _problem(noise_std=noise_std)
    assert [constraint.name for constraint in problem.hard_constraints()] == names


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_correction_meets_all_constraints_and_is_idempotent(dtype):
    problem, states = _problem()
    x = torch.randn(problem.encode(states).shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    corrected = problem.correct(x)
    rounding = 1e-4 if dtype == torch.float32 else 1e-12
    assert corrected.dtype == dtype
    assert problem.violation(x).abs().max() > 1e-3
    assert problem.violation(corrected).abs().max() < rounding
    assert torch.allclose(problem.correct(corrected), corrected, rtol=0, atol=100 * rounding)


@pytest.mark.parametrize("index", [slice(1, 3), [2, 0]])
def test_rows_of_a_problem_are_the_problem_of_the_rows(index):
    problem, states = _problem()
    x = problem.encode(states) + 0.3
    part = problem.subset(index)
    assert torch.allclose(part.misfit(x[index]), problem.misfit(x)[index], rtol=0, atol=1e-14)
    assert torch.allclose(part.violation(x[index]), problem.violation(x)[index], rtol=0, atol=1e-14)
    assert (part.task, part.term_scale) == (problem.task, problem.term_scale)
    assert part.observation.noise_std == problem.observation.noise_std


def test_groups_and_counts_are_per_field():
    problem, states = _problem()
    observation = problem.observation
    assert observation.groups(problem.misfit(problem.encode(states))).shape == (3, 2, 64)
    assert observation.counts().tolist() == [[round(0.3 * 64)] * 2] * 3


def test_a_dense_operator_acts_on_flattened_fields():
    pde = _pde("poisson", 4)
    state = pde.generate([0, 1], seed=0)
    matrix = torch.randn(5, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = LinearObservation(matrix, torch.zeros(2, 5, dtype=torch.float64))
    assert torch.allclose(data.forward(state), torch.stack([matrix @ s.flatten() for s in state]))
    assert data.groups(data.forward(state)).shape == (2, 1, 5)
    assert data.counts().tolist() == [[5], [5]]
    assert data.subset([1]).values.shape == (1, 5)


def test_fixed_entries_keep_the_rest():
    fields = torch.arange(8.0).reshape(1, 2, 2, 2)
    held = FixedEntries("corner", torch.tensor([[True, False], [False, False]]), torch.tensor(9.0, dtype=torch.float64))
    fixed = held.project(fields)
    assert fixed.flatten().tolist() == [9, 1, 2, 3, 9, 5, 6, 7]
    assert fixed.dtype == fields.dtype
    assert held.violation(fixed).abs().max() == 0


@pytest.mark.parametrize(("count", "shape"), [(0, (4, 4)), (5, (4, 7)), (16, (4, 4))])
def test_published_masks_hold_the_count_and_repeat(count, shape):
    mask = published_mask(count, shape, seed=2)
    assert tuple(mask.shape) == shape
    assert int(mask.sum()) == count
    assert torch.equal(mask, published_mask(count, shape, seed=2))


def test_bad_tasks_and_observations_are_refused():
    with pytest.raises(UnknownName, match="did you mean 'reconstruction_30'"):
        find_task("reconstruction30")
    with pytest.raises(UserError, match=r"1\.5"):
        Task("x", solution=1.5)
    with pytest.raises(UserError, match="negative"):
        Task("x", noise_std=-0.1)
    with pytest.raises(UserError, match="differ in shape"):
        MaskObservation(torch.ones(1, 2), torch.ones(2, 1))
    with pytest.raises(UserError, match="negative"):
        MaskObservation(torch.ones(1), torch.ones(1), -1.0)
    with pytest.raises(UserError, match="do not fit"):
        published_mask(17, (4, 4), seed=0)
