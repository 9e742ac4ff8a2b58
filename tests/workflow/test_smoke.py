"""The tier smoke to the end, and a part of it again: outcomes of all runs, floors of the oracle track, equal bytes."""

import pandas as pd
import pytest
import yaml

from jensenbench.io.schema import RUN_KEYS
from jensenbench.io.tables import read_csv
from tests.support.checkouts import Checkout, copy_sources

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smoke")]

ORACLE, TRAINED = "poisson-16", "darcy-two_valued-16"


@pytest.fixture(scope="module")
def smoke(sources, tmp_path_factory) -> Checkout:
    checkout = copy_sources(sources, tmp_path_factory.mktemp("smoke") / "first")
    checkout.compute("smoke")
    return checkout


@pytest.fixture(scope="module")
def table(smoke) -> pd.DataFrame:
    """Metrics with the labels of their runs."""
    return read_metrics(smoke)


def read_metrics(checkout: Checkout) -> pd.DataFrame:
    folder = checkout.root / "results" / "smoke"
    runs, metrics = (read_csv(folder / f"{name}.csv.gz") for name in ("runs", "metrics"))
    return metrics.merge(runs, on="run_id")


def values(table: pd.DataFrame, metric: str, **labels: str) -> pd.Series:
    chosen = table[(table["metric"] == metric) & (table[list(labels)] == pd.Series(labels)).all(axis=1)]
    assert len(chosen), (metric, labels)
    return chosen["value"]


def test_one_cell_of_each_stage_computed_again_gives_equal_bytes(smoke, table, new_checkout):
    """The trained prior, pairs, a fit, and the metrics of two methods; a run of all of micro is compared elsewhere."""
    again = new_checkout("again")
    tier = again.root / "part.yaml"
    tier.write_text(yaml.safe_dump(part(yaml.safe_load((again.root / "config" / "smoke.yaml").read_text()))))
    again.compute("smoke", "--configfile", str(tier))
    for pattern in ("priors/**/*.safetensors", "fits/**/*.safetensors"):
        found = {
            path.relative_to(again.root): path.read_bytes()
            for path in sorted(again.root.glob(f"results/smoke/{pattern}"))
        }
        assert found
        assert found == {path: (smoke.root / path).read_bytes() for path in found}
    mine = read_metrics(again)
    mine = mine[mine["variant"] != "unconditional_prior"]  # a control made of the states of whichever cell comes first
    assert set(mine["method"]) == {"edm", "piddm", "control"}
    whole = table.merge(mine[[*RUN_KEYS]].drop_duplicates(), on=list(RUN_KEYS))
    columns = [*RUN_KEYS, "instance", "draw", "sigma", "metric", "unit", "value"]
    pd.testing.assert_frame_equal(sort(mine[columns]), sort(whole[columns]), check_exact=True)


def part(tier: dict) -> dict:
    """Two methods on the PDE with a trained prior, on two tasks."""
    kept = {"edm": ["heun"], "piddm": ["one_step"]}
    methods = {
        name: {variant: tier["methods"][name][variant] for variant in variants} for name, variants in kept.items()
    }
    pdes = [entry for entry in tier["pdes"] if entry["pde"] == "darcy"]
    tasks = ["unconditional", "reconstruction_30"]
    return tier | {"methods": methods, "pdes": pdes, "tasks": tasks, "extra_methods": False}


def sort(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(list(rows.columns)).reset_index(drop=True)


def test_every_run_is_ok_or_skipped_with_a_reason(smoke):
    runs = read_csv(smoke.root / "results" / "smoke" / "runs.csv.gz")
    assert set(runs["status"]) == {"ok", "skipped"}
    assert runs.loc[runs["status"] == "skipped", "reason"].str.len().min() > 0
    assert set(runs.loc[runs["pde"] == TRAINED, "method"]) >= {"edm", "ddpm", "dps", "diffusionpde", "control"}


def test_every_metric_is_a_number(table):
    assert table["value"].notna().all()


def test_the_exact_prior_meets_the_floor_of_the_data(table):
    labels = {"pde": ORACLE, "method": "edm", "variant": "heun", "task": "unconditional"}
    floor = values(table, "residual_floor", pde=ORACLE, method="control", variant="float32_floor").max()
    assert values(table, "residual_rel", **labels).max() < floor
    spread = values(table, "std_ratio/u@bootstrap", **labels)
    assert spread.quantile(0.005) < 1 < spread.quantile(0.995)


def test_exact_posterior_draws_have_the_exact_spread(table):
    labels = {"pde": ORACLE, "method": "control", "variant": "posterior_draw"}
    assert values(table, "posterior_std_ratio/f", **labels).between(0.7, 1.3).all()


def test_solving_for_the_solution_takes_the_residual_of_a_trained_prior_away(table):
    labels = {"pde": TRAINED, "method": "edm", "variant": "heun", "task": "unconditional"}
    returned, solved = (values(table, name, **labels).mean() for name in ("residual_rel", "residual_rel@solved"))
    assert solved < 1e-9 < 1e-2 < returned


def test_data_tell_a_guided_sampler_more_than_the_prior_knows(table):
    for method in ("dps", "diffusionpde"):
        guided = values(table, "crps", pde=TRAINED, method=method, task="reconstruction_30").mean()
        blind = values(
            table, "crps", pde=TRAINED, method="control", variant="unconditional_prior", task="reconstruction_30"
        )
        assert guided < 0.7 * blind.mean()


def test_a_residual_in_training_lowers_the_residual_of_a_student(table):
    labels = {"pde": TRAINED, "method": "piddm", "task": "unconditional"}
    without, with_residual = (
        values(table, "residual_rel", variant=variant, **labels).mean() for variant in ("distilled", "one_step")
    )
    assert with_residual < 0.8 * without
