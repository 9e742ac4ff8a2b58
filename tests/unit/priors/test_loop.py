"""The optimisation loop: exact resumption, the way back after a divergence, the log."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from jensenbench.errors import UserError
from jensenbench.numerics.random import generator_of
from jensenbench.priors.log import COLUMNS, write_log
from jensenbench.priors.loop import Loop, LoopSettings, update_average

SETTINGS = LoopSettings(steps=12, batch=4, lr=0.05, checks=3)


class Killed(Exception):
    pass


def regression(module: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error of a linear fit to a batch that the step determines."""
    x = torch.randn(4, 3, generator=generator_of(("batch", step)))
    error = (module(x) - x.sum(1, keepdim=True)).square().mean()
    return error, {"part": error.detach() / 2}


def make_loop(folder: Path, loss=regression, settings: LoopSettings = SETTINGS, **options) -> Loop:
    torch.manual_seed(0)
    shared = {"identity": ["test"], "sources": [], "state_dir": folder, "label": "loop", "device": torch.device("cpu")}
    return Loop(nn.Linear(3, 1), loss, settings, **{**shared, **options})


def spoilt(*steps: int, by: float = torch.nan, kill: int | None = None, times: int = 1):
    """The regression with its loss multiplied at some steps the first ``times`` times; killed at another."""
    met = []

    def loss(module: nn.Module, step: int):
        if step == kill and step not in met:
            raise Killed
        value, parts = regression(module, step)
        met.append(step)
        return (value * by if step in steps and met.count(step) <= times else value), parts

    return loss


def run_killed(folder: Path, loss, saved: int, settings: LoopSettings = SETTINGS) -> None:
    """Run into the kill, with the state saved once ``saved`` steps are done."""
    loop = make_loop(folder, loss, settings)
    inner = loop.loss

    def saving(module: nn.Module, step: int):
        if step == saved:
            loop.save()
        return inner(module, step)

    loop.loss = saving
    with pytest.raises(Killed):
        loop.run()


def weights(module: nn.Module) -> list[Tensor]:
    return [weight.clone() for weight in module.parameters()]


def same(first: Loop, second: Loop) -> bool:
    pairs = zip(weights(first.average), weights(second.average), strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and first.table() == second.table()


@pytest.mark.parametrize("saved", [1, 4, 7])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, saved, capsys):
    whole, cut = make_loop(tmp_path / "whole"), tmp_path / "cut"
    whole.run()
    run_killed(cut, spoilt(kill=saved), saved)
    resumed = make_loop(cut)
    resumed.run()
    assert f"resumes at step {saved}" in capsys.readouterr().err
    assert same(resumed, whole)


@pytest.mark.parametrize("by", [torch.nan, torch.inf, 1e9])
def test_a_divergence_goes_back_to_the_last_check_at_half_the_rate(tmp_path, capsys, by):
    loop = make_loop(tmp_path, spoilt(6, by=by))
    loop.run()
    assert "diverged at step 6" in capsys.readouterr().err
    assert loop.progress.diverged == [6]
    assert [row["learning_rate"] for row in loop.progress.rows] == [
        SETTINGS.rate(3), SETTINGS.rate(7) / 2, SETTINGS.rate(11) / 2
    ]  # fmt: skip
    first, plain = make_loop(tmp_path / "x"), loop.progress.rows[0]
    first.run()
    assert plain == first.progress.rows[0]


def test_the_second_divergence_ends_the_run_with_both_steps_named(tmp_path):
    loop = make_loop(tmp_path, spoilt(6, 9))
    with pytest.raises(UserError, match=r"diverged at step 9 .* at step 6 .*; lower lr = 0.05"):
        loop.run()


@pytest.mark.parametrize(("saved", "kill"), [(1, 2), (1, 6), (5, 5), (4, 7), (5, 8), (9, 11)])
def test_resumption_is_exact_across_a_divergence(tmp_path, saved, kill):
    """At the full learning rate, and only then, the loss of step 6 is NaN; the kill comes before or after it."""
    loops = []

    def loss(module: nn.Module, step: int):
        loop = loops[-1]
        loop_is_cut = len(loops) == 2
        if loop_is_cut and step == kill and loop.progress.diverged == ([6] if kill > 6 else []):
            raise Killed
        if loop_is_cut and step == saved:
            loop.save()
        value, parts = regression(module, step)
        return (value * torch.nan if step == 6 and not loop.progress.diverged else value), parts

    loops.append(make_loop(tmp_path / "whole", loss))
    loops[-1].run()
    loops.append(make_loop(tmp_path / "cut", loss))
    with pytest.raises(Killed):
        loops[-1].run()
    loops.append(make_loop(tmp_path / "cut", loss))
    loops[-1].run()
    assert loops[0].progress.diverged == [6] == loops[-1].progress.diverged
    assert same(loops[0], loops[-1])


