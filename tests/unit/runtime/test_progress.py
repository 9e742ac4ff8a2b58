"""Logs say how far a job is, in plain lines."""

from jensenbench.runtime import progress as module
from jensenbench.runtime.progress import progress


def test_a_log_gets_plain_lines_and_the_items_pass_unchanged(capsys, monkeypatch):
    monkeypatch.setattr(module, "LOG_SECONDS", -1.0)
    assert list(progress(range(3), label="sample", unit="batch")) == [0, 1, 2]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"sample: batch {done}/3" for done in (1, 2, 3)]


def test_short_work_gets_one_line(capsys):
    list(progress(range(50), label="sample", unit="batch"))
    assert capsys.readouterr().out.splitlines() == ["sample: batch 50/50, 0 s"]
