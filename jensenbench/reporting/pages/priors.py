"""The page ``priors.md``: quality of each prior's own samples, cost of its training, and paired ratios."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from jensenbench.evaluation.metrics import UNCONDITIONAL, find_metric
from jensenbench.evaluation.statistics import MIN_SEEDS, Estimate, estimate, separate, separate_sets
from jensenbench.priors.training import TrainingSettings, parse_settings
from jensenbench.reporting.headings import heading, intervals_over
from jensenbench.reporting.render import grid
from jensenbench.reporting.results import CONTROL, Results
from jensenbench.reporting.style import MISSING, format_count, format_seconds, format_value
from jensenbench.reporting.summary import Candidate, Group

SAMPLER = "edm"
QUALITIES = ("residual_rel", "mmse", "smse", "sliced_w2")
Settings = tuple[TrainingSettings, Any]  # of a training and of its backbone


@dataclass(frozen=True)
class Entry:
    """One prior of one PDE with the runs that show its own samples.

    Attributes:
        trained: settings of its training and of its backbone; None for a closed form.
        candidate: all seeds of the sampler's first variant that ran.
        parameters: number of weights; None where no file is left.
        states, seconds, speed: means over the seeds of training states seen, seconds without checks (of a closed form:
            to build it), and states per second; NaN where nothing was recorded.
    """

    prior: str
    group: Group
    candidate: Candidate | None
    trained: Settings | None
    power: int
    parameters: int | None
    states: float
    seconds: float
    speed: float

    @property
    def name(self) -> str:
        return f"`{self.prior}`"


def page(results: Results, figures: Sequence[Path]) -> str:
    """The whole of ``priors.md``; ``figures`` are the stems drawn from training logs."""
    parts = [f"# Priors of the tier `{results.tier}`", INTRODUCTION, "## Quality of samples"]
    compared: list[list[str]] = []
    for pde in dict.fromkeys(pde for pde, _ in results.pairs):
        found = [make_entry(results, pde, prior) for label, prior in results.pairs if label == pde]
        parts += [f"### {pde}", intervals_over(found[0].group, exact=not any(entry.trained for entry in found))]
        parts.append(quality_table(found))
        compared += [row for pair in pairs(found) for row in ratio_row(pde, *pair)]
    if compared:
        parts += ["## One difference at a time", RATIOS, grid(RATIO_HEADING, compared)]
    if figures:
        parts += ["## Training", FIGURES, *(f"![{stem.name}](figures/{stem.name}.png)" for stem in figures)]
    return "\n\n".join(parts) + "\n"


def make_entry(results: Results, pde: str, prior: str) -> Entry:
    """Collect what is known of a prior."""
    settings = {key: value for key, value in results.settings.get("priors", {}).get(prior, {}).items() if key != "kind"}
    trained = None if results.exact(prior) else parse_settings(settings)
    group = Group(results, pde, prior, UNCONDITIONAL)
    chosen = [c for c in group.candidates if c.method == SAMPLER and c.status == "ok"]
    log, timings = results.training(pde, prior), results.timings
    timings = timings[(timings["stage"] == "train") & (timings["pde"] == pde) & (timings["prior"] == prior)]
    states = log.groupby("seed")["states"].max().mean() if len(log) else math.nan
    speed = float(timings["states_per_second"].mean())
    return Entry(
        prior=prior, group=group, candidate=chosen[0] if chosen else None, trained=trained,
        power=trained[0].power if trained else settings.get("power", 1),
        parameters=count_parameters(results.layout.prior(pde, prior, min(group.seeds, default=0))) if trained else 0,
        states=states, speed=speed, seconds=states / speed if trained else float(timings["seconds"].mean()),
    )  # fmt: skip


def count_parameters(path: Path) -> int | None:
    """Number of weights in a prior file, from its header."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - not a dict


def quality_table(entries: Sequence[Entry]) -> str:
    """One row a prior, then the control of fresh data; bold as in ``tables.md``, among trained priors."""
    best = {metric: _best(entries, metric) for metric in QUALITIES}
    rows = [_row(entry, best) for entry in entries]
    rows += [_floor_row(entries[0])] if entries[0].group.candidates else []
    columns = [heading(entries[0].group, metric) for metric in QUALITIES]
    start = ["prior", "power", "backbone", "parameters"]
    return grid([*start, *columns, "states seen", "seconds", "states/s"], rows)


def _row(entry: Entry, best: Mapping[str, set[str]]) -> list[str]:
    backbone = entry.trained[0].backbone if entry.trained else "exact"
    count = MISSING if entry.parameters is None else f"{entry.parameters:,}".replace(",", " ")
    cells = [_cell(entry, metric, bold=entry.prior in best[metric]) for metric in QUALITIES]
    costs = [format_count(entry.states), format_seconds(entry.seconds), format_count(entry.speed)]
    return [entry.name, str(entry.power), backbone, count, *cells, *costs]


