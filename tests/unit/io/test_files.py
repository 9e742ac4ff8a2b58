"""Files appear whole or not at all; equal content gives equal bytes."""

import h5py
import numpy as np
import pandas as pd
import pytest

from jensenbench.errors import UserError
from jensenbench.io.files import read_split, replacing, write_hdf5, write_text
from jensenbench.io.tables import read_csv, write_csv


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
