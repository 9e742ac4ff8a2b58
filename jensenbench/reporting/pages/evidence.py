"""What a PDE term does to training: PIDM's watched runs with and without it, paired by seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from jensenbench.evaluation.statistics import MIN_SEEDS, estimate
from jensenbench.io.files import canonical_json
from jensenbench.io.provenance import digest_text
from jensenbench.reporting.comparison import Contrast
from jensenbench.reporting.results import Frame, Results
from jensenbench.reporting.summary import method_settings

METHOD, LOG = "pidm", "log.csv"
ESTIMATES = {"mean": "E[x₀ | xₜ]", "sample": "a sample"}
LOSSES = {
    "denoising": "denoising loss", "mean": "PDE loss of E[x₀ | xₜ]", "sample": "PDE loss of a sample",
    "samples": "residual of drawn states",
}  # fmt: skip
END = 0.25  # share of the log that is its end
SIGMA = "_sigma_"


@dataclass(frozen=True)
class Arm:
    """One way of training on one PDE.

    Attributes:
        log: rows of all seeds, with a column ``seed``.
        estimate: where its residual is taken, None without residual.
    """

    pde: str
    variant: str
    estimate: str | None
    log: Frame

    @property
    def name(self) -> str:
        return f"`{METHOD}/{self.variant}`"

    @property
    def bands(self) -> list[tuple[str, float]]:
        """Ending of the columns of every band of noise levels, and its median level, ascending."""
        found = {name[name.index(SIGMA) :] for name in self.log if SIGMA in name}
        return sorted(((band, _sigma(band)) for band in found), key=lambda pair: pair[1])

    @property
    def top(self) -> str:
        """Ending of the columns of the band with the most noise."""
        return self.bands[-1][0]

    def end(self, quantity: str) -> Frame:
        """By seed: mean over the end of the log."""
        return self._by_seed(quantity, self.log["step"] > (1 - END) * self.log["step"].max())

    def throughout(self, quantity: str) -> Frame:
        """By seed: mean over the whole log."""
        return self._by_seed(quantity, self.log["step"] > 0)

    def _by_seed(self, quantity: str, chosen: Frame) -> Frame:
        return self.log[chosen].groupby("seed")[f"watch_{quantity}"].mean()


def arms(results: Results) -> dict[str, list[Arm]]:
    """Watched runs by PDE, that without residual first; PDEs without one are left out."""
    found: dict[str, list[Arm]] = {}
    runs = results.runs[(results.runs["method"] == METHOD) & (results.runs["status"] == "ok")]
    for (pde, prior, variant), group in runs.groupby(["pde", "prior", "variant"]):
        fit = method_settings(group).get("fit", {})
        if not fit.get("watch"):
            continue
        digest = digest_text(canonical_json(fit))
        paths = {seed: results.layout.fit(pde, prior, METHOD, digest, seed).with_name(LOG) for seed in group["seed"]}
        logs = [pd.read_csv(path).assign(seed=seed) for seed, path in sorted(paths.items()) if path.exists()]
        if logs:
            estimate = fit["estimate"] if fit["c_residual"] > 0 else None
            found.setdefault(pde, []).append(Arm(pde, variant, estimate, pd.concat(logs, ignore_index=True)))
    ordered = {pde: sorted(made, key=lambda arm: (arm.estimate or "", arm.variant)) for pde, made in found.items()}
    return {pde: made for pde, made in ordered.items() if len(made) > 1 and made[0].estimate is None}


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
    logs = np.log(arm.end(quantity) / plain.end(quantity)).dropna()
    if len(logs):
        found = Contrast(estimate(logs.to_numpy()[:, None]), ratio=True)
        yield (arm.pde, "training", f"{arm.name} / {plain.name}", label, found.text(), _read(found.reading, logs))


def _cosine(arm: Arm, kind: str, band: str) -> Iterator[tuple[str, ...]]:
    values = arm.throughout(f"cosine_{kind}{band}").dropna()
    if len(values):
        found = Contrast(estimate(values.to_numpy()[:, None]), ratio=False)
        signs = {"lower": "below 0", "higher": "above 0"}
        reading = signs.get(found.reading, "not separated from 0")
        label = f"cosine of the gradients, residual of {ESTIMATES[kind]}{_at(band)}"
        yield (arm.pde, "training", arm.name, label, found.text(), _read(reading, values))


def _read(reading: str, values: Sequence[float]) -> str:
    return reading if len(values) >= MIN_SEEDS else "no interval"


def _at(band: str) -> str:
    return f" at σ ≈ {_sigma(band):.2g}" if band else ""


def _sigma(band: str) -> float:
    return float(band.removeprefix(SIGMA))
