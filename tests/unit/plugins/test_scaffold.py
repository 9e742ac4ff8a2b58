"""Stubs of new plug-ins: names that cannot be are refused, a stub is one clean file under its name."""

import shutil
import subprocess
import sys

import pytest

from jensenbench.errors import UnknownName, UserError
from jensenbench.io import provenance, sources
from jensenbench.plugins import scaffold


@pytest.fixture
def plug_ins(tmp_path, monkeypatch):
    """A copy of the packages, into which stubs are written."""
    for folder in provenance.PACKAGES:
        shutil.copytree(provenance.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(provenance.ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    monkeypatch.setattr(scaffold, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["method", "pde"])
def test_unusable_names_are_refused_and_nothing_is_written(plug_ins, kind):
    folder = plug_ins / scaffold.FOLDERS[kind]
    before = sorted(folder.iterdir())
    taken = sources.public_modules(scaffold.FOLDERS[kind])[0]
    for name in ("", "Upper", "two words", "dash-ed", "_private", "1st", "class", "control", "../outside", "é"):
        with pytest.raises(UserError, match="cannot name"):
            scaffold.write_stub(kind, name)
    with pytest.raises(UserError, match="exists already"):
        scaffold.write_stub(kind, taken)
    assert sorted(folder.iterdir()) == before


def test_unknown_kind_offers_the_nearest(plug_ins):
    with pytest.raises(UnknownName, match="did you mean 'method'"):
        scaffold.write_stub("methods", "mine")


@pytest.mark.parametrize("kind", ["method", "pde"])
@pytest.mark.parametrize("name", ["tensor", "a", "my_2nd_idea"])
def test_stub_is_one_clean_file_under_its_name(plug_ins, kind, name, capsys):
    scaffold.run(kind, name)
    path = plug_ins / scaffold.FOLDERS[kind] / f"{name}.py"
    assert name in sources.public_modules(scaffold.FOLDERS[kind])
    assert f"check {kind} {name}" in capsys.readouterr().out
    for action in (("check",), ("format", "--check")):
        ruff = [sys.executable, "-m", "ruff", *action, str(path)]
        done = subprocess.run(ruff, cwd=plug_ins, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
