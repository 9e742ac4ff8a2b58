"""Stage ``collect``: join the evaluations of a tier into one set of tables."""

from pathlib import Path

import pandas as pd

from jensenbench import store
from jensenbench.errors import UserError

COLUMNS = {"runs": store.RUN_COLUMNS, "metrics": store.METRIC_COLUMNS, "timings": store.TIMING_COLUMNS}
Tables = dict[str, pd.DataFrame]


def run(*, folders: list[Path], out: Path) -> None:
    """Concatenate the tables of all folders into ``out``; a run that is there twice is refused by name."""
    if not folders:
        raise UserError("there are no evaluations to collect; run the stage `evaluate` first")
    parts = [read_tables(folder) for folder in folders]
    runs = pd.concat([part["runs"].assign(folder=str(f)) for part, f in zip(parts, folders, strict=True)])
    refuse_duplicates(runs)
    for name in COLUMNS:
        store.write_csv(out / f"{name}.csv.gz", pd.concat([part[name] for part in parts], ignore_index=True))


def read_tables(folder: Path) -> Tables:
    """Runs, metrics and timings of a folder; raises on another schema or on metrics without a run."""
    tables = {name: _read(folder / f"{name}.csv.gz", columns) for name, columns in COLUMNS.items()}
    versions = set(tables["runs"]["schema_version"]) - {store.SCHEMA_VERSION}
    if versions:
        raise UserError(
            f"{folder}: schema version {versions.pop()}, this suite reads {store.SCHEMA_VERSION}; evaluate it again"
        )
    orphans = set(tables["metrics"]["run_id"]) - set(tables["runs"]["run_id"])
    if orphans:
        raise UserError(f"{folder}: metrics of run {min(orphans)} have no row in runs.csv.gz; evaluate it again")
    tables["runs"]["reason"] = tables["runs"]["reason"].fillna("")
    return tables


def refuse_duplicates(runs: pd.DataFrame) -> None:
    """Raise where a run_id occurs twice, naming the run and its folders."""
    for run_id, folders in runs.groupby("run_id")["folder"]:
        if len(folders) > 1:
            row = runs.set_index("run_id").loc[run_id].iloc[0]
            name = " ".join(str(row[key]) for key in store.RUN_KEYS)
            raise UserError(f"run {name} is in {' and in '.join(folders)}; collect it once")


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = store.read_csv(path)
    if list(table.columns) != list(columns):
        wrong = sorted(set(table.columns) ^ set(columns)) or "another order"
        raise UserError(f"{path} has other columns than this suite writes ({wrong}); evaluate it again")
    return table
