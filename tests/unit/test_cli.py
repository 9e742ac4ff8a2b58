"""A user's mistake is one line on stderr and a non-zero exit; a killed child is explained."""

import signal
import subprocess
import sys

import pytest

from jensenbench.cli import COMMANDS, given_settings, main
from jensenbench.runtime.supervisor import explain_exit, run_worker


def test_a_missing_configuration_is_one_line(tmp_path, capsys):
    code = main(["plan", "--tier", str(tmp_path / "no.yaml"), "--out", str(tmp_path / "x.json")])
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
    code = "import sys; from jensenbench.cli import parser; parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("code", "status"),
    [(-signal.SIGKILL, "out_of_memory"), (-signal.SIGTERM, "timeout"), (-signal.SIGSEGV, "failed"), (3, "failed")],
)
def test_a_killed_child_gets_a_status_and_a_reason(code, status):
    found, reason = explain_exit(code)
    assert found == status
    assert reason


def test_the_guard_returns_its_childs_code():
    assert run_worker(["check", "pde", "no-such-pde"]) == 1


def test_ctrl_c_is_one_line_that_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(kind, name):
        raise KeyboardInterrupt

    monkeypatch.setattr("jensenbench.plugins.scaffold.run", interrupted)
    assert main(["new", "method", "mine"]) == 130
    assert capsys.readouterr().err == "jensenbench new: stopped; the same command continues where it was\n"


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{", '{"label": 3}', '{"label": "a", "tasks": 1, "instances": 1, "seed": 0}']
)
def test_a_file_that_is_no_job_of_the_stage_is_one_line(tmp_path, capsys, text):
    job, out = tmp_path / "job.json", tmp_path / "out.h5"
    if text is not None:
        job.write_text(text)
    assert main(["observe", "--job", str(job), "--data", str(tmp_path / "data.h5"), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no job of this stage" in error
    assert not out.exists()


def test_every_command_has_one_row_and_says_what_it_is_for():
    assert len({command.name for command in COMMANDS}) == len(COMMANDS)
    assert all(command.summary for command in COMMANDS)


def test_given_settings_have_the_types_of_yaml_and_exponents_are_numbers():
    words = ["n=16", "nu=1e-3", "law=two_valued", "shared=true", "grid=cell", "levels=[1, 2]"]
    wanted = {"n": 16, "nu": 0.001, "law": "two_valued", "shared": True, "grid": "cell", "levels": [1, 2]}
    assert given_settings(words) == wanted
