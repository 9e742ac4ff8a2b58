"""A synthetic tier: Poisson data, methods whose errors are known by construction, and their tables."""

import itertools
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch

from jensenbench.core.tasks import find_task
from jensenbench.data.dataset import load_dataset, write_dataset
from jensenbench.io.files import write_hdf5
from jensenbench.io.layout import Layout
from jensenbench.io.schema import METRIC_COLUMNS, RUN_COLUMNS, RUN_KEYS, SCHEMA_VERSION, SPLITS, TIMING_COLUMNS
from jensenbench.io.tables import write_csv
from jensenbench.plugins.registry import make_pde

TASKS = ("unconditional", "reconstruction_30", "forward")
INSTANCES, DRAWS = 6, 4


@dataclass
class Entry:
    """One synthetic method: errors are noise of size ``error`` around the truth."""

    method: str
    variant: str
    error: float
    status: dict[str, str] = field(default_factory=dict)  # by task
    residual_calls: float = 0.0
    nfe: float = 20.0
    solved: float = 0.5  # factor of the error after + solve
    newton: float = 3.0  # and after one Newton step
    settings: dict = field(default_factory=dict)  # of the method


ENTRIES = (
    Entry("edm", "heun", 0.30, {"forward": "skipped", "reconstruction_30": "skipped"}),
    Entry("dps", "corrected", 0.10, nfe=60),
    Entry("dps", "published", 0.10, {"reconstruction_30": "diverged"}, nfe=1000),
    Entry("diffusionpde", "corrected", 0.05, residual_calls=60, nfe=120),
    Entry("control", "posterior_draw", 0.01),
)


def build(
    root: Path, entries=ENTRIES, *, seeds=(0,), kind="network", floor=None, seconds=1.0, priors=None
) -> tuple[Path, Path]:
    """Write a tier's results with Poisson data; returns (config, results).

    ``priors``: label -> (settings, factor of all errors) of several priors, instead of one of ``kind``.
    """
    pde = make_pde("poisson", {"n": 12})
    results = root / "results"
    layout = Layout(results)
    splits = {name: pde.generate(range(8 + 40 * i, 48 + 40 * i), seed=0) for i, name in enumerate(SPLITS)}
    write_dataset(layout.data("poisson-12"), pde, splits, seed=0, label="poisson-12")
    if floor is not None:
        with h5py.File(layout.data("poisson-12"), "r+") as file:
            file.attrs["floor"] = floor
    observe(layout, pde, splits["test"])
    priors = priors or {f"{kind}-p1": ({"kind": kind}, 1.0)}
    tables = Tables(layout, pde, splits["test"])
    for prior, seed, entry, task in itertools.product(priors, seeds, entries, TASKS):
        tables.add(replace(entry, error=entry.error * priors[prior][1]), prior, task, seed, seconds)
    tables.write()
    config = root / "tier.json"
    config.write_text(
        json.dumps({"tier": "synthetic", "priors": {prior: settings for prior, (settings, _) in priors.items()}})
    )
    return config, results


def observe(layout, pde, states) -> None:
    dataset = load_dataset(layout.data("poisson-12"))

    def fill(file):
        for task in map(find_task, TASKS[1:]):
            seen = [task.observe(s, pde, dataset.field_std, seed=0, index=i) for i, s in enumerate(states[:INSTANCES])]
            group = file.create_group(task.name)
            group["mask"] = torch.cat([part.mask for part in seen]).numpy().astype(np.uint8)
            group["values"] = states[:INSTANCES].numpy() * group["mask"][()]
            group["truth"] = states[:INSTANCES].numpy()

    write_hdf5(layout.observations("poisson-12"), fill)


