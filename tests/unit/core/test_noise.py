"""Noise belongs to a state: no batch, order or device changes it."""

import pytest
import torch

from jensenbench.core.noise import KeyedNoise, Replay


def keys(count):
    return [(0, "poisson-8", "forward", index, 0) for index in range(count)]


def test_a_row_depends_on_its_key_alone():
    whole = KeyedNoise(keys(5))
    part = KeyedNoise(keys(5)[3:4])
    for shape in [(2, 3), (4,), (1,)]:
        assert torch.equal(whole(shape)[3:4], part(shape))


def test_different_keys_are_uncorrelated():
    draws = KeyedNoise(keys(200))((500,))
    correlation = torch.corrcoef(draws) - torch.eye(200)
    assert correlation.abs().max() < 6 / 500**0.5
    assert abs(draws.mean()) < 5 / draws.numel() ** 0.5
    assert abs(draws.var() - 1) < 5 * (2 / draws.numel()) ** 0.5


def test_global_generators_are_left_alone():
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    KeyedNoise(keys(2))((8,))
    assert torch.equal(torch.randn(4), expected)


def test_replay_plays_in_order_and_refuses_surprises():
    draws = [torch.ones(2, 3), torch.zeros(2, 4)]
    noise = Replay(draws)
    assert torch.equal(noise((3,)), draws[0])
    with pytest.raises(ValueError, match="asked for"):
        noise((3,))
    with pytest.raises(ValueError, match="run out"):
        noise((4,))
