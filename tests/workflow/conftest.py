"""Fixtures of the workflow's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from checkouts import Checkout, copy_sources


@pytest.fixture(scope="module")
def shared_checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """One copy for all tests of a module that only look."""
    return copy_sources(tmp_path_factory.mktemp("shared") / "checkout")


@pytest.fixture
def new_checkout(tmp_path: Path) -> Callable[[str], Checkout]:
    """Makes a copy of a given name."""
    return lambda name="checkout": copy_sources(tmp_path / name)
