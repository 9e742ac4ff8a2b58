"""Training: batches by (seed, step), exact resumption, refusals, prior files, the stage."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch

from jensenbench.codec import Codec
from jensenbench.dataset import write_dataset
from jensenbench.errors import UnknownName, UserError
from jensenbench.pde import PDE
from jensenbench.priors import load_prior
from jensenbench.priors.network import NetworkPrior, network_precision
from jensenbench.priors.training import Trainer, TrainingData, apply_symmetries, denoising_loss, parse_settings
from jensenbench.registry import make_pde
from jensenbench.stages import train

MICRO = {"steps": 12, "batch": 4, "width": 8, "embedding": 16, "checks": 3}
CPU = torch.device("cpu")
PDE_8 = make_pde("poisson", {"n": 8})
STATES = PDE_8.generate(range(40), seed=0)


class Killed(Exception):
    pass


def make_data(train_states: torch.Tensor = STATES[:32], digest: str = "d") -> TrainingData:
    return TrainingData(PDE_8, Codec.fit(PDE_8, STATES, power=1), train_states, STATES[32:], digest)


def make_trainer(folder: Path, *, digest: str = "d", seed: int = 0, states=STATES[:32], **overrides) -> Trainer:
    settings, backbone = parse_settings({**MICRO, **overrides})
    data = make_data(states, digest)
    return Trainer(settings, backbone, data, seed=seed, state_dir=folder, device=CPU)


def kill_at(trainer: Trainer, step: int, saved: int) -> None:
    """Run until ``step``, having saved the state at ``saved`` steps."""
    original = trainer.batch

    def batch(current: int):
        if current == saved:
            trainer.loop.save()
        if current == step:
            raise Killed
        return original(current)

    trainer.batch = batch
    with pytest.raises(Killed):
        trainer.run()


def weights(prior: NetworkPrior) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in prior.tensors().items()}


@pytest.mark.parametrize("saved", [1, 6, 7])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, saved, capsys):
    whole = make_trainer(tmp_path / "whole")
    expected = weights(whole.run())
    kill_at(make_trainer(tmp_path / "cut"), 9, saved)
    resumed = make_trainer(tmp_path / "cut")
    actual = weights(resumed.run())
    assert f"resumes at step {saved}" in capsys.readouterr().err
    assert all(torch.equal(actual[name], value) for name, value in expected.items())
    assert resumed.loop.table() == whole.loop.table()


@pytest.mark.parametrize("change", [{"digest": "other"}, {"seed": 1}, {"lr": 1e-3}, {"width": 16}])
def test_state_of_another_training_is_not_taken_over(tmp_path, change, capsys):
    kill_at(make_trainer(tmp_path), 9, 6)
    other = make_trainer(tmp_path, **change)
    actual = weights(other.run())
    assert "belongs to other data, settings or code" in capsys.readouterr().err
    expected = weights(make_trainer(tmp_path / "fresh", **change).run())
    assert all(torch.equal(actual[name], value) for name, value in expected.items())


def test_damaged_state_is_left_behind(tmp_path, capsys):
    kill_at(make_trainer(tmp_path), 9, 6)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:100])
    make_trainer(tmp_path).run()
    assert "cannot be read" in capsys.readouterr().err


def test_batches_depend_on_seed_and_step_alone(tmp_path):
    first, second = make_trainer(tmp_path), make_trainer(tmp_path)
    first.batch(0)
    assert all(torch.equal(a, b) for a, b in zip(first.batch(5), second.batch(5), strict=True))
    assert not torch.equal(first.batch(5)[0], first.batch(6)[0])
    assert not torch.equal(first.batch(5)[2], make_trainer(tmp_path, seed=1).batch(5)[2])


def test_loss_falls(tmp_path):
    trainer = make_trainer(tmp_path, steps=80, lr=5e-3)
    trainer.run()
    losses = [row["loss"] for row in trainer.loop.progress.rows]
    assert losses[-1] < losses[0]
    assert trainer.loop.progress.rows[-1]["validation"] < 0.85  # 1 before training


def test_an_untrained_network_has_unit_loss(tmp_path):
    """EDM's weighting makes the target of F have variance one at every sigma, for states of std sigma_data."""
    trainer = make_trainer(tmp_path)
    clean = 0.5 * torch.randn(2000, *PDE_8.shape, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2000, *PDE_8.shape, generator=torch.Generator().manual_seed(1))
    for sigma in (0.01, 0.5, 50.0):
        with torch.no_grad():
            loss = denoising_loss(trainer.prior, clean, torch.full((2000,), sigma), noise).mean()
        assert float(loss) == pytest.approx(1, abs=0.02)


