"""A user's mistake is one line on stderr and a non-zero exit; a killed child is explained."""

import signal
import subprocess
import sys

import pytest

from jensenbench.cli import main
from jensenbench.runtime import supervisor as guard


def test_a_missing_configuration_is_one_line(tmp_path, capsys):
    code = main(
        ["generate", "--tier", str(tmp_path / "no.yaml"), "--pde", "poisson-8", "--out", str(tmp_path / "x.h5")]
    )
    error = capsys.readouterr().err
    assert code == 1
    assert error.count("\n") == 1
    assert "no.yaml" in error


def test_a_broken_configuration_is_one_line(tmp_path, capsys):
    path = tmp_path / "tier.yaml"
    path.write_text("tier: [unclosed")
    assert main(["plan", "--tier", str(path), "--out", str(tmp_path / "plan.json")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "plan.json").exists()


def test_an_unknown_plug_in_is_offered_the_nearest(capsys):
    assert main(["check", "pde", "darcie"]) == 1
    assert "did you mean 'darcy'" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = "import sys; from jensenbench.cli import _parser; _parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("code", "status"),
    [(-signal.SIGKILL, "out_of_memory"), (-signal.SIGTERM, "timeout"), (-signal.SIGSEGV, "failed"), (3, "failed")],
)
def test_a_killed_child_gets_a_status_and_a_reason(code, status):
    found, reason = guard.explain_exit(code)
    assert found == status
    assert reason


def test_the_guard_returns_its_childs_code():
    assert guard.run_worker(["check", "pde", "no-such-pde"]) == 1
