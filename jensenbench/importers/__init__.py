"""Readers of other people's data files: one module a format, each with the file's own convention."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jensenbench.errors import UnknownName
from jensenbench.importers import neuraloperator
from jensenbench.importers.conventions import Imported, Reader

FORMATS: Mapping[str, Mapping[str, Reader]] = {"neuraloperator": neuraloperator.READERS}


def read(file: Path, format: str, pde: str, settings: Mapping[str, Any]) -> Imported:
    """States of a foreign file, as float64 fields in the suite's order of channels.

    Args:
        file: the data file.
        format: one of :data:`FORMATS`.
        pde: module name of the equation.
        settings: settings of the PDE that are known; the others are found from the data.

    Raises:
        UnknownName: no such format, or the format holds no such PDE.
        UserError: the file is missing, truncated, of another shape, or holds pickles, NaN or infinite values.
    """
    if format not in FORMATS:
        raise UnknownName("import format", format, FORMATS)
    readers = FORMATS[format]
    if pde not in readers:
        raise UnknownName(f"PDE of the format {format!r}", pde, readers)
    return readers[pde](file, settings)
