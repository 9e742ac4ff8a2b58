"""A digest changes with what a module does and with nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jensenbench.io import sources
from jensenbench.io.provenance import ROOT

HELPER = "def g(x):\n    return x\n"
SOURCE = '''"""Doc."""
from jensenbench import helper
from jensenbench.helper import g


RATE = 0.5


def f(x: int) -> int:
    """Add."""
    return helper.g(x) + 1


class C:
    """Rate."""

    rate = RATE
'''


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two modules, and the digest of what one of them does."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "jensenbench").mkdir()
    (tmp_path / "methods" / "a.py").write_text(SOURCE)
    (tmp_path / "jensenbench" / "helper.py").write_text(HELPER)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def digest(module: str = "methods.a") -> str:
        forget()
        return sources.digest_sources([module])

    yield tmp_path, digest
    forget()


def forget() -> None:
    """As at the start of a process."""
    for cached in (sources.module_path, sources.module_facts, sources.facts_folder):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return helper", "# why\n    return helper"),
        ('"""Add."""', '"""Other words."""'),
        ('    """Add."""\n', ""),
        ('"""Doc."""', '"""D."""'),
        ('"""Rate."""', '"""R."""'),
        ("helper.g(x) + 1", "(helper.g(x)\n            + 1)"),
        ("from jensenbench.helper import g\n", "from jensenbench.helper import g\n\nimport os\n"),
        ("x: int) -> int", "x: int,) -> int"),
    ],
)
def test_words_layout_and_import_lines_do_not_count(project, old, new):
    root, digest = project
    before = digest()
    assert SOURCE.count(old) >= 1
    (root / "methods" / "a.py").write_text(SOURCE.replace(old, new, 1))
    assert digest() == before


@pytest.mark.parametrize(("old", "new"), [("+ 1", "+ 2"), ("0.5", "0.25"), ("g(x)", "g(-x)"), ("rate =", "Rate =")])
def test_an_edit_counts_wherever_it_is(project, old, new):
    root, digest = project
    before = digest()
    (root / "methods" / "a.py").write_text(SOURCE.replace(old, new, 1))
    assert digest() != before


def test_an_edit_counts_also_in_an_imported_module(project):
    root, digest = project
    before = digest()
    (root / "jensenbench" / "helper.py").write_text("def g(x):\n    return 2 * x\n")
    assert digest() != before


def test_moving_and_renaming_a_module_does_not_count(project):
    root, digest = project
    before = digest()
    (root / "jensenbench" / "room").mkdir()
    (root / "jensenbench" / "helper.py").rename(root / "jensenbench" / "room" / "other.py")
    (root / "methods" / "a.py").rename(root / "methods" / "b.py")
    moved = SOURCE.replace("from jensenbench import helper", "from jensenbench.room import other as helper")
    (root / "methods" / "b.py").write_text(moved.replace("jensenbench.helper", "jensenbench.room.other"))
    assert digest("methods.b") == before


def test_other_plug_ins_do_not_count(project):
    root, digest = project
    before = digest()
    (root / "methods" / "b.py").write_text("x = 1\n")
    assert digest() == before


def interpreters() -> list[str]:
    """The Pythons of supported versions that run on this machine."""
    names = filter(None, (shutil.which(f"python3.{minor}") for minor in (11, 12, 13)))
    found = [sys.executable, *names, *map(str, Path.home().glob(".pyenv/versions/3.1[1-3]*/bin/python"))]
    return [python for python in found if subprocess.run([python, "-c", ""], check=False).returncode == 0]


DIGESTS = """
from jensenbench.io.provenance import ROOT
from jensenbench.io.sources import module_facts
files = [path.relative_to(ROOT) for path in sorted((ROOT / "jensenbench").rglob("*.py"))]
print([module_facts(".".join(file.with_suffix("").parts))[0] for file in files])
"""


def test_every_python_locale_and_folder_finds_the_same_digests(tmp_path):
    """Of all modules of the project, so that every kind of syntax that it uses is compared."""
    found = set()
    for number, python in enumerate(interpreters()):
        variables = {
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(tmp_path),
            "LC_ALL": ("C", "C.UTF-8", "POSIX")[number % 3],
        }
        done = subprocess.run([python, "-c", DIGESTS], cwd=tmp_path, env=variables, capture_output=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1
    assert next(iter(found)).count(b",") > 100


def test_kept_facts_are_those_of_the_content(project):
    """A second process reads what the first kept; damaged or unwritable caches cost time alone."""
    root, digest = project
    before = digest()
    kept = list((root / "cache").rglob("*.json"))
    assert len(kept) == 2
    assert digest() == before
    for path in kept:
        path.write_text("[1")
    assert digest() == before
    shutil.rmtree(root / "cache")
    (root / "cache").write_text("not a folder")
    assert digest() == before


def test_kept_facts_save_the_parsing(project, monkeypatch):
    _, digest = project
    before = digest()
    monkeypatch.setattr(sources, "read_facts", None)
    assert digest() == before
