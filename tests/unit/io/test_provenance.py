"""Files that change under a reader, and the commit of a checkout."""

import os
import subprocess

import pytest

from jensenbench.errors import UserError
from jensenbench.io import provenance


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


def test_a_repository_around_the_checkout_says_nothing_about_it(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "vendor" / "suite").mkdir(parents=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "vendor" / "suite")
    provenance.git_commit.cache_clear()
    assert provenance.git_commit() == "unknown"
    provenance.git_commit.cache_clear()
