"""Replica exchange: it leaves the laws of all levels as they are, and carries chains from one mode to another."""

import pytest
import torch
from torch import Tensor

from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import LatentMap
from jensenbench.posteriors.chains import Chains, ChainSettings
from jensenbench.posteriors.diagnostics import diagnose
from jensenbench.posteriors.replica_exchange import exchange, ladder
from jensenbench.posteriors.target import Point, Target

FACTORS = ladder(4, 0.1)


def tempered(count: int, slope: float = 3.0) -> Point:
    """Exact draws of exp(-z²/2 - f Φ) with Φ = slope z²/2 at every level f: normal of variance 1/(1 + f slope)."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(count, 4, generator=generator, dtype=torch.float64) / (1 + slope * FACTORS).sqrt()
    rows = z.reshape(-1, 1)
    return Point(rows, rows[:, None, None], slope * rows[:, 0].square() / 2, torch.zeros_like(rows))


def test_the_ladder_falls_in_geometric_steps_from_full_data():
    assert ladder(1, 0.1).tolist() == [1.0]
    assert ladder(3, 0.01).tolist() == pytest.approx([1.0, 0.1, 0.01])


@pytest.mark.parametrize("first", [0, 1])
def test_an_exchange_leaves_the_law_of_every_level(first):
    count = 40000
    here = tempered(count)
    uniform = torch.rand(count, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    there, accepted = exchange(here, FACTORS, uniform, first)
    assert torch.equal(there.z.reshape(count, 4).sort(1).values, here.z.reshape(count, 4).sort(1).values)
    assert torch.equal(there.potential, 3 * there.z[:, 0].square() / 2)
    moved = (there.z != here.z).reshape(count, 4).double().mean(0)
    tried = [(level - first) % 2 == 0 for level in range(3)]
    assert [bool(rate > 0) for rate in accepted] == tried
    for level in range(3):
        if tried[level]:
            assert float(moved[level]) == pytest.approx(float(accepted[level]), abs=5 / count**0.5)
    variance = there.z.reshape(count, 4).square().mean(0) * (1 + 3 * FACTORS)
    assert torch.allclose(variance, torch.ones(4).double(), atol=5 * (2 / count) ** 0.5)


def test_states_that_the_solver_refuses_go_up_and_never_down():
    potential = torch.tensor([torch.inf, 1.0, 1.0, torch.inf, torch.inf, torch.inf], dtype=torch.float64)
    rows = torch.arange(6.0, dtype=torch.float64)[:, None]
    there, _ = exchange(Point(rows, rows, potential, rows), ladder(2, 0.5), torch.full((3, 2), 0.5), 0)
    assert there.z.flatten().tolist() == [1.0, 0.0, 2.0, 3.0, 4.0, 5.0]


def sided(levels: int) -> Tensor:
    """Traces of chains whose datum is |z| = 2 with noise of 0.1: which of both sides they are on."""

    def fields(flat: Tensor) -> Tensor:
        return torch.stack([flat.abs(), flat.sign()], 1)[:, :, None]

    mask = torch.tensor([True, False]).reshape(1, 2, 1, 1)
    data = MaskObservation(mask, torch.tensor([2.0, 0.0]).double().reshape(1, 2, 1, 1), 0.1)
    latent = LatentMap(torch.eye(1, dtype=torch.float64), fields, lambda x: x, fields)
    unit = torch.ones(2, dtype=torch.float64)
    settings = ChainSettings("informed", chains=8, warmup=200, steps=3000, levels=levels)
    return Chains(Target(latent, data, unit), settings, unit, key=("sides",)).run().traces


def test_chains_cross_between_modes_that_no_step_can_reach():
    alone, exchanging = (sided(levels)[..., 17:18] for levels in (1, 6))
    assert float(diagnose(alone).rhat.max()) > 2
    found = diagnose(exchanging)
    assert float(found.rhat.max()) < 1.03
    assert float(exchanging.mean()) == pytest.approx(0, abs=5 / float(found.ess.min()) ** 0.5)
