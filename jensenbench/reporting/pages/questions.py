"""The page ``questions.md``: what reviewers ask of constrained diffusion, answered by paired comparisons."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from jensenbench.evaluation.metrics import find_metric
from jensenbench.reporting.comparison import contrast
from jensenbench.reporting.figures.tradeoff import STUDENT, TASK, students, teacher
from jensenbench.reporting.pages import evidence
from jensenbench.reporting.pages.tables import CORRECTIONS, HEADINGS, SERVICE_TITLES
from jensenbench.reporting.render import grid
from jensenbench.reporting.results import Results
from jensenbench.reporting.style import format_count
from jensenbench.reporting.summary import Candidate, Group

HEADING = ("PDE", "task", "comparison", "quantity", "value", "reading")
SHAPE = ("mmse", "smse", "sliced_w2")
PHYSICS = ("residual_rel", "residual_own", "residual_thresholded")
OTHER_STENCIL = "residual_high_order"
LAWS = ("std_ratio/*", "free_law/interface_density/*", "free_law/gradient_energy/*")
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
    asks = (distillation, training, refinement, coefficients, no_prior, services, collapse, stencils)
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
    for group in _groups(results, (TASK,)):
        found, source = students(results, group), teacher(group)
        plain = next((s.candidate for s in found if not s.weight), None)
        for student in found:
            if source is not None:
                rows += compare(group, student.candidate, source, (*PHYSICS, *SHAPE))
            if plain is not None and student.candidate is not plain:
                rows += compare(group, student.candidate, plain, ("residual_rel", *SHAPE))
    return Question(DISTILLATION, DISTILLATION_TEXT, tuple(rows))


def training(results: Results) -> Question:
    """Trainings with a residual against the same without, on states held out."""
    return Question(TRAINING, TRAINING_TEXT, tuple(evidence.rows(results)))


def refinement(results: Results) -> Question:
    """Refined students against the student that they start from."""
    rows = []
    for group in _groups(results, (TASK,)):
        made = [c for c in _ran(group) if c.method == STUDENT]
        for start in (c for c in made if c.variant == "one_step"):
            for refined in (c for c in made if "refined" in c.variant):
                rows += compare(group, refined, start, ("residual_rel", "residual_own", "sliced_w2"))
                rows += values(group, refined, ("std_ratio/*",))
    text = (
        "Descent on the residual can shrink a state of a homogeneous equation to nothing (std ratio far below 1) or "
        "trade its law for a residual; `refined_anchored` descends on the relative one, anchored at its start."
    )
    return Question("Does refinement of the student's noise collapse?", text, tuple(rows))


def coefficients(results: Results) -> Question:
    """Whether residual-aware methods leave the law of a two-valued coefficient."""
    rows = []
    for group in (g for g in _groups(results, (TASK,)) if "residual_thresholded" in g.names):
        source = teacher(group)
        for candidate in (c for c in _ran(group) if c.residual_aware):
            if source is not None:
                rows += compare(group, candidate, source, ("residual_thresholded",))
            rows += values(group, candidate, LAWS)
    text = (
        "A sample can meet the equation with a coefficient that the law forbids: values between the two levels, or "
        "smoother ones. The residual after the coefficient is made two-valued, and the law of the free data, show it."
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
        "`direct` minimises misfit and residual over the state itself. It is compared with the method that does best "
        "in the same column, which favours that method."
    )
    return Question("Is the prior needed?", text, tuple(rows))


def services(results: Results) -> Question:
    """Plain methods with a service that anyone can apply, against methods that use the residual."""
    rows = []
    for group in _groups(results, (TASK, "forward", *SPARSE)):
        metric = "sliced_w2" if group.task == TASK else "crps"
        aware = [c for c in _ran(group) if c.residual_aware]
        plain = [c for c in _ran(group) if not c.residual_aware]
        for service in CORRECTIONS:
            served = [c for c in plain if group.cell(c, f"{metric}@{service}").n_ok]
            if aware and served:
                first = _first(group, served, f"{metric}@{service}")
                rows += _row(group, first, _first(group, aware, metric), metric, service)
    text = (
        "The best method without residual after a service, against the best residual-aware method as returned: + solve "
        "keeps the coefficient and solves for the solution, + newton takes Gauss–Newton steps onto the equation. After "
        "+ solve the residual is at its floor, so that the distance or error alone decides."
    )
    return Question("Is residual-aware generation better than correcting plain samples?", text, tuple(rows))


def collapse(results: Results) -> Question:
    """Residual-aware methods against the plain sampler of the same prior."""
    rows = []
    for group in _groups(results, (TASK,)):
        source = teacher(group)
        if source is not None:
            for candidate in (c for c in _ran(group) if c.residual_aware):
                rows += compare(group, candidate, source, ("residual_rel", "sliced_w2", "smse"))
    text = "A low residual at a larger distance from the law is bought with the distribution (PIDM's published table)."
    return Question("Does constraining collapse the distribution?", text, tuple(rows))


def stencils(results: Results) -> Question:
    """Whether a stencil of fourth order separates methods as the own residual does."""
    groups = [*_groups(results, (TASK,)), *_groups(results, None)]
    rows = [row for group in groups if OTHER_STENCIL in group.names for row in _agreement(group)]
    text = (
        "Of the pairs of methods that the residual separates, how many the residual of fourth order separates alike. "
        "Methods that meet the own equation far better than its truncation error are equal to another stencil."
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
        yield (group.pde, group.task, pairs, _heading(OTHER_STENCIL), f"{told['alike']} alike", reading)


def compare(group: Group, first: Candidate, second: Candidate, metrics: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A row a metric that both have."""
    for metric in metrics:
        if metric in group.names and not (group.meaningless and metric.startswith("residual")):
            yield from _row(group, first, second, metric)


