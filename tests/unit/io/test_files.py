"""Files appear whole or not at all; equal content gives equal bytes."""

import contextlib
import os
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from jensenbench.errors import UserError
from jensenbench.io.files import read_attributes, read_split, replacing, write_hdf5, write_text
from jensenbench.io.provenance import ROOT
from jensenbench.io.schema import RUN_COLUMNS, TEXT
from jensenbench.io.tables import read_csv, write_csv

NUMBERS = [name for name in RUN_COLUMNS if name not in TEXT]


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.md"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_rows_are_sorted_so_that_equal_tables_are_equal_bytes(tmp_path):
    frame = pd.DataFrame({"run_id": ["b", "a"], "value": [0.1 + 0.2, 1.0]})
    write_csv(tmp_path / "one.csv.gz", frame)
    write_csv(tmp_path / "two.csv.gz", frame.iloc[::-1])
    assert (tmp_path / "one.csv.gz").read_bytes() == (tmp_path / "two.csv.gz").read_bytes()
    assert read_csv(tmp_path / "one.csv.gz")["value"].tolist() == [1.0, 0.3]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_data_file_is_named(tmp_path, keep):
    path = tmp_path / "data.h5"
    write_hdf5(path, lambda file: file.create_dataset("train", data=np.zeros((10, 1, 4, 4))))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"data\.h5"):
        read_split(path, "train")


def test_nan_missing_splits_and_too_few_states_are_refused(tmp_path):
    path = tmp_path / "data.h5"
    states = np.zeros((4, 1, 2, 2))
    states[1] = np.nan

    def fill(file: h5py.File) -> None:
        file.create_dataset("train", data=states)
        file.create_dataset("test", data=states[2:])

    write_hdf5(path, fill)
    with pytest.raises(UserError, match="1 of 4 train states"):
        read_split(path, "train")
    with pytest.raises(UserError, match="no split 'reference'"):
        read_split(path, "reference")
    with pytest.raises(UserError, match="holds 2 test states, 3 were asked"):
        read_split(path, "test", count=3)


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jensenbench.io.files.os.replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "table.md", "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_new_files_have_the_permissions_that_the_umask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "page.md", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "page.md").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("git_commit", "12345678e901"), ("git_commit", "004125879036"), ("data_digest", "1234567890123456"),
        ("variant", "None"), ("variant", "1e3"), ("pde", "007"), ("task", "nan"), ("reason", ""), ("reason", "NA"),
    ],
)  # fmt: skip
def test_text_that_looks_like_a_number_or_like_nothing_stays_text(tmp_path, column, text):
    row = dict.fromkeys(RUN_COLUMNS, "x") | {name: 3 for name in NUMBERS} | {column: text}
    write_csv(tmp_path / "runs.csv.gz", pd.DataFrame([row, row]))
    found = read_csv(tmp_path / "runs.csv.gz")
    assert list(found[column]) == [text, text]
    assert all(found[name].dtype.kind in "if" for name in NUMBERS)
    write_csv(tmp_path / "again.csv.gz", found)
    assert (tmp_path / "again.csv.gz").read_bytes() == (tmp_path / "runs.csv.gz").read_bytes()


def test_a_number_that_is_missing_stays_missing(tmp_path):
    frame = pd.DataFrame({"run_id": ["a", "b"], "metric": ["crps", "crps"], "value": [1.0, float("nan")]})
    write_csv(tmp_path / "metrics.csv.gz", frame)
    found = read_csv(tmp_path / "metrics.csv.gz")
    assert list(found["value"].isna()) == [False, True]


WRITE = """
from pathlib import Path
from jensenbench.io.files import write_text
write_text(Path("page.md"), "\\u2264 \\u03c3")
"""


def test_files_are_utf_8_whatever_the_locale(tmp_path):
    variables = {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", WRITE], cwd=tmp_path, env=variables, check=True)
    assert (tmp_path / "page.md").read_bytes() == "≤ σ".encode()


READ = """
import sys
from pathlib import Path
from jensenbench.io.files import read_attributes
read_attributes(Path(sys.argv[1]))
"""


def test_a_file_in_use_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "data.h5"
    write_hdf5(path, lambda file: file.attrs.update(label="x"))
    holder = [sys.executable, "-c", f"import h5py; f = h5py.File({str(path)!r}, 'r+'); print(flush=True); input()"]
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "TRUE")
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        done = subprocess.run(
            [sys.executable, "-c", READ, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        process.communicate(b"\n")
    assert "in use by another program" in done.stderr
    assert "delete" not in done.stderr
    assert read_attributes(path) == {"label": "x"}


def test_a_table_damaged_anywhere_is_one_error(tmp_path):
    path, stream = tmp_path / "metrics.csv.gz", np.random.default_rng(0)
    frame = pd.DataFrame({"run_id": [f"{n:x}" for n in stream.integers(2**60, size=200)], "value": stream.random(200)})
    write_csv(path, frame)
    whole = path.read_bytes()
    for place in range(10, len(whole) - 8, 23):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(UserError):
            read_csv(path)
