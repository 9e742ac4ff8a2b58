"""The page ``tables.md``: which numbers stand in which table, and what must be said with them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jensenbench.evaluation.metrics import POST_PROCESSING, UNCONDITIONAL, ranking_metric
from jensenbench.io.files import write_text
from jensenbench.io.frames import listed
from jensenbench.reporting.headings import CORRECTIONS, HEADINGS, POST_PROCESSING_TITLES, heading, intervals_over
from jensenbench.reporting.render import Table, frame, latex, markdown
from jensenbench.reporting.results import CONTROL, Results
from jensenbench.reporting.style import format_value
from jensenbench.reporting.summary import FLOORED, Candidate, Group

GENERATION = ("sliced_w2", "mmse", "smse", "residual_rel", "residual_own", "residual_thresholded", "std_ratio/*")
OBSERVED = ("crps", "rel_l2_mean/*", "rel_l2/*", "error_rate/*", "residual_rel", "residual_own", "std_ratio/*")
CONSTRAINED = ("crps", "mmse", "smse", "constraint_error/*", "rel_l2_mean/*", "residual_rel", "std_ratio/*")
ORACLE = (
    "posterior_mean_error/*",
    "posterior_std_ratio/*",
    "posterior_w2",
    "posterior_coverage_50",
    "posterior_coverage_90",
    "error_over_optimum/*",
    "coverage_50",
    "coverage_90",
)
RESIDUALS = (
    *FLOORED, "residual_high_order", "std_ratio/*",
    *(f"free_law/{statistic}/*" for statistic in ("interface_density", "gradient_energy")),
    "residual_rms", "residual_mae", "residual_max", "residual/*",
)  # fmt: skip
APPENDIX = "A"
SECTIONS = {
    "1": "Table 1. Generation",
    "2": "Table 2. Forward, inverse and reconstruction",
    "3": "Table 3. Constraints: initial values, boundaries, sensors, conserved quantities",
    "4": "Table 4. Oracle track: bias and spread against the posterior, exact or sampled",
    APPENDIX: "Appendix. Residual variants, samples as returned",
}


def all_tables(results: Results) -> Iterator[Table]:
    """Every table of the page, in its order."""
    groups = [Group(results, pde, prior, task) for pde, prior in results.pairs for task in results.tasks(pde, prior)]
    for group in groups:
        if group.task == UNCONDITIONAL:
            yield make_table(group, "1", GENERATION, ("", *CORRECTIONS))
    for group in groups:
        if group.task != UNCONDITIONAL:
            number, columns = ("3", CONSTRAINED) if group.observes_region else ("2", OBSERVED)
            yield make_table(group, number, columns, ("", *POST_PROCESSING))
    for group in groups:
        if any(metric.startswith("posterior_") for metric in group.columns(ORACLE)):
            yield make_table(group, "4", ORACLE, ("",))
    for pair in results.pairs:
        yield appendix([group for group in groups if (group.pde, group.prior) == pair])


def make_table(group: Group, number: str, patterns: Sequence[str], post_processing: Sequence[str]) -> Table:
    """One numbered table of a group; post-processing that nobody got has no block."""
    metrics = group.columns(patterns)
    offered = [s for s in post_processing if not s or any(f"{metric}@{s}" in group.names for metric in metrics)]
    blocks = [group.block(POST_PROCESSING_TITLES[s] if len(offered) > 1 else "", metrics, s) for s in offered]
    return Table(
        key=f"{number}_{group.pde}_{group.prior}_{group.task}",
        title=f"{group.pde}, {group.prior}, {group.task}",
        columns={metric: heading(group, metric) for metric in metrics},
        blocks=tuple(blocks),
        header=intervals_over(group, exact=group.exact),
        verdict=verdict(group),
        notes=tuple(notes(group, metrics)),
        labels={"table": number, "pde": group.pde, "prior": group.prior, "task": group.task},
    )


def appendix(groups: Sequence[Group]) -> Table:
    """All residual variants of one (pde, prior), a block a task."""
    first = groups[0]
    metrics = list(dict.fromkeys(metric for group in groups for metric in group.columns(RESIDUALS)))
    return Table(
        key=f"A_{first.pde}_{first.prior}",
        title=f"{first.pde}, {first.prior}",
        columns={metric: heading(first, metric) for metric in metrics},
        blocks=tuple(group.block(group.task, metrics) for group in groups),
        header=intervals_over(first, exact=first.exact),
        notes=(*floors(first), "Columns in physical units are not ranked: they are the first in other norms."),
        labels={"table": "A", "pde": first.pde, "prior": first.prior},
    )


def verdict(group: Group) -> str:
    """Whether post-processed plain methods beat methods that use the residual while sampling, winners first."""
    metric = ranking_metric(group.task)
    methods = [c for c in group.candidates if not c.control and c.status == "ok"]
    aware = [c for c in methods if c.residual_aware and metric in group.names]
    plain = [c for c in methods if not c.residual_aware]
    offered = [s for s in CORRECTIONS if any(group.cell(c, f"{metric}@{s}").n_ok for c in plain)]
    title = f"**Post-processed plain methods against residual-aware ones** ({HEADINGS[metric]}):"
    if not aware or not offered:
        lacking = "no residual-aware method" if not aware else "no post-processed plain method"
        return f"{title} no comparison, {lacking} has results here."
    rival = _leader(group, aware, metric)
    told = sorted((_compare(group, plain, aware, metric, name) for name in offered), key=lambda told: told[0])
    against = f"`{rival.name}` {_number(group, rival, metric)} is the best residual-aware method as returned"
    return f"{title} {'; '.join([against, *(text for _, text in told)])}."


RELATIONS = ("beats it", "is tied with it", "loses to it", "cannot be compared with it")


def _compare(
    group: Group, plain: Sequence[Candidate], aware: Sequence[Candidate], metric: str, post_processing: str
) -> tuple[int, str]:
    """Rank in ``RELATIONS`` and words: the best post-processed plain method against all residual-aware ones."""
    after = f"{metric}@{post_processing}"
    ran = [c for c in plain if group.cell(c, after).n_ok]
    best = group.ties({f"{c.name}@{post_processing}": (c, after) for c in ran} | {c.name: (c, metric) for c in aware})
    wins, loses = any(f"{c.name}@{post_processing}" in best for c in ran), any(c.name in best for c in aware)
    relation = {(True, False): 0, (True, True): 1, (False, True): 2}.get((wins, loses), 3)
    first = _leader(group, ran, after)
    name = f"`{first.name}` {POST_PROCESSING_TITLES[post_processing]}"
    return relation, f"{name} {_number(group, first, after)} {RELATIONS[relation]}"


def _leader(group: Group, candidates: Sequence[Candidate], metric: str) -> Candidate:
    return min(candidates, key=lambda c: (not group.cell(c, metric).n_ok, group.cell(c, metric).value, c.name))


def _number(group: Group, candidate: Candidate, metric: str) -> str:
    cell = group.cell(candidate, metric)
    return format_value(cell.value, cell.low, cell.high)


def notes(group: Group, metrics: Sequence[str]) -> Iterator[str]:
    """Lines below the verdict: floors, linear solves that stopped early, failures and skips with their reasons."""
    if any(metric.startswith("residual") for metric in metrics):
        yield from floors(group)
    yield from unconverged(group)
    for candidate in group.candidates:
        if candidate.status == "ok" and candidate.reason:
            yield f"`{candidate.name}`: {candidate.reason}"
        elif candidate.status != "ok":
            rank = "not ranked" if candidate.status == "skipped" or candidate.control else "worst rank"
            yield f"`{candidate.name}`: {candidate.status} ({rank}): {candidate.reason or 'no reason recorded'}"


def unconverged(group: Group) -> Iterator[str]:
    """How many states had a Newton step whose linear solve stopped at its cap."""
    for name in CORRECTIONS:
        counts = {c.name: group.values(c, f"unconverged@{name}") for c in group.candidates}
        stopped = [f"`{label}` {total:.0f}" for label, values in counts.items() if (total := np.nansum(values)) > 0]
        if stopped:
            yield f"{POST_PROCESSING_TITLES[name]}: states whose linear solve stopped at its cap: {', '.join(stopped)}."


def floors(group: Group) -> Iterator[str]:
    """The residual that the data themselves have, and whether that leaves a residual any meaning."""
    data = group.dataset
    if group.meaningless:
        yield (
            f"† Meaningless: the data themselves ({data.source}) have a residual of {format_value(data.floor)} of the "
            "equation's largest term, so a residual says nothing about a sample; compare by errors and distributions."
        )
    else:
        rounded = format_value(data.floor_float32)
        yield f"Residual of the data: {format_value(data.floor)}; of the data rounded to float32: {rounded}."


def page(
    results: Results,
    tables: Sequence[Table],
    methods: Mapping[str, Mapping[str, Any]],
    *,
    sections: Mapping[str, str] | None = None,
) -> str:
    """The whole of ``tables.md``; ``methods`` is the catalog's part about methods.

    ``sections``: text by title that stands after the numbered tables; empty ones have no title.
    """
    used = sorted(set(results.runs["method"]) - {CONTROL})
    deviations = {name: methods[name]["deviations"] for name in used if methods.get(name, {}).get("deviations")}
    parts = [f"# Results of the tier `{results.tier}`", provenance(results), LEGEND, absent(results)]
    for number, title in SECTIONS.items():
        chosen = [markdown(table, footnotes=list(deviations)) for table in tables if table.labels["table"] == number]
        if number == APPENDIX:
            parts += [part for name, text in (sections or {}).items() if text for part in (f"## {name}", text)]
        parts += [f"## {title}", *chosen] if chosen else []
    parts += ["## How the methods deviate from their papers"] * bool(deviations)
    parts += [f"[^{name}]: `{name}`: {' '.join(sentences)}" for name, sentences in deviations.items()]
    return "\n\n".join(parts) + "\n"


def provenance(results: Results) -> str:
    """Commits, environment and the way to make the same page again."""
    runs = results.runs
    counts = ", ".join(f"{count} {status}" for status, count in sorted(runs["status"].value_counts().items()))
    again = f"make reproduce TIER={results.tier}"
    return "\n".join(
        [
            f"- commit: {listed(runs['git_commit'])} (`+`: sources differed from it)",
            f"- environment: {listed(runs['environment_digest'])} ({listed(runs['versions'])})",
            f"- again: `{again}`; one number: `python -m jensenbench explain RUN_ID --results results/{results.tier}`",
            f"- runs: {len(runs)}, of which {counts}; seeds: {listed(runs['seed'])}",
        ]
    )


LEGEND = """Each cell: mean, 95 % interval, number of values it rests on / number asked for. Errors and residuals have
geometric means over instances (intervals of their logarithms, brought back), CRPS and coverage arithmetic ones
(studentised bootstrap). **Bold**: the best and every method not separated from it by Holm's test over all pairs of the
block. *Italic*: controls, never ranked and never bold. Rank: in all tables by sliced W2 or CRPS; 2–5 means that one
method is separated from this one as better and that four ranks are open. A method that failed or lacks a value has the
worst rank. Relative L2 of single draws is √2 worse for a perfect sampler than that of the mean: it is
never bold. Residuals are rms over the interior points, over the rms of the equation's largest term on
the data; `≤ floor` is at or below the residual of the data themselves, `≤ float32 floor` of the data in
single precision: such residuals count as equal. NFE: network evaluations per state, counted by the runner."""


def absent(results: Results) -> str:
    """What a reader might look for and will not find here."""
    runs = results.runs[results.runs["method"] != CONTROL]
    tuned = runs[runs["tuned_trials"].fillna(0).astype(float) > 0]
    names = sorted({f"`{row.method}/{row.variant}`" for row in tuned.itertuples()})
    tuning = f"Tuned on validation data: {', '.join(names)}; all others run their presets."
    return (
        "**Not in these tables**: seconds, memory and machines (`cost.md`); the Jensen gap of a tier that does not run "
        "that stage (table 5); ablations (table 6: not made by this version); published numbers of others. "
        + (tuning if names else "No method was tuned: all run their presets.")
    )


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """CSV and LaTeX of each table."""
    for table in tables:
        text = frame(table).to_csv(index=False, float_format="%.9g", lineterminator="\n")
        write_text(folder / f"table_{table.key}.csv", text)
        write_text(folder / f"table_{table.key}.tex", latex(table))