def _row(
    group: Group, first: Candidate, second: Candidate, metric: str, service: str = ""
) -> Iterator[tuple[str, ...]]:
    found = contrast(group, (first, f"{metric}@{service}" if service else metric), (second, metric))
    if found is not None:
        name = f"`{first.name}`{f' {SERVICE_TITLES[service]}' if service else ''} ({format_count(first.nfe)} NFE)"
        sign = "/" if found.ratio else "−"
        text = f"{name} {sign} `{second.name}` ({format_count(second.nfe)} NFE)"
        yield (group.pde, group.task, text, _heading(metric), found.text(), found.reading)


def values(group: Group, candidate: Candidate, patterns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """A row a ratio whose ideal is 1, read against it."""
    for metric in (m for p in patterns for m in sorted(group.names) if m == p or (p.endswith("*") and _fits(m, p))):
        cell = group.cell(candidate, metric)
        if cell.n_ok:
            known = math.isfinite(cell.low) and math.isfinite(cell.high)
            reading = "below 1" if cell.high < 1 else "above 1" if cell.low > 1 else "not separated from 1"
            label = f"`{candidate.name}` ({format_count(candidate.nfe)} NFE)"
            yield (group.pde, group.task, label, _heading(metric), cell.text(), reading if known else "no interval")


def _fits(metric: str, pattern: str) -> bool:
    return metric.startswith(pattern[:-1]) and "@" not in metric


def _heading(metric: str) -> str:
    name = find_metric(metric).name
    return " ".join([HEADINGS.get(name, name), metric.removeprefix(name).removeprefix("/")]).strip()


def _groups(results: Results, tasks: Sequence[str] | None) -> list[Group]:
    """Groups of all priors and of these tasks; None: all tasks with observations."""
    return [
        Group(results, pde, prior, task)
        for pde, prior in results.pairs
        for task in results.tasks(pde, prior)
        if (task != TASK if tasks is None else task in tasks)
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
against their teacher's plain samples from the same noise, and against the student without equation. A gain over
`distilled` is the equation's; one that `distilled` has too is distillation's."""
TRAINING = "What does a PDE term do to training?"
TRAINING_TEXT = """The same network, batches and seeds without residual (`plain`), with that of E[x₀ | xₜ], and with
that of a sample (a DDIM step and a further network call away), measured on states and noise that none trains on.
E[x₀ | xₜ] of a nonlinear equation should *not* solve it (`docs/jensen.md`), so that not both losses can be least;
`plain` shows what the residual would do where it does not act. Losses are means over the last quarter of the log,
noise levels weighted as in the objective; residuals of drawn states are mean absolute ones over the largest term.
The cosine is that between the gradients of denoising and PDE loss over all weights, a mean over the log: above 0 a
small step down one loss lowers the other, below 0 it raises it. Gradients of finitely many states are noisy, which
draws cosines towards 0; where a training on both has converged its gradients cancel, which draws its cosine towards
-1: `plain` and single bands of noise say more than late steps. Intervals are over the training seeds, paired."""
ILLUSTRATED = {DISTILLATION: "tradeoff", TRAINING: "evidence"}
INTRODUCTION = """Each row compares two methods on the same prior, states and noise: × is a ratio of geometric means,
other values are differences, with 95 % intervals over states or instances (set metrics: paired bootstrap),
*conditional on the trained priors* where the tier has fewer than three seeds. A reading is what the interval says of
the first method, without correction for the number of rows; metrics, services and floors are those of `tables.md`."""
