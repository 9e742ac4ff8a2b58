"""A digest changes with what a module does and with nothing else."""

import os

import pytest

from jensenbench.errors import UserError
from jensenbench.io import provenance

SOURCE = '''"""Doc."""
from jensenbench import helper


def f(x: int) -> int:
    """Add."""
    return helper.g(x) + 1
'''


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "methods").mkdir()
    (tmp_path / "jensenbench").mkdir()
    (tmp_path / "methods" / "a.py").write_text(SOURCE)
    (tmp_path / "jensenbench" / "helper.py").write_text("def g(x):\n    return x\n")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)

    def digest() -> str:
        provenance._tree.cache_clear()
        provenance._syntax_digest.cache_clear()
        return provenance.digest_sources(["methods.a"])

    return tmp_path, digest


@pytest.mark.parametrize(
    ("old", "new"), [("return", "# why\n    return"), ('"""Add."""', '"""Other words."""'), ('"""Doc."""', '"""D."""')]
)
def test_comments_and_docstrings_do_not_count(project, old, new):
    root, digest = project
    before = digest()
    (root / "methods" / "a.py").write_text(SOURCE.replace(old, new, 1))
    assert digest() == before


def test_an_edit_counts_also_in_an_imported_module(project):
    root, digest = project
    first = digest()
    (root / "methods" / "a.py").write_text(SOURCE.replace("+ 1", "+ 2"))
    second = digest()
    (root / "jensenbench" / "helper.py").write_text("def g(x):\n    return 2 * x\n")
    assert len({first, second, digest()}) == 3


def test_other_plug_ins_do_not_count(project):
    root, digest = project
    before = digest()
    (root / "methods" / "b.py").write_text("x = 1\n")
    assert digest() == before


def test_a_watched_file_is_refused_once_its_content_changes(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"states")
    watch = provenance.FileWatch(path)
    os.utime(path, (1, 1))
    watch.check()
    path.write_bytes(b"others")
    with pytest.raises(UserError, match="data changed while it was in use"):
        watch.check()
    path.write_bytes(b"states")
    watch.check()
    path.unlink()
    with pytest.raises(UserError, match="put it back"):
        watch.check()
