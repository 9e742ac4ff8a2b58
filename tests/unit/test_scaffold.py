"""New plug-ins: stubs pass every conformance check, and a stub of a method reaches the tables as it is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jensenbench import provenance, scaffold
from jensenbench.errors import UnknownName, UserError

PARTS = ("jensenbench", "methods", "pdes", "config", "workflow", "profiles", "slurm", "Snakefile", "pyproject.toml")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the sources, into which this process writes stubs."""
    for part in PARTS:
        source = provenance.ROOT / part
        if source.is_dir():
            shutil.copytree(source, tmp_path / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, tmp_path / part)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(scaffold, "ROOT", tmp_path)
    return tmp_path


def command(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("kind", ["method", "pde"])
def test_unusable_names_are_refused_and_nothing_is_written(checkout, kind):
    folder = checkout / scaffold.FOLDERS[kind]
    before = sorted(folder.iterdir())
    taken = provenance.public_modules(scaffold.FOLDERS[kind])[0]
    for name in ("", "Upper", "two words", "dash-ed", "_private", "1st", "class", "control", "../outside", "é"):
        with pytest.raises(UserError, match="cannot name"):
            scaffold.write_stub(kind, name)
    with pytest.raises(UserError, match="exists already"):
        scaffold.write_stub(kind, taken)
    assert sorted(folder.iterdir()) == before


def test_unknown_kind_offers_the_nearest(checkout):
    with pytest.raises(UnknownName, match="did you mean 'method'"):
        scaffold.write_stub("methods", "mine")


@pytest.mark.parametrize("kind", ["method", "pde"])
@pytest.mark.parametrize("name", ["tensor", "a", "my_2nd_idea"])
def test_stub_is_one_clean_file_under_its_name(checkout, kind, name, capsys):
    scaffold.run(kind, name)
    path = checkout / scaffold.FOLDERS[kind] / f"{name}.py"
    assert name in provenance.public_modules(scaffold.FOLDERS[kind])
    assert f"check {kind} {name}" in capsys.readouterr().out
    for ruff in (("ruff", "check"), ("ruff", "format", "--check")):
        done = command(checkout, *ruff, str(path))
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["method", "pde"])
def test_stub_passes_its_conformance_checks(checkout, kind):
    scaffold.write_stub(kind, "new_idea")
    done = command(checkout, "jensenbench", "check", kind, "new_idea")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout


@pytest.mark.slow
def test_stub_of_a_method_reaches_plan_and_tables_without_another_edit(checkout):
    scaffold.write_stub("method", "new_idea")
    done = command(checkout, "snakemake", "--cores", "1", "--config", "tier=micro")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "new_idea" in done.stdout + done.stderr
    reports = checkout / "results" / "micro" / "reports"
    for page in ("tables.md", "conformance.md"):
        assert "new_idea" in (reports / page).read_text(), page
