# Functions of the rules: configuration, plan, lock, look-ups in the plan, what a job asks of the machine.
import fcntl
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml
from snakemake.iocontainers import Namedlist
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import update_config

sys.path.insert(0, str(workflow.basedir))

from jensenbench.errors import UnknownName, UserError
from jensenbench.experiment.plan import load_plan
from jensenbench.experiment.settings import read_settings
from jensenbench.io.files import write_text
from jensenbench.io.layout import POSTERIORS, Layout
from jensenbench.runtime.gpus import count_gpus

ATTEMPTS = 3
RETRIES = ATTEMPTS - 1 if workflow.is_main_process else 0  # inside a Slurm job, trying again is the submitter's part
LOCK = Path("results/.lock")
KEYS = {
    "pdes": ("pde",),
    "priors": ("pde", "prior"),
    "pairs": ("pde", "prior", "digest"),
    "fits": ("pde", "prior", "method", "digest"),
    "cells": ("pde", "prior", "method", "variant"),
}
HELD = []  # open lock files: a lock lives as long as its process


def tier_file(config: dict) -> str:
    """Configuration file of the tier that --config tier=NAME names."""
    tier = config.setdefault("tier", "default")
    known = [path.stem for path in Path("config").glob("*.yaml")]
    if tier not in known:
        sys.exit(f"jensenbench: {UnknownName('tier', tier, known)}")
    return f"config/{tier}.yaml"


def make_plan(config: dict) -> dict:
    """All jobs of a configuration; what is wrong with it is one line."""
    update_config(config, nested_values(workflow.config_settings.config))
    try:
        read_settings(config)
        return load_plan(config)
    except (UserError, OSError) as error:
        sys.exit(f"jensenbench: {' '.join(str(error).split())}")


def nested_values(given: dict) -> dict:
    """Lists and blocks of --config with the types that YAML gives their values; Snakemake reads these as text."""
    return {key: typed(value) for key, value in given.items() if isinstance(value, dict | list)}


def typed(value: object) -> object:
    """A value whose texts that are numbers, true, false or null become these."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    with suppress(yaml.YAMLError):
        found = yaml.safe_load(value)
        return found if found is None or isinstance(found, int | float) else value
    return value


def hold_lock() -> None:
    """Let one run at a time work in this folder; the lock ends with the process, however it ends."""
    LOCK.parent.mkdir(exist_ok=True)
    HELD.append(LOCK.open("w"))
    try:
        fcntl.flock(HELD[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(
            f"jensenbench: another run works in this folder (it holds {LOCK}): wait for its end, or use another checkout"
        )


def limit_gpus() -> None:
    """On one machine, run no more GPU jobs at a time than it has GPUs; a cluster's scheduler does so itself."""
    wanted = any(
        job["resources"]["gpu"] for kind in ("priors", "pairs", "fits", "cells") for job in plan[kind].values()
    )
    if wanted and workflow.local_exec and "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", max(1, count_gpus()))


def environment() -> str:
    """Shell prefix of every job: this environment's Python, unbuffered logs, memory kept between batches.

    glibc gives large blocks back to the kernel after every batch and then pays for the page faults again.
    """
    settings = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(workflow.basedir), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**34),
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }
    if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
        settings["PATH"] = f"{Path(sys.executable).parent}:$PATH"
    return "export " + " ".join(f'{key}="{value}"' for key, value in settings.items()) + "; "


def job_of(kind: str, wildcards: Namedlist) -> dict:
    """The plan's entry of a job: digests of code and settings, seeds, tasks, resources."""
    return plan[kind][str(Path(*(wildcards[key] for key in KEYS[kind])))]


def entry(kind: str, key: str) -> Callable:
    """Function of the wildcards: one entry of a job's plan."""
    return lambda wildcards: job_of(kind, wildcards)[key]


def growing(kind: str, key: str) -> Callable:
    """Memory or minutes of a job: what the plan says, more with every attempt."""
    return lambda wildcards, attempt: job_of(kind, wildcards)["resources"][key] * attempt


def gpus(kind: str) -> Callable:
    """GPUs of a job."""
    return lambda wildcards: job_of(kind, wildcards)["resources"]["gpu"]


def on_device(wildcards: Namedlist, resources: Namedlist) -> str:
    """Command that hands a local GPU job its free devices; nothing for a job without."""
    return f"python -m jensenbench.runtime.gpus {resources.gpu}" if resources.gpu else ""


