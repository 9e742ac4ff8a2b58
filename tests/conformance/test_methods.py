"""Every method found obeys every law of its conformance check."""

from functools import lru_cache

import pytest

from jensenbench.checks.method import LAWS
from jensenbench.checks.method_bench import MethodCase
from jensenbench.io.sources import public_modules
from jensenbench.plugins.registry import load_method


@lru_cache(maxsize=1)
def case_of(name: str) -> MethodCase:
    """One case per method: the laws share its runs and fits."""
    return MethodCase(load_method(name))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", public_modules("methods"))
def test_every_method_obeys(name, law):
    failures = [str(check) for check in LAWS[law](case_of(name)) if not check.passed]
    assert not failures, failures
