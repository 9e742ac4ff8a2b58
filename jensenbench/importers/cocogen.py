"""Folders of CoCoGen (arXiv 2312.10527): ``data/P_0.npy`` … and ``permeability/K_0.npy`` …, P transposed against K."""

from collections.abc import Mapping
from dataclasses import replace

from jensenbench.errors import UserError
from jensenbench.importers.arrays import Source, numbered, read_series
from jensenbench.importers.conventions import Imported, Reader, Settings
from jensenbench.importers.corner import read_states


def read_darcy_corner(source: Source, settings: Settings) -> Imported:
    """States (N, 2, n, n) of Darcy flow between two corners; ``source`` is any of the pressures P_i."""
    pressures = numbered(source.path)
    folder = source.path.parent.parent / "permeability"
    permeabilities = [folder / f"K_{i}.npy" for i in range(len(pressures))]
    absent = next((path for path in permeabilities if not path.is_file()), None)
    if absent is not None:
        raise UserError(f"{absent} is missing, {len(pressures)} pressures lie beside {source.path}: fetch it again")
    k, p = (read_series(paths, source) for paths in (permeabilities, pressures))
    found = read_states(source.path, ("K", k), ("P", p), {"law": "cocogen", **settings}, turned=True)
    return replace(found, files=(*permeabilities, *pressures))


READERS: Mapping[str, Reader] = {"darcy_corner": read_darcy_corner}
