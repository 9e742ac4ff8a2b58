"""What every reader takes and returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from jensenbench.core.pde import PDE
from jensenbench.data.formats.arrays import Source

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Imported:
    """States (N, C, *grid) float64 of a foreign file, the PDE with calibrated settings, and what was found.

    ``files`` are all that were read where there are several.
    """

    pde: PDE
    states: Tensor
    findings: tuple[str, ...]
    files: tuple[Path, ...] = ()


Reader = Callable[[Source, Settings], Imported]
