"""The page about priors: rows, floors, pairs that differ in one thing, trainings; nothing where nothing was trained."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jensenbench.evaluation.prior_quality import QUALITIES
from jensenbench.io.files import canonical_json, write_text
from jensenbench.io.layout import Layout
from jensenbench.priors.build import build_prior
from jensenbench.priors.io import save_prior
from jensenbench.priors.log import write_log
from jensenbench.reporting.figures import training
from jensenbench.reporting.pages import priors
from jensenbench.reporting.results import Results, load_results
from tests.support.synthetic_results import ENTRIES, Entry, build

PDE, SEEDS = "poisson-12", (0, 1, 2)
ENTRIES_WITH_FLOOR = (*ENTRIES, Entry("control", "data_floor", 0.01))
TRAINED = {"kind": "network", "steps": 10, "quality": 16}
PRIORS = {
    "gaussian-p1": ({"kind": "gaussian", "power": 1}, 0.1),
    "network-p0": ({**TRAINED, "power": 0}, 4.0),
    "network-p1": ({**TRAINED, "power": 1}, 1.0),
    "fno-p1": ({**TRAINED, "power": 1, "backbone": "fno"}, 1.001),
    "longer-p1": ({**TRAINED, "power": 1, "steps": 20}, 0.5),
}


def write_trainings(root: Path) -> None:
    """A log and a timing of every seed of the trained priors; one file of weights."""
    layout = Layout(root)
    for prior, (settings, factor) in PRIORS.items():
        for seed in SEEDS if settings["kind"] == "network" else ():
            path, measures = layout.prior(PDE, prior, seed), np.geomspace(1, 0.1, 4) * factor * (1 + 0.1 * seed)
            rows = [
                {"step": 2 * i, "states": 64.0 * i, "loss": m, "gradient_norm": m, "validation": m}
                | {f"validation_sigma_{sigma}": m * sigma for sigma in (0.1, 2)}
                | {f"quality_{name}": m - 0.3 * (name == "mmse") for name in QUALITIES}
                for i, m in enumerate(measures, start=1)
            ]
            write_text(path.with_suffix(".log.csv"), write_log(rows))
            timing = {"seconds": 99.0, "peak_mib": 100, "device": "cpu", "host": "h", "finished": "x"}
            write_text(path.with_suffix(".timing.json"), canonical_json(timing | {"states_per_second": 128}))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    config, root = build(tmp_path_factory.mktemp("priors"), ENTRIES_WITH_FLOOR, seeds=SEEDS, priors=PRIORS)
    write_trainings(root)
    return load_results(config, root)


@pytest.fixture(scope="module")
def rows(results) -> dict[str, list[str]]:
    """Cells of the page's table rows by their first one, emphasis left out."""
    lines = [line.split("|")[1:-1] for line in priors.page(results, []).splitlines() if line.startswith("| ")]
    return {cells[0].strip(" `*"): [cell.strip() for cell in cells] for cells in lines}


def test_every_prior_has_a_row_that_says_what_it_is(rows):
    assert rows["network-p0"][1:4] == ["0", "unet", "–"]
    assert rows["fno-p1"][1:3] == ["1", "fno"]
    assert rows["gaussian-p1"][1:4] == ["1", "exact", "0"]
    assert rows["network-p1"][-3:] == ["256", "2", "128"]
    assert rows["data floor"][4].endswith("96/96*")


def test_bold_is_for_the_best_trained_prior_never_for_a_closed_form(rows):
    residual = {prior: cells[4] for prior, cells in rows.items() if prior in PRIORS}
    assert {prior for prior, cell in residual.items() if cell.startswith("**")} == {"longer-p1"}
    assert residual["network-p0"].endswith("96/96")


def test_pairs_differ_in_one_thing_and_their_ratio_is_the_true_one(results):
    entries = [priors.make_entry(results, PDE, prior) for prior in PRIORS]
    found = {(a.prior, b.prior): (a, b, difference) for a, b, difference in priors.pairs(entries)}
    assert {pair: difference for pair, (*_, difference) in found.items()} == {
        ("network-p0", "network-p1"): "power 0 / 1",
        ("network-p1", "fno-p1"): "unet / fno",
    }
    estimate = priors.ratio(*found["network-p0", "network-p1"][:2])
    low, high = np.exp(estimate.interval())
    assert low < 4.0 < high < 1.1 * low
    assert not estimate.conditional
    low, high = np.exp(priors.ratio(*found["network-p1", "fno-p1"][:2]).interval())
    assert low < 1 / 1.001 < high


def test_one_seed_gives_a_ratio_conditional_on_it(tmp_path):
    found = load_results(*build(tmp_path, ENTRIES_WITH_FLOOR, priors=PRIORS))
    assert "1 × 32 (conditional)" in priors.page(found, [])


def test_parameters_are_counted_in_the_file(results, tmp_path):
    settings = {"kind": "network", "steps": 1, "batch": 2, "width": 8, "embedding": 16}
    dataset = results.dataset(PDE)
    built, trainer = build_prior("network", settings, dataset, seed=0, state_dir=tmp_path)
    save_prior(tmp_path / "0.safetensors", built, pde=dataset.pde, label="x", seed=0, data_digest=dataset.digest)
    expected = sum(weight.numel() for weight in trainer.average.backbone.parameters())
    assert priors.count_parameters(tmp_path / "0.safetensors") == expected
    assert priors.count_parameters(tmp_path / "1.safetensors") is None


def test_figures_show_every_check_of_every_seed(results, tmp_path):
    stems = list(training.write_figures(results, tmp_path))
    assert [stem.name for stem in stems] == [f"training_{PDE}", f"learning_{PDE}"]
    assert all(Path(f"{stem}.{end}").stat().st_size for stem in stems for end in ("pdf", "png", "csv"))
    shown = pd.read_csv(tmp_path / f"learning_{PDE}.csv")
    trained = [prior for prior, (settings, _) in PRIORS.items() if settings["kind"] == "network"]
    assert len(shown) == len(trained) * len(SEEDS) * 4
    assert (shown[[f"floor_{name}" for name in QUALITIES]] > 0).all(axis=None)
    curve = shown[(shown["prior"] == "network-p0") & (shown["seed"] == 1)]["quality_smse"]
    assert np.allclose(curve, np.geomspace(1, 0.1, 4) * 4 * 1.1, rtol=1e-3)
    assert "](figures/learning_poisson-12.png)" in priors.page(results, stems)


def test_fresh_data_are_at_the_level_of_the_floors(results):
    dataset = results.dataset(PDE)
    floors = training.quality_floors(dataset, 20)
    assert floors["residual_rel"] == pytest.approx(dataset.floor, rel=0.5)
    assert 0 < floors["mmse"] < 3 / 20
    assert training.quality_floors(dataset, 10)["sliced_w2"] > floors["sliced_w2"]


def test_without_trained_priors_there_is_a_table_and_nothing_else(tmp_path):
    found = load_results(*build(tmp_path, kind="gaussian"))
    assert list(training.write_figures(found, tmp_path / "figures")) == []
    page = priors.page(found, [])
    assert "| `gaussian-p1` | 1 | exact |" in page
    assert "Exact prior" in page
    assert "## One difference" not in page
    assert "## Training" not in page


@pytest.mark.slow
def test_equal_logs_give_equal_figures(results, tmp_path):
    for folder in ("a", "b"):
        list(training.write_figures(results, tmp_path / folder))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