def imported_file(wildcards: Namedlist) -> str | list:
    """Published data file that a PDE's data come from, if they are not generated."""
    return job_of("pdes", wildcards)["import"] or []


def last_attempt(wildcards: Namedlist, attempt: int) -> str:
    """Tells a job that it is tried no more: if it is killed, it leaves the reason as its result."""
    return "--last-attempt" if attempt >= ATTEMPTS else ""


def prior_of(kind: str) -> Callable:
    """Prior file of a job; exact priors are built once for all seeds."""
    return lambda wildcards: prior_file(wildcards, job_of(kind, wildcards)["prior_seeds"][wildcards.seed])


def pairs_of_fit(wildcards: Namedlist) -> str | list:
    """Index of the teacher pairs of a fit that learns from them."""
    digest = job_of("fits", wildcards)["pairs"]
    return str(LAYOUT.pairs(wildcards.pde, wildcards.prior, digest, wildcards.seed)) if digest else []


def fit_of_cell(wildcards: Namedlist) -> str | list:
    """Fit of a sampling job whose method trains."""
    digest = job_of("cells", wildcards)["fit"]
    return str(LAYOUT.fit(wildcards.pde, wildcards.prior, wildcards.method, digest, wildcards.seed)) if digest else []


def fits_followed(wildcards: Namedlist) -> list[str]:
    """Fits whose denoisers are followed beside a prior, of the first seed that reads it."""
    found = []
    for key in job_of("priors", wildcards)["learnt"]:
        readers = plan["fits"][key]["prior_seeds"]
        seed = next(own for own, prior in readers.items() if prior == int(wildcards.seed))
        found.append(str(LAYOUT.fit(*Path(key).parts, seed)))
    return found


def prior_of_evaluation(wildcards: Namedlist) -> str:
    """Prior file of an evaluation."""
    seeds = job_of("priors", wildcards)["seeds"]
    return prior_file(wildcards, int(wildcards.seed) if int(wildcards.seed) in seeds else seeds[0])


def prior_file(wildcards: Namedlist, seed: int) -> str:
    """Path of one prior."""
    return str(LAYOUT.prior(wildcards.pde, wildcards.prior, seed))


def samples_of_evaluation(wildcards: Namedlist) -> list[str]:
    """Samples files of all methods on one prior and seed."""
    seed = int(wildcards.seed)
    cells = {Path(key).parts: cell for key, cell in plan["cells"].items()}
    return [
        str(LAYOUT.samples(*key, seed))
        for key, cell in cells.items()
        if key[:2] == (wildcards.pde, wildcards.prior) and seed in cell["seeds"]
    ]


def references_of_evaluation(wildcards: Namedlist) -> list[str]:
    """Published reference posteriors of an evaluation's PDE."""
    return sorted(map(str, Path(POSTERIORS, wildcards.pde).glob("*/*.safetensors")))


def tuning_files(name: str) -> list[str]:
    """One table of the trials of every cell, with the first seed of the tier."""
    cells = [(Path(key).parts, min(cell["seeds"])) for key, cell in plan["cells"].items()]
    return [str(LAYOUT.tuning(*key, seed) / name) for key, seed in cells]


def evaluation_files(name: str) -> list[str]:
    """One table of every evaluation of the tier."""
    pairs = [Path(pair).parts for pair in plan["evaluations"]]
    return [str(LAYOUT.evaluation(*pair, seed) / name) for pair in pairs for seed in plan["seeds"]]


def training_logs() -> list[str]:
    """Training logs of all priors of the tier."""
    jobs = [(Path(pair).parts, seed) for pair, job in plan["priors"].items() for seed in job["seeds"]]
    return [TRAINING_LOG.format(pde=pde, prior=prior, seed=seed) for (pde, prior), seed in jobs]


def jensen_files() -> list[str]:
    """Curves of the Jensen gap of the first seed of all priors of a tier that asks for them."""
    if not plan["jensen"]:
        return []
    jobs = [(Path(pair).parts, min(job["seeds"])) for pair, job in plan["priors"].items()]
    return [JENSEN.format(pde=pde, prior=prior, seed=seed) for (pde, prior), seed in jobs]


def input_folders(wildcards: Namedlist, input: Namedlist) -> list[str]:
    """Folders of a job's input files."""
    return sorted({str(Path(path).parent) for path in input})


def output_folder(wildcards: Namedlist, output: Namedlist) -> str:
    """Folder of a job's output files."""
    return str(Path(output[0]).parent)


onstart:
    hold_lock()
    write_text(Path(TIER), Path(plan["config_file"]).read_text())
