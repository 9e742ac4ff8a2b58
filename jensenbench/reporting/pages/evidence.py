"""Rows on trainings with and without a PDE loss: ratios of losses and cosines of gradients, paired by seed."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from jensenbench.evaluation.statistics import MIN_SEEDS, estimate
from jensenbench.reporting.comparison import Contrast
from jensenbench.reporting.pde_loss import ESTIMATES, Arm, arms, sigma_of
from jensenbench.reporting.results import Results

LOSSES = {
    "denoising": "denoising loss", "mean": "PDE loss of E[x₀ | xₜ]", "sample": "PDE loss of a sample",
    "samples": "residual of drawn states",
}  # fmt: skip


def rows(results: Results) -> Iterator[tuple[str, ...]]:
    """Rows of a Markdown table: ends of the losses against the run without residual, then cosines."""
    for row in _rows(results):
        yield tuple(cell.replace("|", "\\|") for cell in row)


def _rows(results: Results) -> Iterator[tuple[str, ...]]:
    for plain, *others in arms(results).values():
        for arm in others:
            for quantity, label in LOSSES.items():
                yield from _ratio(arm, plain, quantity, label)
            yield from _ratio(arm, plain, f"denoising{arm.top}", f"denoising loss{_at(arm.top)}")
        for arm in (plain, *others):
            for kind in (arm.estimate,) if arm.estimate else ESTIMATES:
                for band in ("", arm.top):
                    yield from _cosine(arm, kind, band)


def _ratio(arm: Arm, plain: Arm, quantity: str, label: str) -> Iterator[tuple[str, ...]]:
    ratios = (arm.end(quantity) / plain.end(quantity)).dropna()
    if len(ratios):
        found = Contrast(estimate(np.log(ratios.to_numpy(float))[:, None]), ratio=True)
        yield (arm.pde, "training", f"{arm.name} / {plain.name}", label, found.text(), _read(found.reading, ratios))


def _cosine(arm: Arm, kind: str, band: str) -> Iterator[tuple[str, ...]]:
    values = arm.throughout(f"cosine_{kind}{band}").dropna()
    if len(values):
        found = Contrast(estimate(values.to_numpy()[:, None]), ratio=False)
        signs = {"lower": "below 0", "higher": "above 0"}
        reading = signs.get(found.reading, "not separated from 0")
        label = f"cosine of the gradients, residual of {ESTIMATES[kind]}{_at(band)}"
        yield (arm.pde, "training", arm.name, label, found.text(), _read(reading, values))


def _read(reading: str, values: pd.Series) -> str:
    return reading if len(values) >= MIN_SEEDS else "no interval"


def _at(band: str) -> str:
    return f" at σ ≈ {sigma_of(band):.2g}" if band else ""