class Tables:
    """Rows and samples of synthetic methods."""

    def __init__(self, layout, pde, truth):
        self.layout, self.pde, self.truth = layout, pde, truth.numpy()
        self.runs, self.metrics, self.timings = [], [], []

    def add(self, entry, prior, task, seed, seconds) -> None:
        labels = ("poisson-12", prior, entry.method, entry.variant, task, seed)
        keys = dict(zip(RUN_KEYS, labels, strict=True))
        run_id = "-".join(map(str, keys.values()))
        status = entry.status.get(task, "ok")
        instances, draws = (32, 1) if task == "unconditional" else (INSTANCES, DRAWS)
        reason = {"ok": "", "skipped": "cannot use observations"}.get(status, "NaN at step 3 | sigma 0.2")
        row = (
            dict.fromkeys(RUN_COLUMNS, "x")
            | keys
            | {
                "config_json": json.dumps({"method": entry.settings} if entry.settings else {}),
                "run_id": run_id,
                "status": status,
                "reason": reason,
            }
        )
        row |= {"schema_version": SCHEMA_VERSION}
        row |= {"n_instances": instances, "n_draws": draws, "nfe": entry.nfe, "vjp": 0.0, "jvp": 0.0}
        self.runs.append(row | {"residual_calls": entry.residual_calls, "tuned_trials": 0, "git_commit": "abc123"})
        self.timings.append(
            keys
            | {"stage": "sample", "seconds": seconds * 3.25, "peak_mib": 321.0, "device": "cpu"}
            | {"host": "examplehost", "finished": "2031-02-03T04:05:06"}
        )
        if status == "ok":
            self.add_samples(entry, keys, instances, draws)
            for suffix, scale in (("", 1.0), ("@solved", entry.solved), ("@newton1", entry.newton)):
                self.add_metrics(run_id, task, suffix, entry.error * scale, instances, draws, seed)

    def add_samples(self, entry, keys, instances, draws) -> None:
        if entry.method == "control":
            return
        rng, shape = np.random.default_rng(len(entry.variant)), self.truth.shape[1:]
        base = np.resize(self.truth, (instances, 1, *shape))
        noise = rng.standard_normal((instances, draws, *shape)) * self.truth.std((0, 2, 3), keepdims=True)[0]
        path = self.layout.samples(*(keys[key] for key in ("pde", "prior", "method", "variant", "seed")))
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "a") as file:
            file.create_group(keys["task"])["fields"] = (base + entry.error * noise).astype(np.float32)

    def add_metrics(self, run_id, task, suffix, size, instances, draws, seed) -> None:
        rng = np.random.default_rng([seed, sum(map(ord, run_id + suffix))])
        common = np.random.default_rng(5).standard_normal(instances)
        values = size * np.exp(0.3 * common + 0.02 * rng.standard_normal(instances))
        residual = 1e-13 * values if suffix else values
        for name in ("residual_rel", "residual_own", "residual_rms"):
            self.put(run_id, name + suffix, residual)
        if suffix == "@newton1":
            self.put(run_id, "unconverged@newton1", [3.0], instance=False)
        if task == "unconditional":
            replicate = np.random.default_rng(6).standard_normal(200)
            for name in ("mmse", "smse", "sliced_w2"):
                self.put(run_id, name + suffix, [size], instance=False)
                self.put(run_id, f"{name}{suffix}@bootstrap", size * (1 + 0.1 * replicate), instance=None)
            self.put(run_id, f"std_ratio/u{suffix}", [1 - size], instance=False)
            return
        for name in ("crps", "rel_l2_mean/f", "rel_l2_mean/u"):
            self.put(run_id, name + suffix, values)
        for draw in range(draws):
            self.put(run_id, "rel_l2/u" + suffix, values * 1.4, draw=draw)
        if not suffix and "gaussian" in run_id:
            for name in ("posterior_mean_error/u", "posterior_std_ratio/u", "error_over_optimum/u", "coverage_50"):
                self.put(run_id, name, values)

    def put(self, run_id, metric, values, *, instance=True, draw=None) -> None:
        for index, value in enumerate(values):
            place = {True: (index, draw), False: (None, None), None: (None, index)}[instance]
            self.metrics.append((run_id, *place, float("nan"), metric, "1", value))

    def write(self) -> None:
        root = self.layout.root
        metrics = pd.DataFrame(self.metrics, columns=list(METRIC_COLUMNS))
        metrics = metrics.astype({"instance": "Int64", "draw": "Int64"})
        write_csv(root / "metrics.csv.gz", metrics)
        write_csv(root / "runs.csv.gz", pd.DataFrame(self.runs)[list(RUN_COLUMNS)])
        write_csv(root / "timings.csv.gz", pd.DataFrame(self.timings)[list(TIMING_COLUMNS)])
