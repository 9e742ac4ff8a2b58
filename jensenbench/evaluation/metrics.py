"""Every metric that the suite reports, declared once: formula, unit, direction, transform.

Names in the tables are ``metric``, ``metric/part`` (a field or a part of the residual), followed by
``@`` and the name of the post-processing of the sample (one of ``POST_PROCESSING``), and by
``@bootstrap`` for resampled values of a set metric (``draw`` is then the replicate).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pandas as pd
import torch
from torch import Tensor

from jensenbench.errors import UnknownName

Direction = Literal["lower", "higher", "one", "nominal"]
Transform = Literal["log", "log_floor", "log_count", "identity"]
Scope = Literal["draw", "instance", "set"]

UNCONDITIONAL = "unconditional"  # the task without observations
POST_PROCESSING = ("pasted", "solved", "newton1", "newton3")
BOOTSTRAP = "bootstrap"
PERCENT = (10, 30, 50, 70, 90)  # levels of coverage


@dataclass(frozen=True)
class Metric:
    """What a number means and how it is averaged.

    Attributes:
        unit: ``1`` (a ratio), ``std`` (of the field over the training states), ``physical`` or a count.
        direction: which values are better; ``one`` and ``nominal`` want ``target``, None is not ranked.
        transform: scale on which means, intervals and tests are made: ``log_floor`` adds the data's own
            residual floor before the logarithm, ``log_count`` is log((k + 1/2)/(n + 1)) of k out of n.
        scope: one value per draw, per instance (all its draws) or per set of states.
    """

    name: str
    formula: str
    unit: str = "1"
    direction: Direction | None = "lower"
    transform: Transform = "log"
    scope: Scope = "instance"
    target: float | None = None


_level = partial(Metric, direction="nominal", transform="identity")
_ratio = partial(Metric, direction="one", target=1.0)
_distance = partial(Metric, transform="identity", scope="set")
_over_floor = partial(Metric, transform="log_floor")
_count = partial(Metric, unit="count", direction=None, transform="identity", scope="set")

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("rel_l2", "‖û − u‖₂/‖u‖₂ of each draw", scope="draw"),
        Metric("rel_l2_mean", "‖ū − u‖₂/‖u‖₂, ū the mean over the draws"),
        Metric(
            "error_rate", "share of wrong pixels of a thresholded two-valued field", transform="log_count", scope="draw"
        ),
        Metric("error_rate_mean", "error_rate of the mean over the draws", transform="log_count"),
        Metric(
            "crps", "mean over unknown pixels of mean|xᵢ − y| − Σᵢⱼ|xᵢ − xⱼ|/(2K(K−1))", "std", transform="identity"
        ),
        *(
            _level(f"coverage_{q}", f"share of unknown pixels inside the central {q} % of the draws", target=q / 100)
            for q in PERCENT
        ),
        _ratio("spread_skill", "√((K+1)/K · mean var)/rms error of the mean, unknown pixels"),
        Metric("data_misfit", "rms of û − values over the observed entries", "std", None),
        _distance("mmse", "mean over pixels of (mean_gen − mean_ref)² − var_gen/n − var_ref/m", "std²"),
        _distance("smse", "mean over pixels of (std_gen − std_ref)² − Var(std_gen) − Var(std_ref)", "std²"),
        _ratio(
            "std_ratio",
            "pooled std of the samples over the reference's; with data, rms of û − mean_ref over that of u − mean_ref",
            scope="set",
        ),
        _distance("sliced_w2", "√ of the mean over random directions of W₂², states in unit-std channels", "std"),
        _ratio(
            "free_law/interface_density",
            "share of unlike neighbours of the coefficient, over the reference's or, with data, the truths'",
            scope="set",
        ),
        _ratio(
            "free_law/gradient_energy",
            "mean |∇ₕa|² of the coefficient, over the reference's or, with data, the truths'",
            scope="set",
        ),
        Metric("residual_rms", "rms of the interior residual over points and draws", "physical"),
        Metric("residual_mae", "mean |R| over points and draws", "physical"),
        Metric("residual_max", "max |R| over points and draws", "physical"),
        _over_floor("residual_rel", "residual_rms over the rms of the equation's largest term on the data"),
        _over_floor("residual_own", "rms of R over the rms of the sample's own largest term"),
        _over_floor("residual_thresholded", "residual_rel after two-valued coefficients are made two-valued"),
        Metric("residual_high_order", "residual_rel by a stencil of fourth order, where there is one"),
        Metric("residual", "rms of a boundary or initial part of the residual", "physical"),
        Metric(
            "constraint_error",
            "‖h(û)‖₂ of a hard constraint h or of noise-free observations, rms over the draws",
            "physical",
        ),
        Metric("residual_floor", "residual_rel of the reference data, pooled", direction=None, scope="set"),
        Metric("moved", "rms distance by which a post-processing moved the sample", "std", None),
        _count("refused", "number of states that the numerical solver refused"),
        _count("unconverged", "number of states with a Gauss–Newton step whose linear solve stopped at its cap"),
        _count("points", "number of pixels of a field"),
        Metric("posterior_mean_error", "‖mean of the draws − exact posterior mean‖/‖exact posterior mean‖"),
        _ratio("posterior_std_ratio", "√(Σ var of the draws/Σ exact posterior var), unknown pixels"),
        Metric("posterior_w2", "sliced_w2 of an instance's draws and draws of its posterior", "std"),
        *(
            _level(f"posterior_coverage_{q}", f"coverage_{q} with posterior draws for the truth", target=q / 100)
            for q in PERCENT
        ),
        Metric("error_over_optimum", "rel_l2_mean over that of the exact posterior mean"),
    )
}


def ranking_metric(task: str) -> str:
    """The metric by which methods are ranked and trials compared in a task, less is better.

    Both are proper: no distribution but the right one has the least expected value. The CRPS is averaged as it is, for
    a mean of its logarithms is not proper.
    """
    return "sliced_w2" if task == UNCONDITIONAL else "crps"


def find_metric(name: str) -> Metric:
    """Declaration of a metric by its full name, parts and suffixes included."""
    base = name.split("@")[0]
    while base not in METRICS and "/" in base:
        base = base.rpartition("/")[0]
    if base not in METRICS:
        raise UnknownName("metric", name, METRICS)
    return METRICS[base]


def suffixed(values: Mapping[str, Tensor], post_processing: str) -> dict[str, Tensor]:
    """The same values under the names they have after a post-processing."""
    return {f"@{post_processing}".join(_stem(name)): value for name, value in values.items()}


def _stem(name: str) -> tuple[str, str]:
    """A metric's name and its ``@bootstrap``, if it has one."""
    stem, mark, rest = name.partition(f"@{BOOTSTRAP}")
    return stem, mark + rest


def tidy(values: Mapping[str, Tensor], run_id: str) -> pd.DataFrame:
    """Rows of the metrics table: (I, K) values have an instance and a draw, (I,) an instance, () neither.

    Values of ``@bootstrap`` names are (B,): one row a replicate. What is not finite has no row.
    """
    frames = [_rows(name, torch.as_tensor(value).double()) for name, value in values.items()]
    frame = pd.concat(frames, ignore_index=True)
    frame.insert(0, "run_id", run_id)
    frame.insert(3, "sigma", float("nan"))
    return frame


def _rows(name: str, value: Tensor) -> pd.DataFrame:
    replicates = name.endswith(f"@{BOOTSTRAP}")
    keep = torch.isfinite(value)
    index = keep.nonzero().numpy()
    columns = [None, index[:, 0]] if replicates else [*index.T, None, None][:2]
    instance, draw = (pd.array([pd.NA] * len(index) if c is None else c, dtype="Int64") for c in columns)
    return pd.DataFrame(
        {
            "instance": instance,
            "draw": draw,
            "metric": name,
            "unit": find_metric(name).unit,
            "value": value[keep].numpy(),
        }
    )
