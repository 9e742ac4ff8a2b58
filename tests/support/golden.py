"""Reads reference outputs of published implementations, and builds the priors and problems they used.

The folder is the environment variable ``GOLDEN_DIR`` (default ``tests/golden/data``), so that the same
tests can be held against recordings of other sizes, weights and seeds with the same keys.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.constraints import Constraint
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.observations import LinearObservation, MaskObservation, Observation
from jensenbench.core.pde import PDE, Axis, Field, Grid
from jensenbench.core.problem import Problem
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.mixture import MixturePrior
from pdes._pcfm_constraints import Balances


def golden_dir() -> Path:
    return Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[1] / "golden" / "data"))


def recorded(name: str) -> bool:
    """Whether the folder holds this recording; a chosen folder may hold some of them only."""
    return (golden_dir() / f"{name}.npz").exists()


class Fixture:
    """One recording: ``fixture["case/key"]`` is a float64 (or int64) tensor, ``config`` its parameters."""

    def __init__(self, name: str):
        self.name = name
        if "GOLDEN_DIR" in os.environ and not recorded(name):
            pytest.skip(f"{name}.npz is not in GOLDEN_DIR", allow_module_level=True)
        with np.load(golden_dir() / f"{name}.npz") as stored:
            self.config: dict[str, Any] = json.loads(str(stored["config"]))
            self._arrays = {key: stored[key] for key in stored.files if key != "config"}

    @property
    def cases(self) -> Any:
        """Names of the cases; a mapping to their parameters where the recording has any."""
        return self.config["cases"]

    def parameter(self, case: str, key: str) -> Any:
        """A case's parameter, or the one shared by all cases; "inf" is read as a number."""
        value = self.cases[case].get(key, self.config.get(key))
        return float("inf") if value == "inf" else value

    def __contains__(self, key: str) -> bool:
        return key in self._arrays

    def __getitem__(self, key: str) -> Tensor:
        array = self._arrays[key]
        return torch.from_numpy(array if array.dtype.kind in "iub" else array.astype(np.float64))

    def get(self, key: str, default: Any) -> Any:
        """The stored array, or ``default`` where there is none."""
        return self[key] if key in self._arrays else default

    def keys(self, case: str = "") -> list[str]:
        """Names stored for a case, without the case; those shared by all cases for the empty name."""
        prefix = f"{case}/" if case else ""
        names = [key.removeprefix(prefix) for key in self._arrays if key.startswith(prefix)]
        return [name for name in names if "/" not in name]

    def tolerance(self, key: str) -> tuple[str, float]:
        """("relative" to the largest reference value or "absolute", allowed error); the first match holds."""
        for pattern, kind, value in self.config["tolerances"]:
            if fnmatch(key, pattern):
                return kind, value
        raise KeyError(f"{self.name}: no tolerance for {key}")

    def error(self, key: str, value: Tensor) -> float:
        """Largest deviation from the reference, in the unit of its tolerance."""
        reference = self[key].to(torch.float64)
        mine = value.detach().to(torch.float64)
        assert mine.shape == reference.shape, (
            f"{self.name}: {key} has shape {tuple(mine.shape)}, not {tuple(reference.shape)}"
        )
        kind, _ = self.tolerance(key)
        deviation = (mine - reference).abs().max()
        largest = reference.abs().max()
        return float(deviation / largest if kind == "relative" and largest > 0 else deviation)

    def assert_close(self, key: str, value: Tensor) -> float:
        """Compare with the stored array at its tolerance; returns the error."""
        error, (kind, allowed) = self.error(key, value), self.tolerance(key)
        assert error <= allowed, f"{self.name}: {key} differs by {error:.3g} ({kind}, allowed {allowed:g})"
        return error


def toy_prior(
    fixture: Fixture, which: str, *, family: str = "", channels: bool = True, solution_first: bool = False
) -> Denoiser:
    """Toy "A" (isotropic Gaussian) or "B" (Gaussian mixture); ``family`` selects ``gm_means_<family>``.

    ``channels``: whether recorded states have a channel axis; else the prior's states get one of size 1.
    ``solution_first``: whether that axis has the other order than the suite's states.
    """
    suffix = f"_{family}" if family else ""
    means = fixture[f"gm_means{suffix}"] if channels else fixture[f"gm_means{suffix}"][:, None]
    means = means.flip(1) if solution_first else means
    if which == "A":
        return GaussianPrior.isotropic(tuple(means.shape[1:]), float(fixture["g_sd"]))
    return MixturePrior(means, fixture[f"gm_weights{suffix}"], float(fixture["gm_tau"]))