def _cell(entry: Entry, metric: str, *, bold: bool) -> str:
    if entry.candidate is None:
        return MISSING
    text = entry.group.cell(entry.candidate, metric).text()
    return f"**{text}**" if bold and text != MISSING else text


def _floor_row(entry: Entry) -> list[str]:
    """The control of as many training states as samples."""
    floors = [c for c in entry.group.candidates if c.method == CONTROL and c.variant == "data_floor"]
    cells = [f"*{entry.group.cell(floor, metric).text()}*" for floor in floors for metric in QUALITIES]
    return ["*data floor*", *[MISSING] * 3, *(cells or [MISSING] * len(QUALITIES)), *[MISSING] * 3]


def _best(entries: Sequence[Entry], metric: str) -> set[str]:
    """Trained priors that Holm's test over all pairs does not separate from the best."""
    shown = [entry for entry in entries if entry.trained and entry.candidate]
    cost = {e.prior: e.group.cost(e.candidate, metric) for e in shown if e.candidate}
    if find_metric(metric).scope != "set":
        return separate(cost).best if len(shown) > 1 else set()
    resampled = {e.prior: e.group.replicates(e.candidate, metric) for e in shown if e.candidate}
    known = {prior: values for prior, values in resampled.items() if values is not None}
    enough = len(known) == len(shown) or all(len(e.group.seeds) >= MIN_SEEDS for e in shown)
    return separate_sets(cost, known).best if len(shown) > 1 and enough else set()


def pairs(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Entry, str]]:
    """Trained priors that differ in their power alone or in their backbone alone, and that difference."""
    for index, first in enumerate(entries):
        for second in entries[index + 1 :]:
            if first.trained and second.trained:
                difference = _difference(first.trained, second.trained)
                if difference:
                    yield first, second, difference


def _difference(first: Settings, second: Settings) -> str:
    (training, own), (other, others) = first, second
    if training.backbone == other.backbone:
        same = own == others and replace(training, power=other.power) == other
        return f"power {training.power} / {other.power}" if same and training.power != other.power else ""
    return f"{training.backbone} / {other.backbone}" if replace(training, backbone=other.backbone) == other else ""


def ratio_row(pde: str, first: Entry, second: Entry, difference: str) -> Iterator[list[str]]:
    """Cells of a pair, if both have residuals of the same seeds and states."""
    found = ratio(first, second)
    if found is not None:
        value, low, high = (math.exp(y) if math.isfinite(y) else math.nan for y in (found.mean, *found.interval()))
        budget = format_count(first.states)
        over = f"{found.seeds} × {found.instances}" + (" (conditional)" if found.conditional else "")
        yield [pde, difference, f"{first.name} / {second.name}", format_value(value, low, high), over, budget]


def ratio(first: Entry, second: Entry) -> Estimate | None:
    """Log of the ratio of two residuals, paired over seeds and latents; None without common runs."""
    if first.candidate is None or second.candidate is None or first.group.seeds != second.group.seeds:
        return None
    logs = [
        entry.group.scale("residual_rel").forward(entry.group.values(entry.candidate, "residual_rel"))
        for entry in (first, second)
        if entry.candidate
    ]
    same = logs[0].shape == logs[1].shape and bool(np.isfinite(logs[0] - logs[1]).any())
    return estimate(logs[0] - logs[1]) if same else None


RATIO_HEADING = ("PDE", "difference", "priors", "ratio of residuals", "seeds × states", "states seen")
INTRODUCTION = """Samples of each prior itself, without observations, drawn by `edm` with the same latents for all;
cells, intervals, **bold** (trained priors only) and floors as in `tables.md`. The data floor is what as many fresh data
score against the same reference. Seconds are those of the optimisation without its checks, a mean over the seeds; they
depend on the machine, so that this page, like `cost.md`, is not among those that equal inputs give equal bytes of."""
RATIOS = """Pairs of trained priors that differ in one thing, everything else and the budget being equal. The ratio is
a geometric mean over states, paired by seed and latent; its 95 % interval is over seeds crossed with states."""
FIGURES = """Losses and gradient norms (before clipping) are means over the steps between two checks; validation is that
of the averaged weights, by noise level at the middle of its bin. Losses of different codec powers are in different
coordinates and do not compare; samples do. Learning curves are measured on a few samples from
fixed latents; lines are means over the seeds, bands reach from the lowest to the highest seed. Dotted: rms of the same
measure over sets of as many training states, a level below which differences say nothing."""
