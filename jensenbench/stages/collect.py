"""Stage ``collect``: join the evaluations of a tier into one set of tables."""

from pathlib import Path

from jensenbench.io.tables import join_tables


def run(*, folders: list[Path], out: Path) -> None:
    """Write the tables of all folders, joined, to ``out``."""
    join_tables(folders, out)
