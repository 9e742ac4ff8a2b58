"""Result tables (runs, metrics, timings) as compressed CSV: equal content gives equal bytes."""

import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jensenbench.errors import UserError
from jensenbench.io import provenance
from jensenbench.io.files import canonical_json, replacing
from jensenbench.io.schema import METRIC_COLUMNS, RUN_COLUMNS, RUN_KEYS, SCHEMA_VERSION, TEXT, TIMING_COLUMNS

RUN_ID = (*RUN_KEYS, "config_digest", "data_digest")  # columns that name a run
COLUMNS = {"runs": RUN_COLUMNS, "metrics": METRIC_COLUMNS, "timings": TIMING_COLUMNS}
Tables = dict[str, pd.DataFrame]


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Rows sorted by all columns, numbers as %.9g, gzip without a date: equal content gives equal bytes."""
    ordered = frame.sort_values(list(frame.columns), kind="stable", key=lambda column: column.astype(str))
    text = ordered.to_csv(index=False, float_format="%.9g", lineterminator="\n")
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as stream:
        stream.write(text.encode())
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_csv(path: Path) -> pd.DataFrame:
    """A table written by :func:`write_csv`; raises UserError where it is missing or truncated."""
    try:
        return read_typed(path)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path} is missing or truncated ({error}); run its stage again") from error


def identified(row: dict[str, Any]) -> dict[str, Any]:
    """A run's row with its ``run_id``, the digest of its labels, settings and data, and the schema version."""
    identity = canonical_json([row[key] for key in RUN_ID])
    return row | {"run_id": provenance.digest_text(identity), "schema_version": SCHEMA_VERSION}


def write_tables(
    out: Path, rows: list[dict[str, Any]], frames: Sequence[pd.DataFrame | None], timings: list[dict[str, Any]]
) -> None:
    """Write the three tables of an evaluation into a folder; raises UserError where a run is given twice."""
    names = {row["run_id"]: row for row in rows}
    if len(names) < len(rows):
        twice = next(row for row in rows if names[row["run_id"]] is not row)
        label = f"{twice['method']}/{twice['variant']} on {twice['task']}"
        raise UserError(f"{label} was given twice; name each samples file once")
    runs = pd.DataFrame(rows, columns=list(RUN_COLUMNS))
    found = [frame for frame in frames if frame is not None] or [pd.DataFrame(columns=list(METRIC_COLUMNS))]
    write_csv(out / "runs.csv.gz", runs)
    write_csv(out / "metrics.csv.gz", pd.concat(found, ignore_index=True).reindex(columns=list(METRIC_COLUMNS)))
    write_csv(out / "timings.csv.gz", pd.DataFrame(timings, columns=list(TIMING_COLUMNS)))


def read_typed(path: Path) -> pd.DataFrame:
    """A CSV file in which every column of text stays text, whatever its values look like.

    A commit ``12345678e901`` is no number and a variant ``None`` is not missing; empty text is the empty string.
    """
    names = list(pd.read_csv(path, nrows=0).columns)
    text, numbers = [name for name in names if name in TEXT], [name for name in names if name not in TEXT]
    missing = {name: ["", "nan", "NaN"] for name in numbers}
    return pd.read_csv(path, dtype=dict.fromkeys(text, str), na_values=missing, keep_default_na=False)


def read_tables(folder: Path) -> Tables:
    """Runs, metrics and timings of a folder; raises UserError on another schema or on metrics without a run."""
    tables = {name: _read(folder / f"{name}.csv.gz", columns) for name, columns in COLUMNS.items()}
    versions = set(tables["runs"]["schema_version"]) - {SCHEMA_VERSION}
    if versions:
        raise UserError(
            f"{folder}: schema version {versions.pop()}, this suite reads {SCHEMA_VERSION}; evaluate it again"
        )
    orphans = set(tables["metrics"]["run_id"]) - set(tables["runs"]["run_id"])
    if orphans:
        raise UserError(f"{folder}: metrics of run {min(orphans)} have no row in runs.csv.gz; evaluate it again")
    tables["runs"]["reason"] = tables["runs"]["reason"].fillna("")
    return tables


def join_tables(folders: Sequence[Path], out: Path) -> None:
    """Concatenate the tables of all folders into ``out``; raises UserError naming a run that is in two of them."""
    if not folders:
        raise UserError("there are no evaluations to collect; run the stage `evaluate` first")
    parts = [read_tables(folder) for folder in folders]
    runs = pd.concat([part["runs"].assign(folder=str(f)) for part, f in zip(parts, folders, strict=True)])
    refuse_duplicates(runs)
    for name in COLUMNS:
        write_csv(out / f"{name}.csv.gz", pd.concat([part[name] for part in parts], ignore_index=True))


def refuse_duplicates(runs: pd.DataFrame) -> None:
    """Raise UserError where a run_id occurs twice, naming the run and its folders."""
    for run_id, folders in runs.groupby("run_id")["folder"]:
        if len(folders) > 1:
            row = runs.set_index("run_id").loc[run_id].iloc[0]
            name = " ".join(str(row[key]) for key in RUN_KEYS)
            raise UserError(f"run {name} is in {' and in '.join(folders)}; collect it once")


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = read_csv(path)
    if list(table.columns) != list(columns):
        wrong = sorted(set(table.columns) ^ set(columns)) or "another order"
        raise UserError(f"{path} has other columns than this suite writes ({wrong}); evaluate it again")
    return table
