"""Training: batches by (seed, step), exact resumption of every backbone, refusals, prior files, the stage."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import torch

from jensenbench.core.codec import Codec
from jensenbench.core.pde import PDE
from jensenbench.data.dataset import load_dataset, write_dataset
from jensenbench.errors import UnknownName, UserError
from jensenbench.experiment.jobs import TrainJob
from jensenbench.plugins.registry import make_pde
from jensenbench.priors import loop
from jensenbench.priors.backbones.build import BACKBONES, build_backbone
from jensenbench.priors.io import BuiltPrior, load_prior, save_prior
from jensenbench.priors.network import NetworkPrior, network_precision
from jensenbench.priors.training import Trainer, TrainingData, apply_symmetries, denoising_loss, parse_settings
from jensenbench.stages import train

SHORT = {"steps": 12, "batch": 4, "checks": 3}
MICRO = {**SHORT, "width": 8, "embedding": 16}
CPU = torch.device("cpu")
PDE_8 = make_pde("poisson", {"n": 8})
STATES = PDE_8.generate(range(40), seed=0)


class Killed(Exception):
    pass


def make_data(train_states: torch.Tensor = STATES[:32], digest: str = "d") -> TrainingData:
    return TrainingData(PDE_8, Codec.fit(PDE_8, STATES, power=1), train_states, STATES[32:], digest)


def make_trainer(folder: Path, *, digest: str = "d", seed: int = 0, states=STATES[:32], **overrides) -> Trainer:
    micro = MICRO if "backbone" not in overrides else SHORT
    settings, backbone = parse_settings({**micro, **overrides})
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


@cache
def micro_backbone(name: str) -> dict[str, object]:
    """Settings with every whole number halved for as long as the network can be built."""
    settings = BACKBONES[name].settings
    for field in dataclasses.fields(settings):
        while isinstance(value := getattr(settings, field.name), int) and value > 1:
            try:
                smaller = dataclasses.replace(settings, **{field.name: value // 2})
                build_backbone(name, *PDE_8.shape[:1], PDE_8.shape[1:], smaller)
            except UserError:
                break
            settings = smaller
    return {"backbone": name, **dataclasses.asdict(settings)}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_resumes_exactly(tmp_path, name):
    options = {"states": STATES[:32], **micro_backbone(name)}
    whole = make_trainer(tmp_path / "whole", **options)
    expected = weights(whole.run())
    kill_at(make_trainer(tmp_path / "cut", **options), 7, 6)
    resumed = make_trainer(tmp_path / "cut", **options)
    actual = weights(resumed.run())
    assert resumed.loop.seconds_before > 0
    assert all(torch.equal(actual[key], value) for key, value in expected.items())
    assert resumed.loop.table() == whole.loop.table()


@pytest.mark.parametrize("saved", [1, 6, 7])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, saved, capsys):
    whole = make_trainer(tmp_path / "whole")
    expected = weights(whole.run())
    kill_at(make_trainer(tmp_path / "cut"), saved, saved)
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


def test_divergence_names_the_step(tmp_path, capsys):
    trainer = make_trainer(tmp_path)
    original = trainer.batch
    trainer.batch = lambda step: tuple(part * torch.nan if step == 5 else part for part in original(step))
    with pytest.raises(UserError, match="diverged at step 5"):
        trainer.run()
    assert "goes back to step 4 with half the learning rate" in capsys.readouterr().err


def test_measures_of_the_caller_join_the_log(tmp_path):
    settings, backbone = parse_settings(MICRO)
    trainer = Trainer(
        settings, backbone, make_data(), seed=0, state_dir=tmp_path, device=CPU,
        quality=lambda prior, codec: {"spread": float(codec.decode(prior(torch.ones(1, *prior.shape), 1.0)).std())},
    )  # fmt: skip
    trainer.run()
    header, *rows = trainer.loop.table().splitlines()
    assert header.split(",")[-1] == "quality_spread"
    assert len({row.split(",")[-1] for row in rows}) == 3


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (Codec.fit(PDE_8, STATES, power=0), "codec has power 0, the settings ask for 1"),
        (Codec.fit(PDE_8, STATES, power=1, sigma_data=1.0), "sigma_data = 0.5; fit the codec"),
    ],
)
def test_a_codec_that_does_not_fit_is_refused(tmp_path, codec, message):
    settings, backbone = parse_settings(MICRO)
    data = dataclasses.replace(make_data(), codec=codec)
    with pytest.raises(UserError, match=message):
        Trainer(settings, backbone, data, seed=0, state_dir=tmp_path, device=CPU)


def test_settings_are_checked():
    with pytest.raises(UnknownName, match="did you mean 'steps'"):
        parse_settings({"stepz": 3})
    with pytest.raises(UnknownName, match="backbone"):
        parse_settings({"backbone": "unit"})
    with pytest.raises(UserError, match="positive"):
        parse_settings({"steps": 0})
    with pytest.raises(UserError, match="batch = 4 does not divide among processes = 3"):
        parse_settings({"batch": 4, "processes": 3})
    settings, backbone = parse_settings({"steps": 7, "width": 16})
    assert (settings.steps, backbone.width) == (7, 16)


def test_precision_is_decided_once():
    assert network_precision("float32", CPU) == "float32"
    has_amx = bool(torch.cpu.get_capabilities().get("amx_bf16"))
    assert network_precision("auto", CPU) == ("bfloat16" if has_amx else "float32")
    with pytest.raises(UnknownName, match="autocast"):
        network_precision("fp8", CPU)


def make_file(path: Path, pde: PDE, states: torch.Tensor = STATES) -> Path:
    splits = {"train": states[:20], "validation": states[20:28], "test": states[28:30], "reference": states[30:]}
    write_dataset(path, pde, splits, seed=0)
    return path


def job_of(settings: dict, device: str = "cpu") -> TrainJob:
    return TrainJob(pde=PDE_8.label, prior="p", prior_settings=settings, seed=0, device=device)


def run_stage(folder: Path, name: str, settings: dict) -> Path:
    data, out = folder / "data.h5", folder / name / "0.safetensors"
    if not data.exists():
        make_file(data, PDE_8)
    train.run(job=job_of(settings), data=data, out=out, state_dir=folder / name / "state")
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


def test_files_that_are_not_what_is_asked_for_are_refused(tmp_path):
    path = run_stage(tmp_path, "a", KINDS["network"])
    asked = {"data_digest": load_dataset(tmp_path / "data.h5").digest, "settings": KINDS["network"]}
    assert load_prior(path, PDE_8, **asked).kind == "network"
    with pytest.raises(UserError, match=r"made with data_digest = .* asked for is 'other'"):
        load_prior(path, PDE_8, data_digest="other")
    for key, value in (("power", 0), ("width", 16), ("kind", "gaussian"), ("steps", 13)):
        with pytest.raises(UserError, match=f"made with {key} = .*, asked for is {value!r}; delete it"):
            load_prior(path, PDE_8, settings={**KINDS["network"], key: value})


@pytest.mark.parametrize(
    ("settings", "power", "message"),
    [({}, 0, "codec has power 0, its settings say 1"), ({"sigma_data": 1.0}, 1, "trained for sigma_data = 1.0")],
)
def test_files_whose_codec_does_not_fit_are_refused(tmp_path, settings, power, message):
    path = run_stage(tmp_path, "a", KINDS["network"])
    loaded = load_prior(path, PDE_8)
    wrong = BuiltPrior(loaded.denoiser, Codec.fit(PDE_8, STATES, power=power), {**loaded.meta["settings"], **settings})
    save_prior(path, wrong, pde=PDE_8, label="p", seed=0, data_digest="d")
    with pytest.raises(UserError, match=message):
        load_prior(path, PDE_8)


def test_data_that_change_under_a_training_end_it_and_keep_its_state(tmp_path, monkeypatch):
    expected = run_stage(tmp_path, "whole", KINDS["network"]).read_bytes()
    data, original, batch = tmp_path / "data.h5", tmp_path / "original.h5", Trainer.batch
    shutil.copy(data, original)

    def change(trainer: Trainer, step: int):
        if step == 6:
            make_file(data, PDE_8, STATES.flip(0))
        return batch(trainer, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(Trainer, "batch", change)
        with pytest.raises(UserError, match=r"data.h5 changed while it was in use: nothing is written"):
            run_stage(tmp_path, "cut", KINDS["network"])
    assert not (tmp_path / "cut/0.safetensors").exists()
    assert (tmp_path / "cut/state/checkpoint.pt").exists()
    shutil.copy(original, data)
    assert run_stage(tmp_path, "cut", KINDS["network"]).read_bytes() == expected


def test_the_stage_measures_the_prior_at_checks(tmp_path):
    out = run_stage(tmp_path, "a", {**KINDS["network"], "quality": 4})
    header, *rows = out.with_suffix(".log.csv").read_text().splitlines()
    assert "quality_residual_rel" in header
    assert len(rows) == 3


def test_kinds_without_a_file_and_missing_gpus_are_refused(tmp_path):
    with pytest.raises(UnknownName, match="student"):
        run_stage(tmp_path, "a", {"kind": "student"})
    with pytest.raises(UserError, match="no exact mixture prior"):
        run_stage(tmp_path, "a", {"kind": "mixture"})
    if not torch.cuda.is_available():
        for settings in (KINDS["network"], {**KINDS["network"], "processes": 2}):
            with pytest.raises(UserError, match="no usable GPU"):
                train.run(
                    job=job_of(settings, "cuda"), data=tmp_path / "data.h5", out=tmp_path / "o", state_dir=tmp_path
                )


def test_a_group_of_another_size_than_the_settings_ask_for_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="processes = 2, but WORLD_SIZE = 3"):
        run_stage(tmp_path, "a", {**KINDS["network"], "processes": 2})


STAGE = """
import json, sys
from pathlib import Path
from jensenbench.experiment.jobs import TrainJob
from jensenbench.priors import loop
from jensenbench.stages import train
loop.CHECKPOINT_SECONDS = 0.0
data, out, state, settings = sys.argv[1:]
job = TrainJob(pde="poisson-8", prior="p", prior_settings=json.loads(settings), seed=0)
train.run(job=job, data=Path(data), out=Path(out), state_dir=Path(state))
"""


def start_stage(folder: Path, name: str, settings: dict, **environment: str) -> subprocess.Popen:
    """Start the stage in a process of its own, which saves its state at every step."""
    paths = [folder / "data.h5", folder / name / "0.safetensors", folder / name / "state"]
    command = [sys.executable, "-c", STAGE, *map(str, paths), json.dumps(settings)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment)


def kill_stage(folder: Path, name: str, settings: dict) -> None:
    """Start the stage and end it by SIGKILL once it has saved its state."""
    process = start_stage(folder, name, settings)
    while not (folder / name / "state" / "checkpoint.pt").exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / name / "0.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_a_stage_ended_by_sigkill_goes_on_to_the_same_bytes(tmp_path, name, capsys):
    settings = {"kind": "network", **SHORT, "steps": 40, **micro_backbone(name)}
    whole = run_stage(tmp_path, "whole", settings)
    kill_stage(tmp_path, "cut", settings)
    capsys.readouterr()
    resumed = run_stage(tmp_path, "cut", settings)
    assert "resumes at step" in capsys.readouterr().err
    assert resumed.read_bytes() == whole.read_bytes()
    assert resumed.with_suffix(".log.csv").read_bytes() == whole.with_suffix(".log.csv").read_bytes()


@pytest.mark.slow
def test_two_processes_train_what_one_trains_and_resume_exactly(tmp_path):
    """Sums in another order: float32 rounding, which AdamW magnifies where gradients vanish."""
    settings = {**KINDS["network"], "steps": 40}
    one = run_stage(tmp_path, "one", settings)
    two = run_stage(tmp_path, "two", {**settings, "processes": 2})
    kill_stage(tmp_path, "cut", {**settings, "processes": 2})
    resumed = run_stage(tmp_path, "cut", {**settings, "processes": 2})
    assert resumed.read_bytes() == two.read_bytes()
    assert resumed.with_suffix(".log.csv").read_bytes() == two.with_suffix(".log.csv").read_bytes()
    x = torch.randn(8, *PDE_8.shape, generator=torch.Generator().manual_seed(0))
    first, second = (load_prior(path, PDE_8).denoiser(x, 1.0) for path in (one, two))
    assert torch.linalg.vector_norm(first - second) < 2e-5 * torch.linalg.vector_norm(first)


@pytest.mark.slow
def test_processes_that_torchrun_starts_train_what_the_stage_starts(tmp_path):
    settings = {**KINDS["network"], "processes": 2}
    expected = run_stage(tmp_path, "two", settings)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    ranks = [start_stage(tmp_path, "run", settings, RANK=str(rank), LOCAL_RANK=str(rank), **address) for rank in (0, 1)]
    assert [process.communicate() and process.returncode for process in ranks] == [0, 0]
    assert (tmp_path / "run/0.safetensors").read_bytes() == expected.read_bytes()


@pytest.mark.slow
def test_the_error_of_a_process_is_the_error_of_the_group(tmp_path, monkeypatch):
    settings = {**KINDS["network"], "lr": 1e30, "processes": 2}
    with pytest.raises(UserError, match=r"^train poisson-8/p/0: training diverged at step \d+ [^\n]*$"):
        run_stage(tmp_path, "a", settings)
