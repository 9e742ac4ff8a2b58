"""Readers of public data files (DiffusionPDE, FNO, PDEBench, PIDM, CoCoGen, neuraloperator): table and entry point."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jensenbench.data.formats import cocogen, diffusionpde, fno, neuraloperator, pdebench, pidm
from jensenbench.data.formats.arrays import Source
from jensenbench.data.formats.interface import Imported, Reader
from jensenbench.errors import UnknownName

FORMATS: Mapping[str, Mapping[str, Reader]] = {
    "cocogen": cocogen.READERS,
    "diffusionpde": diffusionpde.READERS,
    "fno": fno.READERS,
    "neuraloperator": neuraloperator.READERS,
    "pdebench": pdebench.READERS,
    "pidm": pidm.READERS,
}


def read(
    file: Path,
    format: str,
    pde: str,
    settings: Mapping[str, Any],
    *,
    unpickle: bool = False,
    most: int | None = None,
) -> Imported:
    """States of a public data file, as float64 fields (N, C, *grid), coefficient first.

    Args:
        file: the data file, or one of several that belong together.
        format: one of :data:`FORMATS`.
        pde: module name of the equation.
        settings: settings of the PDE that are known; the others are found from the data.
        unpickle: trust pickled objects in the file, which can run any code.
        most: number of states to read, from the first on; None for all.

    Raises:
        UnknownName: no such format, or the format holds no such PDE.
        UserError: the file is missing, truncated, of another shape, holds pickles, NaN or infinite values, or its
            states do not solve the equation as the format's do.
    """
    if format not in FORMATS:
        raise UnknownName("import format", format, FORMATS)
    readers = FORMATS[format]
    if pde not in readers:
        raise UnknownName(f"PDE of the format {format!r}", pde, readers)
    return readers[pde](Source(file, unpickle, most), settings)
