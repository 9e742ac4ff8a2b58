"""Observation noise: of the right size, and independent between instances, seeds and tasks."""

from itertools import combinations, product

import pytest
import torch

from jensenbench.core.tasks import find_task
from jensenbench.plugins.registry import make_pde

PDE = make_pde("poisson", {"n": 12})
STATE = PDE.generate(range(1), seed=0)[0]
STD = torch.tensor([2.0, 0.5], dtype=torch.float64)


def noise(name: str, seed: int, index: int) -> torch.Tensor:
    """Noise of one instance's observations in units of its size, NaN where nothing is observed."""
    data = find_task(name, noise_std=0.1).observe(STATE, PDE, STD, seed=seed, index=index)
    units = (data.values[0] - STATE) / (0.1 * STD[:, None, None])
    return torch.where(data.mask[0], units, torch.nan).flatten()


def test_noise_has_the_size_that_the_task_names():
    found = torch.cat([noise(name, 0, index) for name in ("forward", "inverse") for index in range(10)])
    found = found[found.isfinite()]
    assert float(found.std()) == pytest.approx(1, abs=5 / (2 * len(found)) ** 0.5)
    assert float(found.mean()) == pytest.approx(0, abs=5 / len(found) ** 0.5)


def test_no_two_instances_seeds_or_tasks_share_their_noise():
    """Pairs of samples are uncorrelated; equal noise has correlation 1."""
    drawn = {key: noise(*key) for key in product(("forward", "reconstruction_30"), (0, 1), (0, 1, 2))}
    for one, other in combinations(drawn, 2):
        both = drawn[one].isfinite() & drawn[other].isfinite()
        mean = float((drawn[one][both] * drawn[other][both]).mean())
        assert abs(mean) < 5 / int(both.sum()) ** 0.5, (one, other)
