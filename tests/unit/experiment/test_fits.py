"""Stages ``pairs`` and ``fit``: shared artefacts, resumption, and failures that become rows."""

import json
import os
from dataclasses import asdict, dataclass, field, replace

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from jensenbench.core.method import Capabilities, Method
from jensenbench.core.settings import configure
from jensenbench.errors import Diverged, UserError
from jensenbench.experiment.config import VariantEntry, read_tier
from jensenbench.experiment.expand import expand, pairs_job
from jensenbench.experiment.fits import Fitted, load_fit
from jensenbench.experiment.jobs import digest
from jensenbench.io.provenance import ROOT
from jensenbench.plugins.registry import load_method
from jensenbench.priors.pairs import Pairs, PairSettings
from jensenbench.stages import fit, pairs, sample
from tests.support.stages import prepare

PDE, PRIOR, PAIRS = "poisson-8", "gaussian-p1", PairSettings(count=6, steps=3, batch=4)


@dataclass(frozen=True, kw_only=True)
class Learning:
    steps: int = 2
    pairs: PairSettings = PAIRS


@dataclass(frozen=True, kw_only=True)
class Settings:
    gain: float = 1.0
    fit: Learning = field(default_factory=Learning)


class Shift(nn.Module):
    """Adds what was learnt."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return x + self.shift


class Learner(Method):
    """Learns the mean of the pairs' states; not a plug-in file."""

    name, Fit, Config, capabilities = "learner", Learning, Settings, Capabilities(trains=True)
    variants = {"plain": Settings(), "strong": Settings(gain=2.0)}

    def build(self, prior, problem):
        return Shift()

    def fit(self, prior, problem, data, *, state_dir, seed, pairs=None):
        module = self.build(prior, problem)
        module.shift.data += self.config.fit.steps + pairs.round(0)[1].double().mean()
        return module

    def sample(self, prior, problem, noise, *, fitted=None):
        return self.config.gain * fitted(noise(prior.shape)).detach()


class Failing(Learner):
    name = "failing"

    def fit(self, prior, problem, data, **options):
        raise Diverged("step 3")


class Refusing(Failing):
    name = "refusing"

    def skip(self, problem):
        return "not this equation"


PLUGINS: dict[str, type[Method]] = {"learner": Learner, "failing": Failing, "refusing": Refusing}


@pytest.fixture(autouse=True)
def plugins(monkeypatch):
    for module in ("stages.fit", "experiment.runner", "experiment.expand"):
        monkeypatch.setattr(f"jensenbench.{module}.load_method", PLUGINS.__getitem__)
    for module in ("stages.fit", "experiment.runner"):
        monkeypatch.setattr(f"jensenbench.{module}.stage_digest", lambda stage, **plugins: "code")


@pytest.fixture(scope="module")
def tier():
    return read_tier(ROOT / "config" / "micro.yaml")


@pytest.fixture
def learning(tier):
    """The tier with these methods, two variants each."""
    return replace(tier, methods={name: {"plain": VariantEntry(), "strong": VariantEntry()} for name in PLUGINS})


@pytest.fixture(scope="module")
def layout(tier, tmp_path_factory):
    return prepare(expand(replace(tier, methods={})), tmp_path_factory.mktemp("micro"))


def run_fit(tier, layout, folder, method="learner"):
    """The stages ``pairs`` and ``fit`` of a method by hand; the fit's file."""
    (job,) = [job for job in expand(tier).fit.values() if job.method == method]
    shared = {"data": layout.data(PDE), "prior_file": layout.prior(PDE, PRIOR, 0)}
    pairs.run(job=pairs_job(job), out=folder / "pairs.json", **shared)
    out, state = folder / "module.safetensors", folder / "state"
    fit.run(job=job, pairs=folder / "pairs.json", out=out, state_dir=state, **shared)
    return out


def run_sample(tier, layout, fitted, out, key):
    sample.run(
        job=expand(tier).sample[f"{PDE}/{PRIOR}/{key}/0"], data=layout.data(PDE),
        observations=layout.observations(PDE), prior_file=layout.prior(PDE, PRIOR, 0), fitted=fitted, out=out,
        command="by hand",
    )  # fmt: skip
    with h5py.File(out) as file:
        return {
            task: (dict(group.attrs), np.asarray(group["fields"]) if "fields" in group else None)
            for task, group in file.items()
        }


def test_variants_share_the_fit_of_their_settings(learning):
    jobs = expand(learning)
    assert len(jobs.sample) == 2 * len(PLUGINS)
    assert {job.method for job in jobs.fit.values()} == set(PLUGINS)
    assert len(jobs.fit) == len(PLUGINS)
    (shared,) = jobs.pairs.values()
    assert shared.settings == asdict(PAIRS)


