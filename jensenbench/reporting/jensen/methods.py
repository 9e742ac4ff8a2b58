"""Samples of methods that evaluate the residual, beside those of the same prior that do not, and beside the gap."""

from collections.abc import Iterator, Sequence

from jensenbench.reporting.jensen import findings
from jensenbench.reporting.render import grid
from jensenbench.reporting.results import CONTROL, Frame, Results
from jensenbench.reporting.style import format_value

TASK, METRIC = "unconditional", "residual_rel"  # the residual in units of the equation's largest term
HEADING = ("PDE, prior", "sampler", "R calls a state", "residual", "/ best without R", "/ largest J")


def section(results: Results, groups: Sequence[Frame]) -> str:
    """Sentences and a table of every prior with a gap; a sentence where the tier has nothing to compare."""
    said, lines = [], []
    for rows in groups:
        if findings.is_affine(rows):
            continue
        found = residuals(results, rows["pde"].iloc[0], rows["prior"].iloc[0])
        aware, plain = found[found["residual_calls"] > 0], found[found["residual_calls"] == 0]
        if len(aware) and len(plain):
            largest, least = findings.best(rows)["gap"].max(), plain[METRIC].min()
            said += _sentences(findings.label(rows), aware, plain, largest)
            lines += [_line(findings.label(rows), row, least, largest) for row in aware.to_dict("records")]
    if not lines:
        return "No prior with a gap has samplers with and without the residual to compare in this tier."
    return "\n\n".join(["\n".join(f"- {sentence}" for sentence in said), grid(HEADING, lines)])


def residuals(results: Results, pde: str, prior: str) -> Frame:
    """Mean residual of every sampler that evaluates the residual while it samples, or that learns nothing."""
    runs = results.select(pde, prior, TASK)
    runs = runs[(runs["status"] == "ok") & (runs["method"] != CONTROL)]
    values = results.metrics[results.metrics["metric"] == METRIC].groupby("run_id")["value"].mean()
    runs = runs.assign(**{METRIC: runs["run_id"].map(values)}).dropna(subset=[METRIC])
    learns = runs["config_json"].str.contains('"fit":')  # it may have seen the residual then
    runs = runs[(runs["residual_calls"] > 0) | ~learns]
    return runs.assign(label=runs["method"] + "/" + runs["variant"]).sort_values(METRIC)


def _sentences(label: str, aware: Frame, plain: Frame, largest: float) -> Iterator[str]:
    best = plain.loc[plain[METRIC].idxmin()]
    above, below = aware[aware[METRIC] > best[METRIC]], aware[aware[METRIC] < largest]
    yield (
        f"{label}: {len(aware) - len(above)} of {len(aware)} samplers that evaluate R end with a lower residual than "
        f"the best one of the same prior that does not ({best['label']}, {format_value(best[METRIC])}); "
        f"above it: {', '.join(above['label']) or 'none'}. {len(below)} end below the largest gap "
        f"({format_value(largest)})"
        + (": what R(D) leaves at high noise does not bound what they reach." if len(below) else ".")
    )


def _line(label: str, row: Frame, least: float, largest: float) -> list[str]:
    shares = [format_value(row[METRIC] / other) for other in (least, largest)]
    return [label, row["label"], f"{row['residual_calls']:g}", format_value(row[METRIC]), *shares]
