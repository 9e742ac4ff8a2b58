"""The page ``questions.md``: what reviewers ask of constrained diffusion, answered by paired comparisons."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from jensenbench.evaluation.metrics import UNCONDITIONAL, ranking_metric
from jensenbench.reporting.comparison import contrast
from jensenbench.reporting.distillation import STUDENT, plain_sampler, students
from jensenbench.reporting.headings import CORRECTIONS, POST_PROCESSING_TITLES, name_of
from jensenbench.reporting.pages import evidence
from jensenbench.reporting.render import grid
from jensenbench.reporting.results import Results
from jensenbench.reporting.style import format_count
from jensenbench.reporting.summary import Candidate, Group

HEADING = ("PDE", "task", "comparison", "quantity", "value", "reading")
SHAPE = ("mmse", "smse", "sliced_w2")
PHYSICS = ("residual_rel", "residual_own", "residual_thresholded")
OTHER_STENCIL = "residual_high_order"
STATISTICS = ("std_ratio/*", "free_law/interface_density/*", "free_law/gradient_energy/*")
SPARSE = ("inverse", "reconstruction_3", "reconstruction_30")


@dataclass(frozen=True)
class Question:
    """A question, where it comes from, and the rows that answer it."""

    title: str
    text: str
    rows: tuple[tuple[str, ...], ...]


def page(results: Results, figures: Sequence[Path]) -> str:
    """The whole of ``questions.md``; questions to which the tier has no runs are named at the end.

    ``figures``: stems, each shown below the question that its name begins with.
    """
    asks = (distillation, training, refinement, coefficients, no_prior, post_processing, collapse, stencils)
    asked = [ask(results) for ask in asks]
    parts = [f"# Questions, answered by the tier `{results.tier}`", INTRODUCTION]
    for question in (question for question in asked if question.rows):
        parts += [f"## {question.title}", question.text, grid(HEADING, question.rows)]
        mine = [stem.name for stem in figures if stem.name.split("_")[0] == ILLUSTRATED.get(question.title)]
        parts += [f"![{name}](figures/{name}.png)" for name in mine]
    silent = [question.title for question in asked if not question.rows]
    parts += ["## Not answered by this tier", "\n".join(f"- {title}" for title in silent)] if silent else []
    return "\n\n".join(parts) + "\n"


def distillation(results: Results) -> Question:
    """One-step students against their teacher and against the student without equation."""
    rows = []
    for group in _groups(results, (UNCONDITIONAL,)):
        found = students(results, group)
        plain = next((s.candidate for s in found if not s.weight), None)
        for student in found:
            if student.teacher is not None:
                rows += compare(group, student.candidate, student.teacher, (*PHYSICS, *SHAPE))
            if plain is not None and student.candidate is not plain:
                rows += compare(group, student.candidate, plain, ("residual_rel", *SHAPE))
    return Question(DISTILLATION, DISTILLATION_TEXT, tuple(rows))


def training(results: Results) -> Question:
    """Trainings with a residual against the same without, on states held out."""
    return Question(TRAINING, TRAINING_TEXT, tuple(evidence.rows(results)))


def refinement(results: Results) -> Question:
    """Refined students against the student that they start from."""
    rows = []
    for group in _groups(results, (UNCONDITIONAL,)):
        made = [c for c in _ran(group) if c.method == STUDENT]
        for start in (c for c in made if c.variant == "one_step"):
            for refined in (c for c in made if "refined" in c.variant):
                rows += compare(group, refined, start, ("residual_rel", "residual_own", "sliced_w2"))
                rows += values(group, refined, ("std_ratio/*",))
    text = (
        "`refined` descends on the residual of the student's samples, `refined_anchored` on the relative residual with "
        "an anchor at its start. A std ratio far below 1 is a collapse of the spread."
    )
    return Question("Does refinement of the student's noise collapse?", text, tuple(rows))


def coefficients(results: Results) -> Question:
    """Whether residual-aware methods leave the distribution of a two-valued coefficient."""
    rows = []
    for group in (g for g in _groups(results, (UNCONDITIONAL,)) if "residual_thresholded" in g.names):
        source = plain_sampler(group)
        for candidate in (c for c in _ran(group) if c.residual_aware):
            if source is not None:
                rows += compare(group, candidate, source, ("residual_thresholded",))
            rows += values(group, candidate, STATISTICS)
    text = (
        "Residual after the coefficient is made two-valued, and statistics of the coefficient over those of the data. "
        "They differ from the residual as returned and from 1 where a coefficient lies outside its distribution."
    )
    return Question("Are coefficients exploited or smoothed?", text, tuple(rows))


def no_prior(results: Results) -> Question:
    """The state optimised on data and equation alone, against the best method with a prior."""
    rows = []
    for group in _groups(results, None):
        direct = [c for c in _ran(group) if c.method == "direct"]
        learned = [c for c in _ran(group) if c.method != "direct"]
        for metric in (f"rel_l2_mean/{field}" for field in group.unknown_fields):
            if direct and learned and metric in group.names:
                rows += compare(group, _first(group, direct, metric), _first(group, learned, metric), (metric,))
    text = (
        "`direct` minimises misfit and residual over the state itself, without a prior. The other side is the method "
        "that is best in the same column, chosen after the fact."
    )
    return Question("Is the prior needed?", text, tuple(rows))


def post_processing(results: Results) -> Question:
    """Post-processed plain methods against methods that use the residual."""
    rows = []
    for group in _groups(results, (UNCONDITIONAL, "forward", *SPARSE)):
        metric = ranking_metric(group.task)
        aware = [c for c in _ran(group) if c.residual_aware]
        plain = [c for c in _ran(group) if not c.residual_aware]
        for name in CORRECTIONS:
            processed = [c for c in plain if group.cell(c, f"{metric}@{name}").n_ok]
            if aware and processed:
                first = _first(group, processed, f"{metric}@{name}")
                rows += _row(group, first, _first(group, aware, metric), metric, name)
    text = (
        "The best method without residual after post-processing, against the best residual-aware method as returned: "
        "+ solve keeps the coefficient and solves for the solution, + newton takes Gauss–Newton steps onto the "
        "equation. After + solve the residual is at its floor, so that only the distance or error is compared."
    )
    return Question("Is residual-aware generation better than correcting plain samples?", text, tuple(rows))


def collapse(results: Results) -> Question:
    """Residual-aware methods against the plain sampler of the same prior."""
    rows = []
    for group in _groups(results, (UNCONDITIONAL,)):
        source = plain_sampler(group)
        if source is not None:
            for candidate in (c for c in _ran(group) if c.residual_aware):
                rows += compare(group, candidate, source, ("residual_rel", "sliced_w2", "smse"))
    text = "Residual, distance from the distribution of the data, and error of the spread, over the plain sampler's."
    return Question("Does constraining collapse the distribution?", text, tuple(rows))


def stencils(results: Results) -> Question:
    """Whether a stencil of fourth order separates methods as the own residual does."""
    groups = [*_groups(results, (UNCONDITIONAL,)), *_groups(results, None)]
    rows = [row for group in groups if OTHER_STENCIL in group.names for row in _agreement(group)]
    text = (
        "Of the pairs of methods that the residual separates, how many the residual of fourth order separates alike. "
        "Below the truncation error of its stencil, a residual says nothing to another stencil."
    )
    return Question("Does the order of the methods survive another stencil?", text, tuple(rows))


def _agreement(group: Group) -> Iterator[tuple[str, ...]]:
    told: Counter[str] = Counter()
    for pair in combinations(_ran(group), 2):
        own, other = (contrast(group, *((c, metric) for c in pair)) for metric in ("residual_rel", OTHER_STENCIL))
        if own is not None and other is not None and own.separated:
            told["alike" if own.reading == other.reading else "reversed" if other.separated else "not separated"] += 1
    if told and not group.meaningless:
        pairs = f"pairs of methods that differ in the residual: {told.total()}"
        reading = f"{told['reversed']} reversed, {told['not separated']} not separated"
        yield (group.pde, group.task, pairs, name_of(OTHER_STENCIL), f"{told['alike']} alike", reading)


def compare(group: Group, first: Candidate, second: Candidate, metrics: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A row a metric that both have."""
    for metric in metrics:
        if metric in group.names and not (group.meaningless and metric.startswith("residual")):
            yield from _row(group, first, second, metric)