def test_nested_settings_merge_and_name_another_fit(learning):
    changed = configure("learner setting", Settings(), {"fit": {"pairs": {"count": 9}}})
    assert changed.fit == Learning(pairs=replace(PAIRS, count=9))
    assert digest(changed.fit) != digest(Settings().fit)
    with pytest.raises(UserError, match=r"did you mean 'fit\.pairs\.count'"):
        configure("learner setting", Settings(), {"fit": {"pairs": {"cuont": 9}}})


def test_samples_are_drawn_with_the_fitted_module(learning, layout, tmp_path):
    fitted = run_fit(learning, layout, tmp_path)
    plain = run_sample(learning, layout, fitted, tmp_path / "a.h5", "learner/plain")["unconditional"]
    strong = run_sample(learning, layout, fitted, tmp_path / "b.h5", "learner/strong")["unconditional"]
    assert plain[0]["status"] == "ok"
    assert plain[0]["nfe"] == 1
    assert plain[0]["fit_digest"] == strong[0]["fit_digest"] == load_fit(fitted).digest
    assert np.allclose(2 * np.diff(plain[1], axis=0), np.diff(strong[1], axis=0))


def test_a_method_that_trains_asks_for_its_fit(learning, layout, tmp_path):
    with pytest.raises(UserError, match="stage `fit`"):
        run_sample(learning, layout, None, tmp_path / "a.h5", "learner/plain")


def test_a_failed_fit_is_a_row_with_its_reason(learning, layout, tmp_path):
    fitted = run_fit(learning, layout, tmp_path, "failing")
    for attributes, fields in run_sample(learning, layout, fitted, tmp_path / "a.h5", "failing/plain").values():
        assert (attributes["status"], attributes["reason"], fields) == ("diverged", "fit: step 3", None)


def test_a_problem_that_the_method_skips_is_not_fitted(learning, layout, tmp_path):
    fitted = run_fit(learning, layout, tmp_path, "refusing")
    assert (load_fit(fitted).status, load_fit(fitted).reason) == ("skipped", "not this equation")
    for attributes, fields in run_sample(learning, layout, fitted, tmp_path / "a.h5", "refusing/plain").values():
        assert (attributes["status"], attributes["reason"], fields) == ("skipped", "not this equation", None)


def test_failed_pairs_fail_the_fit(learning, layout, tmp_path, monkeypatch):
    monkeypatch.setattr("jensenbench.priors.pairs.deterministic_sample", lambda prior, settings, noise: noise * np.nan)
    found = load_fit(run_fit(learning, layout, tmp_path))
    assert found.status == "diverged"
    assert found.reason.startswith("teacher pairs: pairs 0 to 3")


def test_equal_inputs_give_equal_bytes(learning, layout, tmp_path):
    first, second = (run_fit(learning, layout, tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a/pairs.json").read_bytes() == (tmp_path / "b/pairs.json").read_bytes()
    assert first.with_suffix(".timing.json").exists()
    assert (tmp_path / "a/pairs.timing.json").exists()
    assert not (tmp_path / "a/state").exists()


def test_state_of_another_fit_is_emptied_and_time_of_killed_runs_counts(tmp_path):
    state = tmp_path / "state"
    assert fit.claim(state, {"seed": 0}) == 0
    (state / "checkpoint").touch()
    begun = json.loads((state / "fit.json").read_text())["begun"]
    os.utime(state / "checkpoint", (begun + 7, begun + 7))
    assert fit.claim(state, {"seed": 0}) == pytest.approx(7, abs=1e-3)
    assert (state / "checkpoint").exists()
    assert fit.claim(state, {"seed": 1}) == 0
    assert not (state / "checkpoint").exists()


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="weights do not fit"):
        Fitted(tensors={"other": torch.zeros(())}).restore(Learner(), None, None)


def test_trains_and_the_field_fit_go_together(tier, monkeypatch):
    monkeypatch.setattr(Learner, "Config", type("Config", (), {}))
    liar = type("Liar", (Learner,), {"variants": {"plain": PAIRS}})
    monkeypatch.setattr("jensenbench.experiment.expand.load_method", lambda name: liar)
    with pytest.raises(UserError, match="go together"):
        expand(replace(tier, methods={"liar": {"plain": VariantEntry()}}))


def test_a_missing_index_names_its_stage(tmp_path):
    with pytest.raises(UserError, match="stage `pairs`"):
        Pairs.load(tmp_path / "pairs.json")


def test_samples_of_a_method_that_learns_nothing_have_no_fit(tier, monkeypatch):
    monkeypatch.setattr("jensenbench.experiment.expand.load_method", load_method)
    assert expand(tier).sample[f"{PDE}/{PRIOR}/edm/heun/0"].fit() is None
