"""What can be missing on a fresh machine is one line and a non-zero exit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "workflow" / "make_venv.sh"


def fake_python(folder: Path, body: str) -> Path:
    """A ``python3`` that answers some questions itself and hands the others to the real one."""
    path = folder / "python3"
    path.write_text(f'#!/bin/bash\ncase "$*" in\n{body}\n*) exec "{sys.executable}" "$@" ;;\nesac\n')
    path.chmod(0o755)
    return path


def make(tmp_path: Path, *variables: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``make reproduce`` with a virtual environment that does not exist yet; snakemake is never reached."""
    command = ["make", "-C", str(ROOT), f"VENV={tmp_path / 'venv'}", *variables, "reproduce"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The only line of stderr besides make's own."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode != 0
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_no_python(tmp_path):
    assert "there is no 'python3.99' here" in one_line(make(tmp_path, "PYTHON=python3.99"))


def test_old_python(tmp_path):
    python = fake_python(tmp_path, '*%d.%d.%d*) echo 3.9.2 ;;\n*"< (3, 11)"*) exit 1 ;;')
    message = one_line(make(tmp_path, f"PYTHON={python}"))
    assert "Python 3.9.2, 3.11 or newer is needed" in message
    assert "make PYTHON=" in message


def test_broken_python(tmp_path):
    assert "does not run" in one_line(make(tmp_path, f"PYTHON={fake_python(tmp_path, '*) exit 3 ;;')}"))


def test_no_venv_module(tmp_path):
    python = fake_python(tmp_path, '*"import ensurepip"*) exit 1 ;;')
    assert "apt-get install python3-venv" in one_line(make(tmp_path, f"PYTHON={python}"))
    assert not (tmp_path / "venv").exists()


def test_no_network(tmp_path):
    offline = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    done = make(tmp_path, f"PYTHON={sys.executable}", **offline, PIP_EXTRA_INDEX_URL="", PIP_NO_INDEX="0")
    assert "no network: pip could not reach its package index" in one_line(done)
    assert not (tmp_path / "venv" / ".installed").exists()


@pytest.mark.slow
def test_a_version_that_the_index_lacks_is_named(tmp_path):
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("torch==0.0.0.1\n")
    command = [str(SCRIPT), sys.executable, str(tmp_path / "venv"), str(wanted)]
    offline = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=offline, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "torch==0.0.0.1" in done.stderr


@pytest.mark.parametrize("target", ["reproduce", "test", "test-slow", "slurm-test", "lint", "clean"])
def test_help_names_every_target(target):
    done = subprocess.run(["make", "-C", str(ROOT), "-s"], capture_output=True, text=True, check=True)
    assert f"make {target}" in done.stdout
