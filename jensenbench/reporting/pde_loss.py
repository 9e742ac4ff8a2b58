"""Trainings with and without a PDE loss: the logs of PIDM's monitored runs, by PDE and variant."""

from dataclasses import dataclass

import pandas as pd

from jensenbench.io.files import canonical_json
from jensenbench.io.frames import groups
from jensenbench.io.provenance import digest_text
from jensenbench.reporting.results import Results
from jensenbench.reporting.summary import method_settings

METHOD, LOG = "pidm", "log.csv"
ESTIMATES = {"mean": "E[x₀ | xₜ]", "sample": "a sample"}
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
    log: pd.DataFrame

    @property
    def name(self) -> str:
        return f"`{METHOD}/{self.variant}`"

    @property
    def bands(self) -> list[tuple[str, float]]:
        """Ending of the columns of every band of noise levels, and its median level, ascending."""
        found = {name[name.index(SIGMA) :] for name in map(str, self.log.columns) if SIGMA in name}
        return sorted(((band, sigma_of(band)) for band in found), key=lambda pair: pair[1])

    @property
    def top(self) -> str:
        """Ending of the columns of the band with the most noise."""
        return self.bands[-1][0]

    def end(self, quantity: str) -> pd.Series:
        """By seed: mean over the end of the log."""
        return self._by_seed(quantity, self.log["step"] > (1 - END) * self.log["step"].max())

    def throughout(self, quantity: str) -> pd.Series:
        """By seed: mean over the whole log."""
        return self._by_seed(quantity, self.log["step"] > 0)

    def _by_seed(self, quantity: str, chosen: pd.Series) -> pd.Series:
        return self.log[chosen].groupby("seed")[f"watch_{quantity}"].mean()


def arms(results: Results) -> dict[str, list[Arm]]:
    """Monitored runs by PDE, that without residual first; PDEs without one are left out."""
    found: dict[str, list[Arm]] = {}
    runs = results.runs[(results.runs["method"] == METHOD) & (results.runs["status"] == "ok")]
    for (pde, prior, variant), group in groups(runs, ["pde", "prior", "variant"]):
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


def sigma_of(band: str) -> float:
    """Median noise level of a band, from the ending of its columns."""
    return float(band.removeprefix(SIGMA))
