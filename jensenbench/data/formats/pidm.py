"""CSV tables of PIDM (arXiv 2403.14404) and PBFM (2506.08604): ``p_data.csv``, ``K_data.csv``, one row per state."""

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt

from numpy.typing import NDArray

from jensenbench.data.formats.arrays import Source, read_csv
from jensenbench.data.formats.corner import read_states
from jensenbench.data.formats.interface import Imported, Reader, Settings
from jensenbench.errors import UserError

FILES = ("K_data.csv", "p_data.csv")


def read_darcy_corner(source: Source, settings: Settings) -> Imported:
    """States (N, 2, n, n) of Darcy flow between two corners; ``source`` is either file."""
    if source.path.name not in FILES:
        raise UserError(f"{source.path}: this format is the pair {' and '.join(FILES)} in one folder; name either")
    paths = tuple(source.path.with_name(name) for name in FILES)
    k, p = (_squares(Source(path, most=source.most)) for path in paths)
    found = read_states(source.path, (FILES[0], k), (FILES[1], p), {"law": "pidm", **settings}, transposed=False)
    return replace(found, files=paths)


READERS: Mapping[str, Reader] = {"darcy_corner": read_darcy_corner}


def _squares(source: Source) -> NDArray:
    table = read_csv(source)
    n = isqrt(table.shape[1])
    if n * n != table.shape[1]:
        raise UserError(
            f"{source.path}: {table.shape[1]} columns are not n² for any n (published: 4096): fetch it again"
        )
    return table.reshape(-1, n, n)