@dataclass(frozen=True)
class _Size:
    n: int


class NoEquation(PDE):
    """States of any shape that obey no equation, for recordings of linear inverse problems."""

    name = "no_equation"
    Config = _Size

    def __init__(self, shape: Sequence[int]):
        super().__init__(_Size(max(4, *shape[1:])))
        self.fields = tuple(Field(f"c{channel}", "solution") for channel in range(shape[0]))
        self.grid = Grid(tuple(Axis(f"x{axis}", n) for axis, n in enumerate(shape[1:])))

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        return torch.zeros(len(indices), *self.shape, dtype=torch.float64)

    def solve(self, state: Tensor) -> Tensor:
        return state

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        return {"none": torch.zeros_like(state[:, 0])}

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        return {}

    def affine(self) -> bool:
        return True

    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        state = torch.zeros(batch, *self.shape, dtype=torch.float64)
        return state, self.residual(state)


def plain_problem(
    shape: Sequence[int], observation: Observation | None = None, constraints: Sequence[Constraint] = ()
) -> Problem:
    """Prior coordinates are the fields themselves; no equation."""
    pde = NoEquation(shape)
    codec = Codec(pde, shift=[0.0] * shape[0], scale=[1.0] * shape[0])
    return Problem(pde, "recorded", codec, observation=observation, constraints=tuple(constraints))


def mask_observation(mask: Tensor, values: Tensor, shape: Sequence[int]) -> MaskObservation:
    """Observed entries; ``mask`` and ``values`` broadcast to the states' shape (b, C, *grid)."""
    return MaskObservation(mask.bool().expand(*shape), (mask * values).expand(*shape))


def linear_observation(matrix: Tensor, values: Tensor) -> LinearObservation:
    """A dense operator (m, C*prod(grid)) with values (m,) for one state."""
    return LinearObservation(matrix, values[None])


def equation_problem(fixture: Fixture, pde_name: str) -> Problem:
    """The problem of a guided recording with fields a and u, or with one space-time field seen at sensor columns."""
    pde = make_pde(pde_name, {"n": fixture.config["grid"]})
    affine = fixture.config["physical_from_network"]
    slope, offset = affine["slope"], affine["offset_added_before_slope"]
    codec = Codec(pde, shift=[s * o for s, o in zip(slope, offset, strict=True)], scale=slope)
    if "sensor_columns" in fixture:
        mask = torch.zeros(pde.shape, dtype=torch.float64)
        mask[..., fixture["sensor_columns"]] = 1
        truth = fixture["u_true"][None]
    else:
        mask = torch.stack([fixture["mask_a"], fixture["mask_u"]])
        truth = torch.stack([fixture["a_true"], fixture["u_true"]])
    observation = mask_observation(mask[None], truth[None], (1, *pde.shape))
    return Problem(pde, "recorded", codec, observation=observation)


def published_balances(fixture: Fixture, family: str, **options: Any) -> Balances:
    """What PCFM's constraints of the recorded problem are made of; all its axes are linspace(0, 1)."""
    plane = family == "ns"
    *points, times = fixture.config["nx_ny_nt_ns"] if plane else (fixture.config["nx"], fixture.config["nt"])
    spacings = tuple(1 / (n - 1) for n in points)
    constants = {name: fixture.config[key] for name, key in (("rho", "rho"), ("nu", "nu"), ("left", "left_bc"))}
    return Balances(fixture[f"data_{family}"], spacings, 1 / (times - 1), **constants, **options)


def every_second(values: Tensor, shape: Sequence[int]) -> MaskObservation:
    """Every second grid point along both axes observed, the same for all rows; ``values`` (1, C, n/2, n/2)."""
    mask = torch.zeros(*shape, dtype=torch.float64)
    spread = torch.zeros_like(mask)
    mask[..., ::2, ::2], spread[..., ::2, ::2] = 1, values
    return mask_observation(mask, spread, shape)
