"""Laws of projections: they meet their constraint, are idempotent and nearest; contradictions are refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.codec import Codec
from jensenbench.core.constraints import (
    Conserved,
    FixedEntries,
    Measured,
    Periodic,
    joint_violation,
    project_in_turn,
    project_jointly,
    require_compatible,
)
from jensenbench.core.observations import LinearObservation, MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError
from jensenbench.numerics.least_norm import nearest
from jensenbench.plugins.registry import make_pde

SHAPE = (2, 5, 4)
BATCH = 3
SEED = st.integers(0, 10**6)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def operator(seed, count=7):
    matrix = normal(seed, 40, count)
    return lambda fields: fields.flatten(1) @ matrix.to(fields)


def constraints(seed):
    """One of each kind, with values that differ from state to state."""
    weights = normal(seed + 1, 1, *SHAPE)
    return {
        "mask": FixedEntries("mask", normal(seed, BATCH, *SHAPE) > 0.5, normal(seed + 2, BATCH, *SHAPE)),
        "initial": FixedEntries.at("initial", SHAPE, 1, 0, normal(seed, BATCH, 2, 5)),
        "frame": FixedEntries.at("frame", SHAPE, 0, -2, normal(seed, 1, 2, 4)),
        "periodic": Periodic("periodic", (0, 1)),
        "mass": Conserved("mass", torch.tensor(0.3, dtype=torch.float64), normal(seed, BATCH, 2, 4)),
        "moment": Conserved("moment", weights, normal(seed, BATCH, 2), kept=None),
        "along": Conserved("along", weights, normal(seed, 1, 2, 5), kept=0),
        "sensors": Measured("sensors", operator(seed), normal(seed, BATCH, 7)),
    }


KINDS = pytest.mark.parametrize("kind", constraints(0))


@KINDS
@settings(deadline=None, max_examples=4)
@given(seed=SEED)
def test_projections_are_met_idempotent_and_nearest(kind, seed):
    constraint, fields = constraints(seed)[kind], normal(seed + 3, BATCH, *SHAPE)
    projected = constraint.project(fields)
    assert constraint.violation(fields).abs().max() > 1e-3
    assert constraint.violation(projected).abs().max() < 1e-11
    assert torch.allclose(constraint.project(projected), projected, rtol=0, atol=1e-11)
    # Pythagoras: the way to the nearest point is orthogonal to every way inside the set
    inside = constraint.project(normal(seed + 4, BATCH, *SHAPE)) - projected
    assert ((fields - projected) * inside).flatten(1).sum(1).abs().max() < 1e-10
    assert torch.equal(fields, normal(seed + 3, BATCH, *SHAPE))


@KINDS
@pytest.mark.parametrize("index", [slice(1, 3), [2, 0]])
def test_rows_of_a_constraint_are_the_constraint_of_the_rows(kind, index):
    constraint, fields = constraints(5)[kind], normal(6, BATCH, *SHAPE)
    part = constraint.subset(index)
    assert torch.allclose(part.project(fields[index]), constraint.project(fields)[index], rtol=0, atol=1e-12)
    assert torch.allclose(part.violation(fields[index]), constraint.violation(fields)[index], rtol=0, atol=1e-12)


@KINDS
def test_projections_keep_the_dtype(kind):
    fields = normal(0, BATCH, *SHAPE).float()
    projected = constraints(1)[kind].project(fields)
    assert projected.dtype == torch.float32
    assert constraints(1)[kind].violation(projected).abs().max() < 1e-4


@settings(deadline=None, max_examples=5)
@given(seed=SEED, names=st.sets(st.sampled_from(["mask", "periodic", "mass", "sensors"]), min_size=2))
def test_joint_projection_meets_everything_and_is_nearest(seed, names):
    truth = Periodic("", (0, 1)).project(normal(seed, BATCH, *SHAPE))
    held = [met_by(truth, constraint) for name, constraint in constraints(seed).items() if name in names]
    fields = normal(seed + 1, BATCH, *SHAPE)
    projected = project_jointly(held, fields)
    assert joint_violation(held, projected).abs().max() < 1e-9
    inside = truth - projected
    assert ((fields - projected) * inside).flatten(1).sum(1).abs().max() < 1e-8
    require_compatible(held, SHAPE)


def met_by(truth, constraint):
    """The same constraint with the values that ``truth`` has."""
    match constraint:
        case FixedEntries(name, mask, _):
            return FixedEntries(name, mask, truth)
        case Conserved(name, weights, _, kept):
            return Conserved(name, weights, -Conserved(name, weights, torch.zeros(()), kept)._gap(-truth), kept)
        case Measured(name, apply, _):
            return Measured(name, apply, apply(truth))
    return constraint


def test_chained_projections_may_undo_each_other_and_the_joint_one_does_not():
    everything = constraints(2)
    held = [everything["mass"], everything["initial"]]
    fields = normal(3, BATCH, *SHAPE)
    apart, together = project_in_turn(held, fields), project_jointly(held, fields)
    assert held[1].violation(apart).abs().max() < 1e-12
    assert held[0].violation(apart).abs().max() > 1e-3
    assert (apart - fields).norm() != (together - fields).norm()


def test_joint_projection_of_contradictions_is_least_squares():
    held = [FixedEntries("one", torch.ones(1, *SHAPE).bool(), torch.tensor(v)) for v in (0.0, 1.0)]
    assert torch.allclose(project_jointly(held, normal(0, BATCH, *SHAPE)), torch.full((BATCH, *SHAPE), 0.5).double())


def problem(observation, constraints=()):
    pde = make_pde("poisson", {"n": 6})
    states = pde.generate(range(20), seed=0)
    return Problem(pde, "test", Codec.fit(pde, states, power=1), observation=observation, constraints=constraints)


def observed(row, value):
    mask = torch.zeros(2, 2, 6, 6, dtype=torch.bool)
    mask[:, 1, :, 2] = True
    values = torch.zeros(2, 2, 6, 6, dtype=torch.float64)
    values[row, 1, 0, 2] = value
    return MaskObservation(mask, values)


def test_constraints_that_contradict_the_observations_are_refused():
    edge = make_pde("poisson", {"n": 6}).constraints(torch.zeros(2, 2, 6, 6, dtype=torch.float64))
    problem(observed(1, 0.0), edge)
    with pytest.raises(UserError, match=r"'boundary', 'observations' contradict.* by 0\.2 in batch element 1"):
        problem(observed(1, 0.4), edge)


def test_exact_data_of_a_dense_operator_are_a_hard_constraint():
    data = LinearObservation(normal(0, 9, 72), normal(1, 2, 9))
    task, x = problem(data), normal(2, 2, 2, 6, 6)
    assert task.misfit(x).abs().max() > 0.1
    assert task.misfit(task.correct(x)).abs().max() < 1e-11
    assert [c.name for c in task.hard_constraints()] == ["observations"]


def test_joint_correction_of_a_problem_meets_boundary_and_data():
    edge = make_pde("poisson", {"n": 6}).constraints(torch.zeros(2, 2, 6, 6, dtype=torch.float64))
    sums = Conserved("mass", torch.ones((), dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64), kept=None)
    task, x = problem(observed(0, 0.0), (sums, *edge)), normal(2, 2, 2, 6, 6)
    assert task.violation(task.correct(x)).abs().max() > 1e-2
    assert task.violation(task.correct(x, jointly=True)).abs().max() < 1e-11


def test_joint_correction_is_nearest_in_prior_coordinates():
    edge = make_pde("poisson", {"n": 6}).constraints(torch.zeros(2, 2, 6, 6, dtype=torch.float64))
    task, x = problem(observed(0, 0.0), edge), normal(2, 2, 2, 6, 6)
    corrected, pasted = task.correct(x, jointly=True), task.correct(x)
    best = nearest(task.violation, x)
    distance = [float((state - x).norm()) for state in (best, corrected, pasted)]
    assert distance[0] * (1 - 1e-9) <= distance[1] < 1.001 * distance[0] < distance[2]
    assert torch.allclose(task.correct(corrected, jointly=True), corrected, atol=1e-11)


def test_bad_axes_are_refused():
    for axis, index in ((2, 0), (-1, 0), (0, 5), (1, -5)):
        with pytest.raises(UserError, match=rf"index {index} of axis {axis}"):
            FixedEntries.at("initial", SHAPE, axis, index, torch.zeros(1, 2, 5))


def test_nearest_of_an_empty_violation_is_the_point_itself():
    fields = normal(0, BATCH, *SHAPE)
    assert torch.equal(nearest(lambda x: x.flatten(1)[:, :0], fields), fields)


def test_constraints_that_are_not_affine_are_not_judged():
    class Positive(FixedEntries):
        affine = False

    held = [kind("one", torch.ones(1, *SHAPE), torch.tensor(v)) for kind, v in ((FixedEntries, 0.0), (Positive, 1.0))]
    require_compatible(held, SHAPE)


def test_single_precision_weights_do_not_round_double_fields():
    fields = torch.ones(1, 1, 3, 7, dtype=torch.float64)
    rounded = Conserved("mass", torch.full((1, 1, 1, 7), 1 / 7), torch.ones(1, 1, 3, dtype=torch.float64), kept=0)
    with pytest.raises(UserError, match=r"'mass': its weights are torch\.float32"):
        rounded.project(fields)
    assert rounded.project(fields.float()).dtype == torch.float32
