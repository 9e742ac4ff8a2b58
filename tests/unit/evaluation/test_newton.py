"""Newton steps as post-processing: residual and misfit fall, states move little, true states stay."""

import pytest
import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import find_task
from jensenbench.data.dataset import term_scale
from jensenbench.evaluation.post_processing import moved, newton
from jensenbench.plugins.registry import make_pde

INSTANCES, DRAWS = 3, 2
PDES = {"poisson": {"n": 12}, "darcy": {"n": 12, "law": "two_valued"}, "burgers": {"n": 12}}


class Bench:
    """True states, and the same states with white noise in prior coordinates."""

    def __init__(self, name: str, task: str = "", noise_std: float = 0.0):
        self.pde = make_pde(name, PDES[name])
        states = self.pde.generate(range(40), seed=0)
        self.truth, self.std = states[:INSTANCES], states.transpose(0, 1).flatten(1).std(1)
        self.codec, self.term_scale = Codec.fit(self.pde, states, power=1), term_scale(self.pde, states)
        data = None
        if task:
            chosen = find_task(task, noise_std=noise_std)
            seen = [chosen.observe(s, self.pde, self.std, seed=0, index=i) for i, s in enumerate(self.truth)]
            mask, values = (torch.cat([getattr(part, name) for part in seen]) for name in ("mask", "values"))
            data = MaskObservation(mask, values, noise_std)
        shared = {"scale": self.std, "term_scale": self.term_scale}
        self.problem = Problem(self.pde, task, self.codec, observation=data, **shared)

    def noisy(self, size: float = 0.1) -> Tensor:
        x = self.codec.encode(self.truth)[:, None].repeat(1, DRAWS, 1, 1, 1)
        x = x + size * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return self.codec.decode(x.flatten(0, 1)).reshape(x.shape)

    def residual(self, fields: Tensor) -> float:
        parts = self.pde.residual(fields.flatten(0, 1))
        return float(parts["interior"].square().mean().sqrt()) / self.term_scale

    def misfit(self, fields: Tensor) -> float:
        data = self.problem.observation
        assert isinstance(data, MaskObservation)
        gap = (fields - data.values[:, None]) * data.mask[:, None] / self.std.reshape(-1, 1, 1)
        return float(gap.abs().max())


@pytest.mark.parametrize("name", PDES)
def test_three_steps_reach_the_equation_and_come_nearer_to_the_truth(name):
    bench = Bench(name)
    before = bench.noisy()
    after = newton(bench.problem, before)
    residuals = [bench.residual(fields) for fields in (before, after[1].fields, after[3].fields)]
    assert residuals[1] < 0.1 * residuals[0]
    assert residuals[2] < 1e-4
    truth = bench.truth[:, None]
    errors = [float((f - truth).div(bench.std.reshape(-1, 1, 1)).square().mean()) for f in (before, after[3].fields)]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("task", ["forward", "reconstruction_30"])
def test_noise_free_observations_are_met_and_noisy_ones_are_not_imposed(task):
    bench = Bench("poisson", task)
    before = bench.noisy()
    after = newton(bench.problem, before)[3].fields
    assert bench.misfit(after) < 1e-3 * bench.misfit(before)
    assert bench.residual(after) < 1e-3
    loud = Bench("poisson", task, noise_std=0.05)
    free = Problem(loud.pde, "", loud.codec, scale=loud.std, term_scale=loud.term_scale)
    assert torch.allclose(newton(loud.problem, before)[3].fields, newton(free, before)[3].fields)


def test_the_forward_task_is_solved():
    bench = Bench("darcy", "forward")
    after = newton(bench.problem, bench.noisy())[3].fields
    error = (after - bench.truth[:, None]).div(bench.std.reshape(-1, 1, 1)).square().mean().sqrt()
    assert float(error) < 0.01


@pytest.mark.parametrize("name", PDES)
def test_true_states_are_left_alone(name):
    bench = Bench(name, "forward")
    before = bench.truth[:, None]
    after = newton(bench.problem, before)[3]
    assert after.unconverged == 0
    assert all(float(value.max()) < 1e-6 for value in moved(bench.pde, before, after.fields, bench.std).values())


def test_the_step_is_the_shortest_in_prior_coordinates():
    """For an affine equation: no part of it lies in the null space of J."""
    bench = Bench("poisson")
    before = bench.noisy().flatten(0, 1)
    after = newton(bench.problem, before[:, None])[3].fields[:, 0]
    step = (bench.codec.encode(after) - bench.codec.encode(before)).flatten(1)
    states = bench.codec.encode(bench.truth).flatten(1)
    tangent = states[1:] - states[:1]  # differences of solutions solve the homogeneous equation
    cosines = step @ tangent.T / step.norm(dim=1)[:, None] / tangent.norm(dim=1)
    assert float(cosines.abs().max()) < 1e-3


def test_a_linear_solve_at_its_cap_is_counted_and_a_state_without_a_value_passes():
    bench = Bench("darcy", "inverse")
    before = bench.noisy(0.3)
    before[0, 0, 0, 0, 0] = torch.nan
    after = newton(bench.problem, before)
    assert 0 < after[3].unconverged <= INSTANCES * DRAWS - 1
    assert torch.isnan(after[3].fields[0, 0]).any()
    assert torch.isfinite(after[3].fields.flatten(0, 1)[1:]).all()