def _row(
    group: Group, first: Candidate, second: Candidate, metric: str, post_processing: str = ""
) -> Iterator[tuple[str, ...]]:
    found = contrast(group, (first, f"{metric}@{post_processing}" if post_processing else metric), (second, metric))
    if found is not None:
        after = f" {POST_PROCESSING_TITLES[post_processing]}" if post_processing else ""
        name = f"`{first.name}`{after} ({format_count(first.nfe)} NFE)"
        sign = "/" if found.ratio else "−"
        text = f"{name} {sign} `{second.name}` ({format_count(second.nfe)} NFE)"
        yield (group.pde, group.task, text, name_of(metric), found.text(), found.reading)


def values(group: Group, candidate: Candidate, patterns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A row a ratio whose ideal is 1, read against it."""
    for metric in (m for p in patterns for m in sorted(group.names) if m == p or (p.endswith("*") and _fits(m, p))):
        cell = group.cell(candidate, metric)
        if cell.n_ok:
            known = math.isfinite(cell.low) and math.isfinite(cell.high)
            reading = "below 1" if cell.high < 1 else "above 1" if cell.low > 1 else "not separated from 1"
            label = f"`{candidate.name}` ({format_count(candidate.nfe)} NFE)"
            yield (group.pde, group.task, label, name_of(metric), cell.text(), reading if known else "no interval")


def _fits(metric: str, pattern: str) -> bool:
    return metric.startswith(pattern[:-1]) and "@" not in metric


def _groups(results: Results, tasks: Sequence[str] | None) -> list[Group]:
    """Groups of all priors and of these tasks; None: all tasks with observations."""
    return [
        Group(results, pde, prior, task)
        for pde, prior in results.pairs
        for task in results.tasks(pde, prior)
        if (task != UNCONDITIONAL if tasks is None else task in tasks)
    ]


def _ran(group: Group) -> list[Candidate]:
    return [c for c in group.candidates if not c.control and c.status == "ok"]


def _first(group: Group, candidates: Sequence[Candidate], metric: str) -> Candidate:
    """The candidate with the least mean cost, incomplete ones last."""

    def mean(candidate: Candidate) -> float:
        cost = group.cost(candidate, metric)
        return float(cost.mean()) if np.isfinite(cost).all() and cost.size else math.inf

    return min(candidates, key=lambda c: (mean(c), c.name))


DISTILLATION = "Does PIDDM lower the residual below its teacher's at one evaluation?"
DISTILLATION_TEXT = """Students of the same pairs, by the weight λ of the equation in their training (`distilled`: 0),
against the sampler that made the pairs, with the same number of steps, where the tier runs it by itself, and against
the student without equation. The difference from `distilled` is that of the equation's weight."""
TRAINING = "What does a PDE term do to training?"
TRAINING_TEXT = """The same network, batches and seeds without residual (`plain`), with that of E[x₀ | xₜ], and with
that of a sample (a DDIM step and a further network call away), measured on states and noise that none trains on.
Losses are means over the last quarter of the log,
noise levels weighted as in the objective; residuals of drawn states are mean absolute ones over the largest term.
The cosine is that between the gradients of denoising and PDE loss over all weights, a mean over the log: above 0 a
small step down one loss lowers the other, below 0 it raises it. Intervals are over the training seeds, paired."""
ILLUSTRATED = {DISTILLATION: "tradeoff", TRAINING: "evidence"}
INTRODUCTION = """Each row compares two methods on the same prior, states and noise: × is a ratio of geometric means,
other values are differences, with 95 % intervals over states or instances (set metrics: paired bootstrap),
*conditional on the trained priors* where the tier has fewer than three seeds. A reading is what the interval says of
the first method, without correction for the number of rows; metrics, post-processing and floors as in `tables.md`."""
