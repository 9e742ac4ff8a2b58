"""Fixtures of the workflow's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkouts import ROOT, Checkout, copy_sources


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources as they are now: all copies of a session are alike, whatever is edited meanwhile."""
    return copy_sources(ROOT, tmp_path_factory.mktemp("sources") / "checkout").root


@pytest.fixture(scope="module")
def shared_checkout(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """One copy for all tests of a module that only look."""
    return copy_sources(sources, tmp_path_factory.mktemp("shared") / "checkout")


@pytest.fixture
def new_checkout(sources: Path, tmp_path: Path) -> Callable[[str], Checkout]:
    """Makes a copy of a given name."""
    return lambda name="checkout": copy_sources(sources, tmp_path / name)


@pytest.fixture(scope="session")
def finished(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy with a finished run of the tier micro; tests that change it or run in it take a copy of it."""
    checkout = copy_sources(sources, tmp_path_factory.mktemp("finished") / "checkout")
    checkout.reproduce()
    return checkout
