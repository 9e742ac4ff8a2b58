"""A new plug-in is one file: its stub passes the checks, and a method's reaches the tables without another edit."""

import sys
from collections.abc import Callable

import pytest

from tests.support.checkouts import Checkout, count_jobs


def new(checkout: Checkout, kind: str) -> None:
    done = checkout.run(sys.executable, "-m", "jensenbench", "new", kind, "new_idea")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["method", "pde"])
def test_stub_passes_its_conformance_checks(new_checkout: Callable[..., Checkout], kind: str):
    checkout = new_checkout()
    new(checkout, kind)
    done = checkout.run(sys.executable, "-m", "jensenbench", "check", kind, "new_idea")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass" in done.stdout
    assert "FAIL" not in done.stdout


@pytest.mark.slow
def test_stub_of_a_method_reaches_plan_and_tables_without_another_edit(new_checkout: Callable[..., Checkout]):
    checkout = new_checkout()
    before = count_jobs(checkout.dry_run())
    new(checkout, "method")
    assert count_jobs(checkout.dry_run())["sample"] == before["sample"] + 1
    done = checkout.snakemake("--config", "tier=micro")
    assert done.returncode == 0, done.stdout + done.stderr
    reports = checkout.root / "results" / "micro" / "reports"
    for page in ("tables.md", "conformance.md"):
        assert "new_idea" in (reports / page).read_text(), page
