"""Types that all readers of data files share: what a reader takes and what it returns."""

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
    """What a reader returns.

    Attributes:
        pde: the equation, with the settings that were given or calibrated.
        states: (N, C, *grid) float64.
        findings: lines that say how the file was interpreted.
        files: all files that were read, where there are several.
    """

    pde: PDE
    states: Tensor
    findings: tuple[str, ...]
    files: tuple[Path, ...] = ()


Reader = Callable[[Source, Settings], Imported]
