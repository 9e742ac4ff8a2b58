"""The tier smoke to the end, twice: every run has an outcome, the oracle track meets its floors, equal bytes."""

import pandas as pd
import pytest

from jensenbench.io.tables import read_csv
from tests.support.checkouts import Checkout, copy_sources

pytestmark = pytest.mark.slow

ORACLE, TRAINED = "poisson-16", "darcy-two_valued-16"


@pytest.fixture(scope="module")
def smoke(sources, tmp_path_factory) -> Checkout:
    checkout = copy_sources(sources, tmp_path_factory.mktemp("smoke") / "first")
    checkout.reproduce("smoke")
    return checkout


@pytest.fixture(scope="module")
def table(smoke) -> pd.DataFrame:
    """Metrics with the labels of their runs."""
    folder = smoke.root / "results" / "smoke"
    runs, metrics = (read_csv(folder / f"{name}.csv.gz") for name in ("runs", "metrics"))
    return metrics.merge(runs, on="run_id")


def values(table: pd.DataFrame, metric: str, **labels: str) -> pd.Series:
    chosen = table[(table["metric"] == metric) & (table[list(labels)] == pd.Series(labels)).all(axis=1)]
    assert len(chosen), (metric, labels)
    return chosen["value"]


def test_two_runs_give_equal_bytes(smoke, new_checkout):
    again = new_checkout("again")
    again.compute("smoke")
    assert again.results("smoke") == smoke.results("smoke")


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
