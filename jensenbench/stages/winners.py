"""Stage ``winners``: the trial table of a tier, and the best settings written to ``config/methods``."""

from itertools import groupby
from pathlib import Path

import pandas as pd
import yaml

from jensenbench.evaluation.metrics import ranking_metric
from jensenbench.evaluation.tuning import SPLIT, Winner, described, merged, trial_table, winners
from jensenbench.experiment.jobs import WinnersJob
from jensenbench.io import provenance
from jensenbench.io.files import read_yaml, write_text
from jensenbench.io.tables import join_tables, read_tables


def run(*, job: WinnersJob, folders: list[Path], out: Path, methods: Path) -> None:
    """Join the trials of all folders into ``out`` and put the winners into ``methods/{method}.yaml``.

    Every run of every trial is kept in ``runs.csv.gz`` and ``metrics.csv.gz`` beside ``out``.
    """
    join_tables(folders, out.parent)
    tables = read_tables(out.parent)
    table = trial_table(tables["runs"], tables["metrics"])
    write_text(out, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    found = winners(table, job.pdes)
    for method, group in groupby(found, key=lambda winner: winner.method):
        chosen = list(group)
        origin = describe(job, table, out, chosen)
        write(methods / f"{method}.yaml", chosen, origin)
        print("\n".join(described(winner) for winner in chosen), flush=True)


def describe(job: WinnersJob, table: pd.DataFrame, out: Path, chosen: list[Winner]) -> dict[str, object]:
    """Where winners come from, as it stands beside them."""
    metrics = sorted({ranking_metric(winner.task) for winner in chosen})
    return {
        "tier": job.tier,
        "split": SPLIT,
        "criterion": ", ".join(metrics),
        "states": f"{job.instances} x {job.draws}, {job.samples} unconditional",
        "priors": ", ".join(sorted(set(table["prior"]))),
        "table": provenance.digest_file(out),
        "commit": provenance.git_commit(),
    }


def write(path: Path, chosen: list[Winner], origin: dict[str, object]) -> None:
    """Put winners into a method's file; its leading comments and everything else in it stay."""
    text = (
        path.read_text(encoding="utf-8") if path.exists() else f"# Settings of {path.stem} by variant, PDE and task.\n"
    )
    comments = [line for line in text.splitlines() if line.startswith("#")]
    content = merged(read_yaml(path) if path.exists() else {}, chosen, origin)
    body = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    write_text(path, "\n".join([*comments, body]))
