"""The stage and the command: which rows they write, that equal inputs give equal bytes, what they refuse."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from jensenbench.cli import main
from jensenbench.core.codec import Codec
from jensenbench.data.dataset import write_dataset
from jensenbench.errors import UserError
from jensenbench.experiment.jobs import JensenJob, TrainJob
from jensenbench.io.schema import SPLITS
from jensenbench.jensen.curves import Subject, prior_rows
from jensenbench.jensen.settings import JensenSettings
from jensenbench.jensen.table import COLUMNS
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.network import NetworkPrior
from jensenbench.stages import jensen, train

SMALL = JensenSettings(
    levels=3, lowest=0.5, highest=20.0, states=6, probes=4, directions=4, probed_states=4, draws=4, drawn_states=2,
    every=2, steps=4,
)  # fmt: skip
JOB = JensenJob(pde="", settings=SMALL)
SIZES = {"train": 40, "validation": 8, "test": 2, "reference": 8}
NETWORK = {"kind": "network", "steps": 2, "batch": 4, "width": 8, "embedding": 16, "power": 1}


class _Still(torch.nn.Module):
    """A network that answers its input, whatever the level."""

    def forward(self, x, level):
        return x


def files(folder, name, settings, prior):
    pde = make_pde(name, settings)
    starts = dict(zip(SPLITS, (0, 1000, 2000, 3000), strict=True))
    splits = {key: pde.generate(range(starts[key], starts[key] + SIZES[key]), seed=0) for key in SPLITS}
    data, file = folder / "data.h5", folder / "0.safetensors"
    write_dataset(data, pde, splits, seed=0)
    job = TrainJob(pde=name, prior="prior", prior_settings=prior, seed=0)
    train.run(job=job, data=data, out=file, state_dir=folder / "state")
    return data, file


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return files(tmp_path_factory.mktemp("darcy"), "darcy", {"n": 8}, NETWORK)


@pytest.fixture(scope="module")
def rows(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "rows.csv"
    jensen.run(data=trained[0], prior_file=trained[1], out=out, job=JOB)
    return pd.read_csv(out)


def test_a_trained_prior_has_every_curve_that_applies(rows):
    assert list(rows.columns) == list(COLUMNS)
    found = {(row.law, row.estimator, row.power) for row in rows.itertuples()}
    assert found == {
        ("empirical", "empirical", 1),
        ("empirical", "tweedie", 1),
        ("empirical", "monte_carlo", 1),
        ("prior", "tweedie", 1),
        ("prior", "monte_carlo", 1),
        ("empirical", "empirical", 0),
    }
    assert set(rows[rows["estimator"] == "empirical"]["law_states"]) == {10, 20, 40}


def test_a_residual_splits_into_gap_and_network(rows):
    """|R(D)| lies between the difference and the sum of its two parts, at every level of the empirical law."""
    law = rows[(rows["estimator"] == "empirical") & (rows["power"] == 1) & (rows["law_states"] == 40)]
    own = rows[(rows["estimator"] == "tweedie") & (rows["law"] == "prior")]
    assert (law["network"] > 0).all()
    assert own["network"].notna().all()
    assert rows[rows["power"] == 0]["network"].isna().all()
    assert (law["denoised"].to_numpy() >= 0).all()
    assert (own["denoised"] > 0).all()


def test_intervals_hold_their_values(rows):
    for name in ("gap", "denoised", "posterior", "network"):
        known = rows.dropna(subset=[name])
        assert (known[f"{name}_low"] <= known[name] + 1e-12).all()
        assert (known[name] <= known[f"{name}_high"] + 1e-12).all()


def test_equal_inputs_give_equal_bytes(trained, tmp_path):
    texts = []
    for name in ("a.csv", "b.csv"):
        jensen.run(data=trained[0], prior_file=trained[1], out=tmp_path / name, job=JOB)
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]


def test_an_exact_prior_of_an_affine_equation_has_no_gap(tmp_path):
    data, prior = files(tmp_path, "poisson", {"n": 8}, {"kind": "gaussian", "power": 1})
    jensen.run(data=data, prior_file=prior, out=tmp_path / "x.csv", job=JOB)
    found = pd.read_csv(tmp_path / "x.csv")
    assert {"analytic", "empirical", "tweedie", "monte_carlo"} == set(found["estimator"])
    assert found["gap"].max() < 1e-9


def test_a_residual_without_a_hessian_says_so_and_keeps_its_other_curves():
    pde = make_pde("darcy", {"n": 8, "faces": "harmonic"})
    states = pde.generate(range(24), seed=0)
    subject = Subject(pde, Codec.fit(pde, states, power=1), 1.0, states, states)
    prior = subject.empirical
    rows = list(prior_rows(subject, SMALL, prior))
    said, drawn = [row for row in rows if "reason" in row], [row for row in rows if "reason" not in row]
    assert len(said) == SMALL.levels
    assert all("no constant Hessian" in row["reason"] and not row["usable"] for row in said)
    assert {row["estimator"] for row in drawn} == {"monte_carlo"}
    assert all(row["gap"] >= 0 for row in drawn)


def test_levels_outside_the_prior_are_said_and_settings_without_sense_refused():
    pde = make_pde("darcy", {"n": 8})
    states = pde.generate(range(24), seed=0)
    subject = Subject(pde, Codec.fit(pde, states, power=1), 1.0, states, states)
    network = NetworkPrior(_Still(), pde.shape)
    rows = list(prior_rows(subject, replace(SMALL, highest=200.0), network))
    outside = [row for row in rows if row["sigma"] == 200]
    assert {row["estimator"] for row in outside} == {"tweedie", "monte_carlo"}
    assert all("sigma = 200 lies outside" in row["reason"] and not row["usable"] for row in outside)
    assert any("gap" in row for row in rows)
    with pytest.raises(UserError, match="lowest = 30"):
        replace(SMALL, lowest=30.0)
    with pytest.raises(UserError, match="at least 2"):
        replace(SMALL, states=1)
    with pytest.raises(UserError, match="law_states = 1"):
        replace(SMALL, law_states=1)
    with pytest.raises(UserError, match="30 noisy states"):
        subject.noisy(1.0, replace(SMALL, states=30))


def test_the_command_prints_a_curve_and_refuses_half_its_files(capsys, tmp_path):
    assert main(["jensen", "--pde", "circle", "--prior", "empirical", "--states", "64", "--power", "0"]) == 0
    printed = capsys.readouterr().out
    assert "empirical" in printed
    assert "monte_carlo" in printed
    assert main(["jensen", "--pde", "circle", "--prior", "empirica"]) == 1
    assert "did you mean 'empirical'" in capsys.readouterr().err
    assert main(["jensen", "--pde", "circle", "--states", "1"]) == 1
    assert "1 states" in capsys.readouterr().err
    assert main(["jensen", "--data", str(tmp_path / "x.h5")]) == 1
    assert "together" in capsys.readouterr().err