def test_damaged_and_foreign_states_are_left_behind(tmp_path, capsys):
    run_killed(tmp_path, spoilt(kill=9), 6)
    other = make_loop(tmp_path, identity=["other"])
    other.run()
    assert "belongs to other data, settings or code" in capsys.readouterr().err
    run_killed(tmp_path, spoilt(kill=9), 6)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:100])
    again, fresh = make_loop(tmp_path), make_loop(tmp_path / "fresh")
    again.run()
    assert "cannot be read" in capsys.readouterr().err
    fresh.run()
    assert same(again, fresh)


def test_the_log_holds_means_since_the_last_check(tmp_path):
    seen = []

    def loss(module: nn.Module, step: int):
        value, parts = regression(module, step)
        seen.append(float(value.detach()))
        return value, parts

    loop = make_loop(tmp_path, loss, check=lambda module, step: {"weight": float(next(module.parameters())[0, 0])})
    loop.run()
    rows = loop.progress.rows
    assert [row["step"] for row in rows] == [4, 8, 12]
    assert [row["states"] for row in rows] == [16, 32, 48]
    for row, losses in zip(rows, (seen[:4], seen[4:8], seen[8:]), strict=True):
        assert row["loss"] == pytest.approx(sum(losses) / 4)
        assert row["part"] == pytest.approx(sum(losses) / 8)
        assert 0 < row["gradient_norm"] <= row["gradient_norm_max"]
    assert rows[-1]["weight"] == float(next(loop.average.parameters())[0, 0])
    header, *lines = loop.table().splitlines()
    assert header == ",".join([*COLUMNS, "part", "weight"])
    assert len(lines) == 3
    assert write_log([]) == ",".join(COLUMNS) + "\n"


def test_a_guard_ends_the_run_and_keeps_the_state(tmp_path):
    run_killed(tmp_path, spoilt(kill=9), 6)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def guard():
        raise UserError("changed")

    with pytest.raises(UserError, match="changed"):
        make_loop(tmp_path, guard=guard).run()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(("fits", "named"), [(3, "batch: 2 would fit"), (0, "smaller network")])
def test_too_little_memory_names_the_batch_that_fits(tmp_path, fits, named):
    """The loss asks the real allocator for four petabytes as soon as it is given more rows than ``fits``."""

    def loss(module: nn.Module, step: int):
        x = torch.randn(4, 3, generator=generator_of((step,)))[loop.rows]
        torch.empty(2**50 if len(x) > fits else 1)
        return module(x).square().mean(), {}

    loop = make_loop(tmp_path, loss)
    with pytest.raises(UserError, match=f"a batch of 4 needs more memory than there is; .*{named}"):
        loop.run()


def test_other_errors_of_a_loss_are_its_own(tmp_path):
    def loss(module: nn.Module, step: int):
        raise RuntimeError("a shape is wrong")

    with pytest.raises(RuntimeError, match="a shape is wrong"):
        make_loop(tmp_path, loss).run()


def test_dropout_is_a_function_of_the_step_and_leaves_the_global_stream_alone(tmp_path):
    def loss(module: nn.Module, step: int):
        masks.append(torch.rand(5))
        return regression(module, step)

    streams = []
    for name in ("a", "b"):
        masks: list[Tensor] = []
        loop = make_loop(tmp_path / name, loss)
        torch.manual_seed(len(streams))
        before = torch.get_rng_state()
        loop.run()
        assert torch.equal(torch.get_rng_state(), before)
        streams.append(torch.stack(masks))
    assert torch.equal(*streams)
    assert len(streams[0].unique()) > 50


@given(steps=st.integers(1, 200), checks=st.integers(1, 200))
def test_checks_are_evenly_spaced_and_end_with_the_run(steps, checks):
    settings = LoopSettings(steps=steps, checks=checks)
    points = [step for step in range(1, steps + 1) if settings.is_check(step)]
    assert len(points) == min(steps, checks)
    assert points[-1] == steps
    gaps = [b - a for a, b in itertools.pairwise([0, *points])]
    assert max(gaps) - min(gaps) <= 1


@given(steps=st.integers(2, 500), flat=st.floats(0, 0.9))
def test_the_rate_is_flat_then_falls_to_zero(steps, flat):
    settings = LoopSettings(steps=steps, flat=flat, lr=1e-3)
    rates = [settings.rate(step) for step in range(steps + 1)]
    assert all(a >= b for a, b in itertools.pairwise(rates))
    assert all(rate == 1e-3 for step, rate in enumerate(rates) if step <= flat * steps)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_the_average_forgets_at_its_half_life():
    settings = LoopSettings(steps=10_000, ema=0.02)
    module, average = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.constant_(module.weight, 0.0)
    nn.init.constant_(average.weight, 1.0)
    for step in range(5000, 5200):
        update_average(average, module, settings.decay(step))
    assert float(average.weight.detach()) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps = 0"),
        ({"batch": 1.5}, "batch = 1.5"),
        ({"lr": 0.0}, "lr = 0.0"),
        ({"lr": float("nan")}, "lr = nan"),
        ({"flat": 2}, "flat = 2"),
        ({"weight_decay": -1}, "weight_decay = -1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        LoopSettings(**settings)
