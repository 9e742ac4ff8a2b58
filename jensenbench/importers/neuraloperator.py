"""Data bundled with the package neuraloperator (MIT licence): ``.pt`` files, or their arrays in an ``.npz``.

Darcy: ``x`` (N, n, n) bool coefficient, False 0.1, True 1; ``y`` (N, n, n) pressure. Both are sub-sampled
from a finer grid, so the first row and column lie on the boundary and the last ones do not, and the states
solve no equation of their own grid: the source term is calibrated, and the residual says little.
"""

from collections.abc import Mapping

from jensenbench.importers import darcy
from jensenbench.importers.arrays import Arrays, Source, read_npz, read_pt
from jensenbench.importers.conventions import Imported, Reader, Settings

LEVELS = (0.1, 1.0)


def read_darcy(source: Source, settings: Settings) -> Imported:
    """Darcy states (N, 2, n, n): coefficient, solution; ``settings`` given by the caller are kept, others found."""
    return darcy.read_states(source.path, _arrays(source, "x", "y"), settings, darcy.Format(levels=LEVELS))


READERS: Mapping[str, Reader] = {"darcy": read_darcy}


def _arrays(source: Source, *keys: str) -> Arrays:
    return read_pt(source, keys) if source.path.suffix == ".pt" else read_npz(source, keys)
