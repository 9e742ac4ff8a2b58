"""Column headings and captions that several pages share."""

from jensenbench.evaluation.metrics import find_metric
from jensenbench.evaluation.statistics import MIN_SEEDS
from jensenbench.reporting.summary import Group

POST_PROCESSING_TITLES = {
    "": "as returned", "pasted": "with the noise-free observations pasted in", "solved": "+ solve",
    "newton1": "+ newton, 1 step", "newton3": "+ newton, 3 steps",
}  # fmt: skip
CORRECTIONS = ("solved", "newton1", "newton3")  # post-processing that can follow any plain method
HEADINGS = {
    "mmse": "mean MSE", "smse": "std MSE", "sliced_w2": "sliced W2", "residual_rel": "residual",
    "residual_own": "residual, own term", "residual_thresholded": "residual, two-valued", "std_ratio": "std ratio",
    "crps": "CRPS", "rel_l2_mean": "rel. L2 of the mean", "rel_l2": "rel. L2 of single draws",
    "error_rate": "error rate", "posterior_mean_error": "bias", "posterior_std_ratio": "spread ratio",
    "posterior_w2": "W₂ to the posterior", "posterior_coverage_50": "coverage of posterior draws, 50 %",
    "posterior_coverage_90": "coverage of posterior draws, 90 %",
    "error_over_optimum": "error over optimum", "coverage_50": "coverage of 50 %", "coverage_90": "coverage of 90 %",
    "free_law/interface_density": "interface density", "free_law/gradient_energy": "gradient energy",
    "residual_high_order": "residual, fourth order",
    "constraint_error": "violation",
    "residual_rms": "rms", "residual_mae": "mean abs.", "residual_max": "max", "residual": "rms",
}  # fmt: skip
ARROWS = {"lower": " ↓", "higher": " ↑", "one": " → 1", "nominal": "", None: ""}


def heading(group: Group, metric: str) -> str:
    """Name, part, unit and direction of a column."""
    declared = find_metric(metric)
    part, text = metric.removeprefix(declared.name).removeprefix("/"), HEADINGS.get(declared.name, declared.name)
    unit = f" [{declared.unit}]" if declared.unit != "1" else ""
    if metric.startswith("residual") and group.meaningless:
        return f"{text}{f' {part}' if part else ''}{unit} (meaningless †)"
    return f"{text}{f' {part}' if part else ''}{unit}{ARROWS[declared.direction]}"


def name_of(metric: str) -> str:
    """Name and part of a metric, as a table's cell shows them."""
    name = find_metric(metric).name
    return " ".join([HEADINGS.get(name, name), metric.removeprefix(name).removeprefix("/")]).strip()


def intervals_over(group: Group, *, exact: bool) -> str:
    """What intervals over the group's seeds and instances are over, and whether they hold for one training only."""
    count = len(group.seeds)
    seeds = "1 seed" if count == 1 else f"{count} seeds"
    if count >= MIN_SEEDS:
        return f"Intervals over {seeds} crossed with the instances."
    if exact:
        return f"Exact prior; {seeds} of the sampling noise: intervals over the instances."
    return f"{seeds.capitalize()}: intervals over the instances, *conditional on this trained prior*."
