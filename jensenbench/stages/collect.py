"""Stage ``collect``: join the evaluations of a tier into one set of tables."""

from pathlib import Path

import pandas as pd

from jensenbench.errors import UserError
from jensenbench.io.tables import COLUMNS, read_tables, refuse_duplicates, write_csv


def run(*, folders: list[Path], out: Path) -> None:
    """Concatenate the tables of all folders into ``out``; a run that is there twice is refused by name."""
    if not folders:
        raise UserError("there are no evaluations to collect; run the stage `evaluate` first")
    parts = [read_tables(folder) for folder in folders]
    runs = pd.concat([part["runs"].assign(folder=str(f)) for part, f in zip(parts, folders, strict=True)])
    refuse_duplicates(runs)
    for name in COLUMNS:
        write_csv(out / f"{name}.csv.gz", pd.concat([part[name] for part in parts], ignore_index=True))
