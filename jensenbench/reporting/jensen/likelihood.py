"""The likelihood's gap of DPS on PDEs: sentences and a table of its differences by noise level."""

from collections.abc import Iterator, Sequence

from jensenbench.reporting import style
from jensenbench.reporting.render import grid
from jensenbench.reporting.results import Frame
from jensenbench.reporting.style import format_value

HEADING = (
    "PDE",
    "law",
    "noise",
    "σ",
    "log E p − log p(E), a datum",
    "gap / bound as printed",
    "gap / Lipschitz",
    "ESS",
)
SHOWN = 4  # levels of each curve in the table; its CSV has all


def section(tables: Sequence[Frame]) -> str:
    """Sentences, then the highest usable levels of each law and noise."""
    said = [sentence for rows in tables for sentence in sentences(rows)]
    lines = [_line(row) for rows in tables for row in _chosen(rows)]
    return "\n\n".join([INTRODUCTION, "\n".join(f"- {one}" for one in said), grid(HEADING, lines)])


def sentences(rows: Frame) -> Iterator[str]:
    """What the differences of one prior say, by law and noise."""
    for (law, noise), part in rows.groupby(["law", "noise"], sort=False):
        name, usable = f"{part['pde'].iloc[0]}, {law}", part[part["usable"].astype(bool)]
        data = f"{part['points'].iloc[0]:.0f} points, noise std {noise:g}"
        if usable.empty:
            yield f"{name} ({data}): unusable at every level, fewer than five states stand behind x_t and the data."
            continue
        low, top = usable.loc[usable["sigma"].idxmin()], usable.loc[usable["difference"].abs().idxmax()]
        yield (
            f"{name} ({data}): log E[p(y | x₀) | x_t] − log p(y | E[x₀ | x_t]) is {_interval(top)} a datum at "
            f"σ = {top['sigma']:g}, where it is largest, and {_interval(low)} at σ = {low['sigma']:g}, the lowest "
            f"usable level. {_bounds(usable)}"
        )


def _bounds(usable: Frame) -> str:
    printed, steep = usable["printed"].max(), usable["lipschitz"].max()
    broken = "is broken" if printed > 1 else "holds"
    return (
        f"Theorem 1 of DPS as printed {broken} (largest ratio {format_value(printed)}), with a Lipschitz constant it "
        f"{'holds' if steep <= 1 else 'is broken'} ({format_value(steep)})."
    )


def _chosen(rows: Frame) -> Iterator[Frame]:
    for _, part in rows[rows["usable"].astype(bool)].groupby(["law", "noise"], sort=False):
        ordered = part.sort_values("sigma").to_dict("records")
        places = {round(i * (len(ordered) - 1) / (SHOWN - 1)) for i in range(SHOWN)}
        yield from (ordered[place] for place in sorted(places))


def _line(row: Frame) -> list[str]:
    labels = [row["pde"], row["law"], f"{row['noise']:g}", f"{row['sigma']:g}"]
    ratios = (row["printed"], row["lipschitz"])
    bounds = [format_value(ratio) if ratio == ratio else style.MISSING for ratio in ratios]
    size = "exact" if row["ess"] == float("inf") else format_value(row["ess"])
    return [*labels, _interval(row), *bounds, size]


def _interval(row: Frame) -> str:
    return format_value(row["difference"], row["difference_low"], row["difference_high"])


INTRODUCTION = """DPS replaces log E[p(y | x₀) | x_t] by log p(y | E[x₀ | x_t]). An affine R does not save it: the
exponential of a squared misfit is affine in no state, so that the two differ on equations without any residual gap.
The data are the same few entries of every validation state, with noise in units of each field's standard deviation;
brackets are 95 % intervals over states, for one layout of the points. The law of N states is usable where five or
more stand behind x_t and behind x_t with the data."""