def test_rate_is_flat_then_falls_to_zero(tmp_path):
    trainer = make_trainer(tmp_path, steps=100, lr=1e-3)
    rates = [trainer.loop.rate(step) for step in range(101)]
    assert rates[:31] == [1e-3] * 31
    assert all(a > b for a, b in itertools.pairwise(rates[31:]))
    assert rates[100] == pytest.approx(0)


def test_augmentation_applies_the_chosen_symmetry():
    maps = PDE_8.symmetries()
    chance = (torch.arange(len(maps)) + 0.5) / len(maps)
    states = STATES[: len(maps)]
    moved = apply_symmetries(PDE_8, states, chance)
    for i, move in enumerate(maps):
        assert torch.equal(moved[i], move(states[i : i + 1])[0])


def test_divergence_names_the_step(tmp_path):
    poisoned = STATES[:32].clone()
    poisoned[:, :, 3, 3] = torch.nan
    with pytest.raises(UserError, match="diverged at step 0"):
        make_trainer(tmp_path, states=poisoned).run()


def test_settings_are_checked():
    with pytest.raises(UnknownName, match="did you mean 'steps'"):
        parse_settings({"stepz": 3})
    with pytest.raises(UnknownName, match="backbone"):
        parse_settings({"backbone": "unit"})
    with pytest.raises(UserError, match="positive"):
        parse_settings({"steps": 0})
    settings, backbone = parse_settings({"steps": 7, "width": 16})
    assert (settings.steps, backbone.width) == (7, 16)


def test_precision_is_decided_once():
    assert network_precision("float32", CPU) == "float32"
    has_amx = bool(torch.cpu.get_capabilities().get("amx_bf16"))
    assert network_precision("auto", CPU) == ("bfloat16" if has_amx else "float32")
    with pytest.raises(UnknownName, match="autocast"):
        network_precision("fp8", CPU)


def make_file(path: Path, pde: PDE) -> Path:
    splits = {"train": STATES[:20], "validation": STATES[20:28], "test": STATES[28:30], "reference": STATES[30:]}
    write_dataset(path, pde, splits, seed=0)
    return path


def run_stage(folder: Path, name: str, settings: dict) -> Path:
    data, out = folder / "data.h5", folder / name / "0.safetensors"
    if not data.exists():
        make_file(data, PDE_8)
    train.run(data=data, out=out, settings=settings, label="p", seed=0, state_dir=folder / name / "state")
    return out


KINDS = {"network": {"kind": "network", "autocast": "float32", **MICRO}, "gaussian": {"kind": "gaussian", "power": 1}}


@pytest.mark.parametrize("kind", KINDS)
def test_stage_writes_equal_bytes_and_reads_them_back(tmp_path, kind):
    first, second = (run_stage(tmp_path, name, KINDS[kind]) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".log.csv").read_bytes() == second.with_suffix(".log.csv").read_bytes()
    assert first.with_suffix(".timing.json").exists()
    assert not (tmp_path / "a/state/checkpoint.pt").exists()
    loaded = load_prior(first, PDE_8)
    assert (loaded.kind, loaded.label) == (kind, "p")
    assert torch.isfinite(loaded.denoiser(loaded.codec.encode(STATES), 1.0)).all()


def test_trained_weights_survive_the_file(tmp_path):
    loaded = load_prior(run_stage(tmp_path, "a", KINDS["network"]), PDE_8)
    settings, backbone = parse_settings({k: v for k, v in KINDS["network"].items() if k != "kind"})
    data = dataclasses.replace(make_data(STATES[:20]), codec=Codec.fit(PDE_8, STATES[:20], power=1))
    expected = Trainer(settings, backbone, data, seed=0, state_dir=tmp_path / "x", device=CPU).run()
    x = loaded.codec.encode(STATES)
    assert torch.equal(loaded.denoiser(x, 0.3), expected(x, 0.3))


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = run_stage(tmp_path, "a", KINDS["gaussian"])
    with pytest.raises(UserError, match="is a prior of poisson-8"):
        load_prior(path, make_pde("poisson", {"n": 9}))
    content = path.read_bytes()
    for damaged, message in ((content[: len(content) // 2], "truncated"), (content[:-8] + b"\1" * 8, "digest")):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=message):
            load_prior(path, PDE_8)
    with pytest.raises(UserError, match="does not exist"):
        load_prior(tmp_path / "none.safetensors", PDE_8)


def test_kinds_without_a_file_and_missing_gpus_are_refused(tmp_path):
    with pytest.raises(UnknownName, match="built from data"):
        run_stage(tmp_path, "a", {"kind": "mixture"})
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no usable GPU"):
            train.run(
                data=tmp_path / "data.h5", out=tmp_path / "o", settings=KINDS["network"], label="p", seed=0,
                device="cuda", state_dir=tmp_path,
            )  # fmt: skip
