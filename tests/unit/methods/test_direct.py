"""The control without a prior: exact where data and equation decide, the best of its starts where they do not."""

import dataclasses

import pytest
import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import Task, find_task
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UserError
from jensenbench.plugins.registry import load_method, make_pde
from jensenbench.priors.gaussian import GaussianPrior

DIRECT = load_method("direct")
PDE = make_pde("poisson", {"n": 10})
STATES = PDE.generate(range(40), seed=0)
STD = STATES.transpose(0, 1).flatten(1).std(1)
CODEC = Codec.fit(PDE, STATES, power=1)
PRIOR = GaussianPrior.isotropic(PDE.shape, 0.5)
ROWS = 3


def problem(task: Task) -> Problem:
    seen = [task.observe(state, PDE, STD, seed=0, index=i) for i, state in enumerate(STATES[:ROWS])]
    mask, values = (torch.cat([getattr(part, name) for part in seen]) for name in ("mask", "values"))
    data = MaskObservation(mask, values, task.noise_std)
    return Problem(PDE, task.label, CODEC, observation=data, scale=STD, term_scale=term_scale(PDE, STATES))


def noise() -> KeyedNoise:
    return KeyedNoise([(row,) for row in range(ROWS)])


def draw(task: Task, **settings) -> tuple[Problem, Tensor]:
    asked = problem(task)
    return asked, DIRECT(DIRECT.Config(**settings)).sample(PRIOR, asked, noise())


@pytest.mark.parametrize(("variant", "steps"), [("lbfgs", 60), ("adam", 300)])
def test_the_forward_task_is_solved(variant, steps):
    config = dataclasses.replace(DIRECT.variants[variant], steps=steps, starts=1)
    asked = problem(find_task("forward"))
    fields = asked.decode(DIRECT(config).sample(PRIOR, asked, noise()))
    error = (fields - STATES[:ROWS]).flatten(2).norm(dim=2) / STATES[:ROWS].flatten(2).norm(dim=2)
    assert float(error.max()) < 0.02


def test_without_the_equation_what_is_observed_is_all_there_is():
    asked, x = draw(Task("all", 1, 1), zeta_pde=0.0, steps=30, starts=1)
    assert torch.allclose(x, asked.encode(STATES[:ROWS]), atol=1e-3)


def test_the_best_of_several_starts_is_kept():
    task = find_task("reconstruction_3")
    method, (asked, best) = DIRECT(DIRECT.Config(steps=5, starts=3)), draw(task, steps=5, starts=3)
    stream = noise()
    ends = [method.descend(asked, 0.3 * PRIOR.sigma_data * stream(PDE.shape)) for _ in range(3)]
    losses = torch.stack([method.loss(asked, end) for end in ends])
    assert torch.allclose(method.loss(asked, best), losses.amin(0))
    assert len(set(losses.argmin(0).tolist())) > 1


def test_a_start_at_the_centre_needs_no_noise():
    first, second = (draw(find_task("inverse"), steps=5, starts=1, spread=0.0)[1] for _ in range(2))
    asked = problem(find_task("inverse"))
    other = DIRECT(DIRECT.Config(steps=5, starts=1, spread=0.0)).sample(PRIOR, asked, KeyedNoise([(9,)] * ROWS))
    assert torch.equal(first, second)
    assert torch.equal(first, other)


def test_what_the_noise_explains_is_no_loss():
    asked = problem(Task("noisy", 1, 1, noise_std=0.3))
    method = DIRECT(DIRECT.Config(zeta_pde=0.0))
    assert float(method.loss(asked, asked.encode(STATES[:ROWS])).max()) < 0.1 * 0.3**2
    assert float(method.loss(asked, asked.encode(2 * STATES[:ROWS])).min()) > 0.5


def test_unconditional_tasks_are_skipped():
    free = Problem(PDE, "unconditional", CODEC)
    assert DIRECT().skip(free) == "needs observations"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"zeta_pde": -1.0}, "zeta_pde = -1"),
        ({"optimiser": "adm"}, "adam"),
        ({"starts": 0}, "starts = 0"),
        ({"starts": 2, "spread": 0.0}, "several starts need a spread"),
        ({"steps": 0}, "at least one whole step"),
        ({"lr": -1.0}, "lr = -1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        DIRECT.Config(**settings)
