"""The conformance page shows every verdict with its number, failures above all, and every prior of a tier."""

import pytest

from jensenbench import cli
from jensenbench.checks.report import Check, Report
from jensenbench.experiment.config import Tier, parse_tier
from jensenbench.experiment.expand import expand
from jensenbench.io.files import read_yaml
from jensenbench.io.layout import Layout
from jensenbench.io.provenance import ROOT
from jensenbench.reporting.pages import conformance
from jensenbench.stages import generate, train


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_failures_and_missing_checks_show(tmp_path):
    reports = {
        "dps": Report("dps", (Check("rows alone", True, 1e-12, ""), Check("budget", False, 2.0, "not enforced"))),
        "edm": Report("edm", (Check("rows alone", True, None, ""),)),
    }
    for name, report in reports.items():
        conformance.write_report(report, "method", tmp_path / f"{name}.json")
    conformance.run(files=[tmp_path / f"{name}.json" for name in reports], out=tmp_path / "conformance.md")
    lines = (tmp_path / "conformance.md").read_text().splitlines()
    assert "| dps | 1 / 2 |" in lines
    assert "| edm | 1 / 1 |" in lines
    (budget,) = [cells(line) for line in lines if line.startswith("| budget")]
    assert budget == ["budget", "**fail** 2", "–"]


def test_a_prior_that_fails_is_named_with_its_seed_and_what_failed(tmp_path):
    for seed, value in ((0, 0.1), (1, 7.0)):
        labels = {"PDE": "darcy-32", "prior": "network-p1", "seed": seed, "kind": "network"}
        checks = (Check("rows independent", value < 1, value, ""), Check("dtype kept", True, None, ""))
        conformance.write_report(Report("x", checks, labels), "prior", tmp_path / f"{seed}.json")
    conformance.run(files=[tmp_path / "0.json", tmp_path / "1.json"], out=tmp_path / "page.md")
    rows = [cells(line) for line in (tmp_path / "page.md").read_text().splitlines() if line.startswith("| ")]
    assert ["darcy-32", "network-p1", "0", "network", "2 / 2", "–"] in rows
    assert ["darcy-32", "network-p1", "1", "network", "1 / 2", "rows independent (7)"] in rows
    assert ["rows independent", "pass 0.1", "**fail** 7"] in rows


@pytest.fixture
def tier() -> Tier:
    """Exact and trained priors of several powers, two seeds."""
    priors = {
        "gaussian-p0": {"kind": "gaussian", "power": 0},
        "gaussian-p1": {"kind": "gaussian", "power": 1},
        "network-p2": {"kind": "network", "power": 2, "steps": 2, "batch": 4, "width": 8, "embedding": 16},
    }
    micro = read_yaml(ROOT / "config" / "micro.yaml")
    pdes = [{**micro["pdes"][0], "priors": list(priors)}]
    return parse_tier(micro | {"seeds": [0, 1], "priors": priors, "pdes": pdes})


def test_every_prior_of_a_tier_has_its_row(tier, tmp_path):
    layout, pde = Layout(tmp_path), tier.pdes[0].label
    planned = expand(tier)
    generate.run(job=planned.generate[pde], out=layout.data(pde))
    jobs = [(job.prior, job.seed) for job in planned.train.values()]
    files = []
    for job in planned.train.values():
        prior, seed = job.prior, job.seed
        files.append(tmp_path / "checks" / prior / f"{seed}.json")
        state, file = layout.training(pde, prior, seed), layout.prior(pde, prior, seed)
        train.run(job=job, data=layout.data(pde), out=file, state_dir=state)
        check = ["check", "prior", str(layout.prior(pde, prior, seed)), "--data", str(layout.data(pde))]
        assert cli.main([*check, "--out", str(files[-1])]) == 0
    assert cli.main(["conformance", "--out", str(tmp_path / "page.md"), *map(str, files)]) == 0
    lines = (tmp_path / "page.md").read_text().splitlines()
    rows = [cells(line) for line in lines if line.startswith(f"| {pde} ")]
    expected = {
        (prior, str(seed), prior.split("-")[0], prior[-1], "unet" if prior.startswith("network") else "–")
        for prior, seed in jobs
    }
    assert {tuple(row[1:6]) for row in rows} == expected
    assert len(rows) == len(expected) == 4
    assert all((row[6].split(" / ")[0] == row[6].split(" / ")[1]) == (row[7] == "–") for row in rows)
    assert [cells(line) for line in lines if line.startswith("| check")][-1] == ["check", "seed 0", "seed 1"]
