"""The stages by hand, on the micro tier: what one writes the next one reads."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from jensenbench.core.method import Capabilities, Method
from jensenbench.data.dataset import load_dataset, write_dataset
from jensenbench.errors import UserError
from jensenbench.experiment.config import read_tier
from jensenbench.experiment.expand import expand
from jensenbench.io.provenance import ROOT
from jensenbench.io.schema import SPLITS
from jensenbench.plugins.registry import make_pde
from jensenbench.stages import generate, sample
from tests.support.stages import prepare

PDE, PRIOR = "poisson-8", "gaussian-p1"


@pytest.fixture(scope="module")
def tier():
    return read_tier(ROOT / "config" / "micro.yaml")


@pytest.fixture(scope="module")
def files(tier, tmp_path_factory):
    return prepare(expand(tier), tmp_path_factory.mktemp("micro"))


def job_of(tier, variant="dps/corrected"):
    return expand(tier).sample[f"{PDE}/{PRIOR}/{variant}/0"]


def run_sample(job, files, out):
    sample.run(
        job=job, data=files.data(PDE), observations=files.observations(PDE), prior_file=files.prior(PDE, PRIOR, 0),
        out=out, command="by hand",
    )  # fmt: skip
    with h5py.File(out) as file:
        return {
            task: (dict(group.attrs), np.asarray(group["fields"]) if "fields" in group else None)
            for task, group in file.items()
        }


def test_the_data_file_carries_its_scales_and_floor(files, tier):
    dataset = load_dataset(files.data(PDE))
    states = dataset.split("reference")
    assert states.shape == (tier.data.reference, 2, 8, 8)
    assert dataset.floor < 1e-10 < dataset.floor_float32 < 1e-2
    assert torch.allclose(dataset.field_std, dataset.split("train").transpose(0, 1).flatten(1).std(1))


def test_splits_are_disjoint_and_do_not_move_when_another_grows(files, tier, tmp_path):
    dataset = load_dataset(files.data(PDE))
    bigger = replace(tier, data=replace(tier.data, train=tier.data.train + 7))
    generate.run(job=expand(bigger).generate[PDE], out=tmp_path / "bigger.h5")
    grown = load_dataset(tmp_path / "bigger.h5")
    assert torch.equal(grown.split("test"), dataset.split("test"))
    assert torch.equal(grown.split("train")[: tier.data.train], dataset.split("train"))
    rows = torch.cat([dataset.split(name).flatten(1) for name in SPLITS])
    assert len(torch.unique(rows, dim=0)) == len(rows)


def test_observations_are_the_truth_where_the_mask_is_on(files):
    with h5py.File(files.observations(PDE)) as file:
        for group in file.values():
            mask, values, truth = (np.asarray(group[key]) for key in ("mask", "values", "truth"))
            assert (values[mask == 0] == 0).all()
            assert (values[mask == 1] == truth[mask == 1]).all()


def test_equal_inputs_give_equal_samples(files, tier, tmp_path):
    first, second = (run_sample(job_of(tier), files, tmp_path / name) for name in ("a.h5", "b.h5"))
    for task, (attributes, fields) in first.items():
        assert attributes["status"] == "ok"
        assert np.array_equal(fields, second[task][1])


def test_draws_of_a_method_that_is_random_in_its_latent_alone_differ(files, tier, tmp_path):
    samples = run_sample(job_of(tier, "pcfm/corrected"), files, tmp_path / "a.h5")
    _, fields = samples["reconstruction_30"]
    assert fields.shape[1] == tier.draws
    assert fields.std(1).max() > 1e-3 * fields.std()


def test_batches_do_not_change_a_sample(files, tier, tmp_path):
    whole = run_sample(job_of(tier), files, tmp_path / "a.h5")
    parts = run_sample(replace(job_of(tier), batch=3), files, tmp_path / "b.h5")
    for task, (_, fields) in whole.items():
        assert np.abs(fields - parts[task][1]).max() <= 1e-9 * np.abs(fields).max()


class _Plugin(Method):
    """A method under test; not a plug-in file."""

    name, variants, capabilities = "plugin", {}, Capabilities()
    Config = type("Config", (), {})

    def sample(self, prior, problem, noise, *, fitted=None):
        x = noise(prior.shape)
        return self.misbehave(prior, x)


def outcome_of(tier, files, tmp_path, monkeypatch, misbehave):
    plugin = type("plugin", (_Plugin,), {"misbehave": staticmethod(misbehave)})
    monkeypatch.setattr("jensenbench.experiment.runner.make_method", lambda job, task="": plugin())
    attributes, fields = run_sample(job_of(tier), files, tmp_path / "x.h5")["unconditional"]
    assert fields is None
    return attributes


def test_divergence_budget_memory_and_mistakes_become_rows(files, tier, tmp_path, monkeypatch):
    def exhaust(prior, x):
        raise MemoryError

    def spend(prior, x):
        for _ in range(3):
            x = prior(x, 1.0)
        return x

    cases = {
        "diverged": lambda prior, x: prior(x * torch.nan, 2.0),
        "over_budget": spend,
        "out_of_memory": exhaust,
        "failed": lambda prior, x: x.no_such_attribute,
    }
    for status, misbehave in cases.items():
        attributes = outcome_of(replace(tier, budget=2), files, tmp_path, monkeypatch, misbehave)
        assert attributes["status"] == status
        assert attributes["reason"]


def test_a_killed_job_leaves_rows(files, tier, tmp_path):
    job, out = job_of(tier, "edm/heun"), tmp_path / "killed.h5"
    sample.give_up(
        job=job, data=files.data(PDE), prior_file=files.prior(PDE, PRIOR, 0), out=out,
        command="by hand", status="out_of_memory", reason="killed",
    )  # fmt: skip
    with h5py.File(out) as file:
        assert {group.attrs["status"] for group in file.values()} == {"out_of_memory"}
        assert set(file) == {task.label for task in job.tasks}


def test_a_data_file_of_something_else_is_refused(files, tmp_path):
    with pytest.raises(UserError, match="not a data file"):
        load_dataset(files.observations(PDE))


def test_states_that_are_not_finite_are_never_written(tmp_path):
    pde = make_pde("poisson", {"n": 8})
    splits = {name: pde.generate(range(4), seed=0) for name in SPLITS}
    splits["train"][2, 0, 3, 3] = torch.inf
    with pytest.raises(UserError, match="NaN or infinite"):
        write_dataset(tmp_path / "bad.h5", pde, splits, seed=0)
    assert list(tmp_path.iterdir()) == []
