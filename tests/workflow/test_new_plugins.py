"""A new plug-in is one file: its stub passes the checks, and a method's reaches the tables without another edit."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkouts import Checkout, count_jobs


def new(checkout: Checkout, kind: str) -> None:
    done = checkout.run(sys.executable, "-m", "jensenbench", "new", kind, "new_idea")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_stub_of_a_pde_passes_its_conformance_check(new_checkout: Callable[..., Checkout]):
    checkout = new_checkout()
    new(checkout, "pde")
    done = checkout.run(sys.executable, "-m", "jensenbench", "check", "pde", "new_idea")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass" in done.stdout
    assert "FAIL" not in done.stdout


@pytest.mark.slow
@pytest.mark.xdist_group("micro")
def test_stub_of_a_method_conforms_and_reaches_plan_and_tables_without_another_edit(finished: Checkout, tmp_path: Path):
    checkout = finished.copy(tmp_path / "extended")
    new(checkout, "method")
    assert count_jobs(checkout.dry_run())["sample"] == 1
    done = checkout.snakemake("--config", "tier=micro", "--", "all", "results/micro/conformance/method-new_idea.json")
    assert done.returncode == 0, done.stdout + done.stderr
    results = checkout.root / "results" / "micro"
    assert "new_idea" in (results / "reports" / "tables.md").read_text()
    rows = json.loads((results / "conformance" / "method-new_idea.json").read_text())["rows"]
    assert rows
    assert all(row["passed"] for row in rows), rows
