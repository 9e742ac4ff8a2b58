"""Typed access to pandas tables: rows as dictionaries, groups by text labels, distinct values as one text."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dictionaries by column."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def record(frame: pd.DataFrame, label: object) -> dict[str, Any]:
    """The first row with this label of the index, as a dictionary by column."""
    return records(frame.loc[[label]])[0]


def groups(
    frame: pd.DataFrame, columns: Sequence[str], *, sort: bool = True
) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Rows that agree in these columns, with their values as text; in the order of the table unless sorted."""
    for key, part in frame.groupby(list(columns), sort=sort):
        yield tuple(str(value) for value in key), part


def listed(column: pd.Series) -> str:
    """All values of a column, each once, in order; ``not recorded`` where there is none."""
    return ", ".join(sorted(set(column.dropna().astype(str).tolist()) - {""})) or "not recorded"
