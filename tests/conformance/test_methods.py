"""Every method found passes its conformance check."""

import pytest

from jensenbench.checks.method import check_method
from jensenbench.io.provenance import public_modules
from jensenbench.plugins.registry import load_method


@pytest.mark.parametrize("name", public_modules("methods"))
def test_every_method_conforms(name):
    report = check_method(load_method(name))
    assert report.passed, str(report)
