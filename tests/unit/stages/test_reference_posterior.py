"""The stage that samples reference posteriors: files, resumption, verdicts, bad input."""

from dataclasses import asdict, replace

import pytest
import torch

from jensenbench.cli import main
from jensenbench.data.dataset import load_dataset, write_dataset
from jensenbench.data.observations import load_observation
from jensenbench.errors import UserError
from jensenbench.experiment.config import parse_tier
from jensenbench.experiment.expand import expand
from jensenbench.io.files import canonical_json
from jensenbench.io.schema import SPLITS
from jensenbench.plugins.registry import make_pde
from jensenbench.posteriors.chains import Chains, ChainSettings
from jensenbench.posteriors.files import ReferencePosterior, verdict
from jensenbench.stages import observe, reference_posterior

LABEL, TASK = "darcy-lognormal-6", "reconstruction_30_noise0.2"
TINY = ChainSettings("informed", chains=4, warmup=16, steps=24, snapshots=2)
RAW = {
    "tier": "t",
    "priors": {"network": {"kind": "network"}},
    "pdes": [{"pde": "darcy", "settings": {"n": 6, "law": "lognormal"}, "priors": ["network"]}],
    "tasks": ["unconditional", "forward", {"task": "reconstruction_30", "noise_std": 0.2}],
    "methods": {"edm": {"heun": {}}},
    "instances": 2,
}


def job_of(raw):
    """What the stage reads of a tier."""
    return expand(parse_tier(raw)).observe[LABEL]


@pytest.fixture
def files(tmp_path):
    pde = make_pde("darcy", {"n": 6, "law": "lognormal"})
    splits = {name: pde.generate(range(20 * i, 20 * i + 16), seed=0) for i, name in enumerate(SPLITS)}
    write_dataset(tmp_path / "data.h5", pde, splits, seed=0)
    observe.run(job=job_of(RAW), data=tmp_path / "data.h5", out=tmp_path / "observations.h5")
    return {"data": tmp_path / "data.h5", "observations": tmp_path / "observations.h5"}


def run(files, out, state, settings=TINY, **others):
    reference_posterior.run(
        job=job_of(RAW), out=out, state_dir=state, settings=settings, **{**files, "instances": 1, **others}
    )
    return out / LABEL / TASK / "0.safetensors"


def test_a_file_holds_the_posterior_of_the_tasks_own_data(files, tmp_path):
    path = run(files, tmp_path / "out", tmp_path / "state", instances=None)
    found, data = ReferencePosterior.load(path), load_observation(files["observations"], TASK)
    dataset = load_dataset(files["data"])
    assert found.is_of(data.subset([0]), dataset.field_std)
    assert not found.is_of(data.subset([1]), dataset.field_std)
    assert not found.is_of(replace(data.subset([0]), noise_std=0.1), dataset.field_std)
    assert found.meta["settings"] == asdict(TINY)
    assert path.with_name("1.safetensors").exists()
    states = dataset.pde.latent_map()(found.latents.double())
    assert states.shape == (8, *dataset.pde.shape)
    assert float(dataset.pde.residual(states)["interior"].abs().max()) < 1e-9
    assert torch.allclose(found.mean, states.mean(0), atol=float(5 * found.std.max()))
    assert not (tmp_path / "state" / LABEL / TASK / "0").exists()


@pytest.mark.parametrize("steps", [5, 20, 30])
def test_a_killed_run_ends_in_the_same_bytes(files, tmp_path, monkeypatch, steps):
    whole = run(files, tmp_path / "whole", tmp_path / "a").read_bytes()
    advance = Chains.advance

    def killed(chains):
        if chains.state.done == steps:
            raise KeyboardInterrupt
        advance(chains)

    monkeypatch.setattr("jensenbench.posteriors.chains.SAVE_EVERY", 4)
    monkeypatch.setattr(Chains, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        run(files, tmp_path / "out", tmp_path / "b")
    monkeypatch.setattr(Chains, "advance", advance)
    assert run(files, tmp_path / "out", tmp_path / "b").read_bytes() == whole


def test_what_is_there_stays_unless_the_settings_differ(files, tmp_path, monkeypatch):
    path = run(files, tmp_path / "out", tmp_path / "state")
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Chains, "advance", lambda chains: pytest.fail("sampled again"))
        run(files, tmp_path / "out", tmp_path / "state")
    run(files, tmp_path / "out", tmp_path / "state", replace(TINY, steps=32))
    assert path.read_bytes() != before


def test_chains_that_did_not_converge_are_marked(files, tmp_path):
    found = ReferencePosterior.load(run(files, tmp_path / "out", tmp_path / "state"))
    assert found.status == "failed"
    assert "did not converge" in found.reason
    good, many = torch.tensor([1.0, 1.009]), torch.tensor([401.0, 900.0])
    assert verdict(good, many) == ("ok", "")
    assert verdict(good + 0.002, many)[0] == "failed"
    assert verdict(good, many - 1)[0] == "failed"


def test_a_damaged_file_is_refused(files, tmp_path):
    path = run(files, tmp_path / "out", tmp_path / "state")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match="truncated"):
        ReferencePosterior.load(path)


def test_bad_input_is_one_line(files, tmp_path, capsys):
    with pytest.raises(UserError, match="did you mean 'reconstruction_30_noise"):
        run(files, tmp_path / "out", tmp_path / "state", task="reconstruction_30")
    with pytest.raises(UserError, match="instances = 9"):
        run(files, tmp_path / "out", tmp_path / "state", instances=9)
    with pytest.raises(UserError, match="no task with noise"):
        reference_posterior.noisy_tasks(job_of({**RAW, "tasks": ["forward"]}), None)
    config = tmp_path / "tier.json"
    config.write_text(canonical_json(RAW))
    paths = [f"--{name}={path}" for name, path in files.items()]
    command = ["reference-posterior", f"--tier={config}", f"--pde={LABEL}", *paths, "--sampler=gibbs"]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "gibbs" in error
