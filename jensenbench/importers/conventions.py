"""Which convention a foreign file follows, found from its states: grid, orientation, face rule, source term."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.pde import PDE
from jensenbench.registry import make_pde

Reader = Callable[[Path, Mapping[str, Any]], "Imported"]
CALIBRATION_STATES = 256  # the first ones of the file, which the training split holds
_EDGE = 0.05  # an edge whose rms is below this share of the solution's lies on the boundary


@dataclass(frozen=True)
class Imported:
    """States (N, C, *grid) float64 of a foreign file, the PDE with calibrated settings, and what was found."""

    pde: PDE
    states: Tensor
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """One reading of a file.

    Attributes:
        pde: the PDE with this reading's settings and the source calibrated to it.
        transposed: whether the solution's axes are exchanged.
        residual: rms of the own interior residual, over the source.
        misfit: relative L2 distance of the re-solved solution from the stored one, mean over states.
    """

    pde: PDE
    transposed: bool
    residual: float
    misfit: float

    def describe(self) -> str:
        config = self.pde.config
        orientation = "transposed" if self.transposed else "as stored"
        return (
            f"solution {orientation}, {config.faces} faces: source {config.source:.4g}, "
            f"residual rms {self.residual:.3g} x source, re-solved solution off by {100 * self.misfit:.3g} %"
        )


def grid_kind(solution: Tensor) -> str:
    """``node`` if the solution (N, n, n) vanishes on all edges, ``left_closed`` if on the first row and column alone.

    Raises:
        UserError: any other pattern of edges.
    """
    total = rms(solution)
    first = max(rms(solution[:, 0]), rms(solution[:, :, 0])) < _EDGE * total
    last = max(rms(solution[:, -1]), rms(solution[:, :, -1])) < _EDGE * total
    if not first:
        raise UserError("the solution does not vanish on its first row and column: no node or left-closed grid")
    return "node" if last else "left_closed"


def calibrate(
    name: str, settings: Mapping[str, Any], coefficient: Tensor, solution: Tensor, faces: Sequence[str]
) -> tuple[Candidate, ...]:
    """Readings of Darcy states by orientation and face rule, the smallest residual first.

    The discrete solution is linear in the source: its value is the least-squares fit of the solution
    that the scheme finds for each coefficient to the stored one, unless ``settings`` name it.
    """
    candidates = []
    for rule in faces:
        unit = make_pde(name, {**settings, "faces": rule, "source": 1.0})
        response = unit.solve(torch.stack([coefficient, torch.zeros_like(solution)], 1))[:, 1]
        for transposed in (False, True):
            oriented = solution.mT if transposed else solution
            source = settings.get("source", _round(float((response * oriented).sum() / response.square().sum())))
            pde = make_pde(name, {**settings, "faces": rule, "source": source})
            candidates.append(_candidate(pde, transposed, torch.stack([coefficient, oriented], 1), source * response))
    return tuple(sorted(candidates, key=lambda candidate: candidate.residual))


def rms(values: Tensor) -> float:
    """Root mean square of all entries."""
    return float(values.square().mean().sqrt())


def _candidate(pde: PDE, transposed: bool, states: Tensor, solved: Tensor) -> Candidate:
    residual = rms(pde.residual(states)["interior"]) / abs(pde.config.source)
    distance = (solved - states[:, 1]).flatten(1).norm(dim=1) / states[:, 1].flatten(1).norm(dim=1)
    return Candidate(pde, transposed, residual, float(distance.mean()))


def _round(value: float) -> float:
    """Four significant digits: the source goes into labels and digests."""
    return float(f"{value:.4g}")
