"""Teacher pairs: what they are, and that neither kills nor shards nor rounds change one."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from jensenbench.diffusion.schedules import FLOWS
from jensenbench.errors import UnknownName, UserError
from jensenbench.priors import pairs as module
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.pairs import Pairs, PairSettings, deterministic_sample, make_pairs

PRIOR = GaussianPrior.isotropic((1, 3, 3), 0.5)
SETTINGS = PairSettings(count=11, rounds=2, steps=4, batch=3)
KEY = ("test",)


WIDTHS = torch.tensor([0.3, 1.0, 3.0], dtype=torch.float64)
WIDE = GaussianPrior(torch.full((3,), 0.02, dtype=torch.float64), torch.eye(3, dtype=torch.float64), WIDTHS)


def sampled(schedule: str, rule: str, steps: int) -> torch.Tensor:
    """States of a prior with directions of several widths, from the same noise."""
    noise = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return deterministic_sample(WIDE, PairSettings(schedule=schedule, rule=rule, steps=steps), noise)


@pytest.mark.parametrize("schedule", FLOWS)
@pytest.mark.parametrize(("rule", "order"), [("euler", 1), ("heun", 2)])
def test_all_rules_have_their_order_on_all_schedules(schedule, rule, order):
    states = [sampled(schedule, rule, steps) for steps in (50, 100, 200, 400)]
    changes = [float((after - before).abs().max()) for before, after in pairwise(states)]
    assert min(before / after for before, after in pairwise(changes)) > 0.8 * 2**order


@pytest.mark.parametrize("schedule", FLOWS)
def test_all_schedules_sample_one_flow(schedule):
    """The exact flow map, up to the first and last level of a grid."""
    noise = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (sampled(schedule, "heun", 800) - WIDE.transport(noise, 0.0)).abs().max() < 5e-3


@pytest.mark.parametrize("shard", [1, 4, 7, 100])
def test_shards_change_no_pair(tmp_path, shard):
    small, large = (
        make_pairs(PRIOR, SETTINGS, key=KEY, folder=tmp_path / n, shard=s) for n, s in (("a", shard), ("b", 99))
    )
    for number in range(SETTINGS.rounds):
        for mine, other in zip(small.round(number), large.round(number), strict=True):
            assert mine.shape == (SETTINGS.count, *PRIOR.shape)
            assert mine.dtype == torch.float32
            assert torch.equal(mine, other)


def test_a_pair_is_noise_and_where_the_flow_takes_it(tmp_path):
    noise, states = make_pairs(PRIOR, SETTINGS, key=KEY, folder=tmp_path).round(1)
    assert torch.equal(deterministic_sample(PRIOR, SETTINGS, noise.double()).float(), states)


def test_more_pairs_and_rounds_keep_the_earlier_ones(tmp_path):
    few = make_pairs(PRIOR, SETTINGS, key=KEY, folder=tmp_path / "few")
    many = make_pairs(PRIOR, replace(SETTINGS, count=20, rounds=3), key=KEY, folder=tmp_path / "many")
    for number in range(SETTINGS.rounds):
        assert torch.equal(few.round(number)[0], many.round(number)[0][: SETTINGS.count])


def test_every_round_has_fresh_noise(tmp_path):
    found = make_pairs(PRIOR, SETTINGS, key=KEY, folder=tmp_path)
    rows = torch.cat([found.round(number)[0].flatten(1) for number in range(SETTINGS.rounds)])
    assert len(rows.unique(dim=0)) == SETTINGS.rounds * SETTINGS.count


def test_a_killed_run_keeps_its_finished_shards(tmp_path, monkeypatch):
    expected = make_pairs(PRIOR, SETTINGS, key=KEY, folder=tmp_path / "whole", shard=3)
    calls = []

    def counted(prior, settings, noise):
        calls.append(len(noise))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return deterministic_sample(prior, settings, noise)

    monkeypatch.setattr(module, "deterministic_sample", counted)
    with pytest.raises(KeyboardInterrupt):
        make_pairs(PRIOR, SETTINGS, key=KEY, folder=tmp_path / "cut", shard=3)
    resumed = make_pairs(PRIOR, SETTINGS, key=KEY, folder=tmp_path / "cut", shard=3)
    assert len(calls) == 1 + 2 * 4
    assert resumed.files == expected.files
    assert torch.equal(resumed.round(0)[1], expected.round(0)[1])


def test_shards_of_another_run_are_made_anew(tmp_path):
    make_pairs(PRIOR, SETTINGS, key=KEY, folder=tmp_path, run="one")
    twice = GaussianPrior.isotropic(PRIOR.shape, 1.0)
    other = make_pairs(twice, SETTINGS, key=KEY, folder=tmp_path, run="other")
    fresh = make_pairs(twice, SETTINGS, key=KEY, folder=tmp_path / "fresh")
    assert torch.equal(other.round(0)[1], fresh.round(0)[1])


def test_a_damaged_or_foreign_shard_is_refused(tmp_path):
    found = make_pairs(PRIOR, SETTINGS, key=KEY, folder=tmp_path)
    make_pairs(PRIOR, SETTINGS, key=("other",), folder=tmp_path)
    with pytest.raises(UserError, match="not the file that its index names"):
        found.round(0)


def test_the_index_is_read_back(tmp_path):
    found = make_pairs(PRIOR, SETTINGS, key=KEY, folder=tmp_path)
    found.write(tmp_path / "pairs.json")
    assert Pairs.load(tmp_path / "pairs.json") == found


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"count": 0}, UserError, "count = 0"),
        ({"rule": "huen"}, UnknownName, "did you mean 'heun'"),
        ({"schedule": "vpp"}, UnknownName, "did you mean 'vp'"),
        ({"steps": 1}, UserError, "steps = 1"),
    ],
)
def test_settings_are_checked(change, error, message):
    with pytest.raises(error, match=message):
        replace(SETTINGS, **change)
