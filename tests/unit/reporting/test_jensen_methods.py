"""Samplers beside the gap: who ends above the best plain sampler is counted; methods that learn are no baseline."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from jensenbench.io.layout import Layout
from jensenbench.jensen.table import COLUMNS
from jensenbench.reporting.jensen import methods as jensen_methods
from jensenbench.reporting.results import Results

RESIDUALS = {  # method: residual calls, mean residual, settings
    "edm": (0, 0.2, {}),
    "ddpm": (0, 0.4, {}),
    "pidm": (0, 0.01, {"fit": {"steps": 3}}),
    "diffusionpde": (5, 0.1, {}),
    "cocogen": (60, 0.3, {}),
}


@pytest.fixture
def results():
    runs = [
        {"run_id": name, "pde": "darcy-8", "prior": "net", "method": name, "variant": "a", "task": "unconditional",
         "status": "ok", "residual_calls": calls, "config_json": str(settings).replace("'", '"')}
        for name, (calls, _, settings) in RESIDUALS.items()
    ]  # fmt: skip
    values = [
        {"run_id": name, "metric": "residual_rel", "value": value + change}
        for name, (_, value, _) in RESIDUALS.items()
        for change in (-0.01, 0.01)
    ]
    return Results(Layout(Path("none")), {"tier": "x"}, pd.DataFrame(runs), pd.DataFrame(values), pd.DataFrame())


def curve(gap):
    row = {"pde": "darcy-8", "prior": "net", "power": 1, "law": "net", "estimator": "monte_carlo", "sigma": 1.0}
    return pd.DataFrame([row | {"gap": gap, "usable": True}]).reindex(columns=list(COLUMNS))


def test_samplers_above_the_best_plain_one_are_named(results):
    text = jensen_methods.section(results, [curve(0.25)])
    assert "| darcy-8 (net) | edm/a | 0.200 | 0.250 | 2 | 1 of 2 | cocogen/a | 1 of 2 |" in text
    assert "| darcy-8 (net) | cocogen/a | 60 | 0.300 | 1.50 | 1.20 |" in text
    assert "pidm" not in text


def test_without_a_gap_or_a_sampler_there_is_nothing_to_compare(results):
    assert "No prior with a gap" in jensen_methods.section(results, [curve(1e-14)])
    plain = replace(results, runs=results.runs[results.runs["residual_calls"] == 0])
    assert "No prior with a gap" in jensen_methods.section(plain, [curve(0.25)])
