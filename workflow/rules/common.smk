# Functions of the rules: configuration, plan, lock, look-ups in the plan, what a job asks of the machine.
import fcntl
import os
import shlex
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
from jensenbench.experiment.plan_file import load_plan
from jensenbench.experiment.settings import read_settings
from jensenbench.io.files import write_record, write_text
from jensenbench.io.layout import POSTERIORS, Layout
from jensenbench.runtime.gpus import count_gpus

ATTEMPTS = 3
RETRIES = ATTEMPTS - 1 if workflow.is_main_process else 0  # inside a Slurm job, trying again is the submitter's part
LOCK = Path("results/.lock")
KEYS = {
    "generate": ("pde",),
    "observe": ("pde",),
    "train": ("pde", "prior", "seed"),
    "pairs": ("pde", "prior", "digest", "seed"),
    "fit": ("pde", "prior", "method", "digest", "seed"),
    "sample": ("pde", "prior", "method", "variant", "seed"),
    "tune": ("pde", "prior", "method", "variant", "seed"),
    "jensen": ("pde", "prior", "seed"),
    "evaluate": ("pde", "prior", "seed"),
}  # wildcards that name a job of each stage
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


def open_lock() -> None:
    """Open the lock file; one that another user made may be locked although it may not be written."""
    try:
        LOCK.parent.mkdir(exist_ok=True)
        HELD.append(LOCK.open("r" if LOCK.exists() and not os.access(LOCK, os.W_OK) else "a"))
    except OSError as error:
        sys.exit(f"jensenbench: {LOCK} cannot be opened ({error.strerror}): run in a folder that you may write to")


def hold_lock() -> None:
    """Let one run at a time work in this folder; the lock ends with the process, however it ends."""
    open_lock()
    try:
        fcntl.flock(HELD[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(
            f"jensenbench: another run works in this folder (it holds {LOCK}): wait for its end, or use another checkout"
        )
    except OSError as error:  # file systems without locks, such as some network ones
        print(f"jensenbench: {LOCK} cannot be locked ({error.strerror}): start no other run here", file=sys.stderr)


def limit_gpus() -> None:
    """On one machine, run no more GPU jobs at a time than it has GPUs; a cluster's scheduler does so itself."""
    wanted = any(job["resources"]["gpu"] for stage in plan["jobs"].values() for job in stage.values())
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
    quoted = {key: shlex.quote(value) for key, value in settings.items()}
    if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
        quoted["PATH"] = f'{shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'
    return "export " + " ".join(f"{key}={value}" for key, value in quoted.items()) + "; "


def key_of(stage: str, wildcards: Namedlist) -> str:
    """Key of a job in the plan."""
    return str(Path(*(wildcards[name] for name in KEYS[stage])))


def job_of(stage: str, wildcards: Namedlist) -> dict:
    """The plan's entry of a job: record, inputs, digests of record and code, resources."""
    return plan["jobs"][stage][key_of(stage, wildcards)]


def entry(stage: str, name: str) -> Callable:
    """Function of the wildcards: one value of a job's entry."""
    return lambda wildcards: job_of(stage, wildcards)[name]


def given(stage: str, name: str) -> Callable:
    """Function of the wildcards: input files of a job, none where it has no such input."""
    return lambda wildcards: job_of(stage, wildcards).get("inputs", {}).get(name, [])


def record(stage: str) -> Callable:
    """Function of the wildcards: file of a job's record."""
    return lambda wildcards: str(LAYOUT.job(stage, key_of(stage, wildcards)))


def option(name: str) -> Callable:
    """Function of wildcards and input: the option --NAME with the input files of this name, if there are any."""
    return lambda wildcards, input: f"--{name} {input[name]}" if input[name] else ""


def growing(stage: str, name: str) -> Callable:
    """Memory or minutes of a job: what the plan says, more with every attempt."""
    return lambda wildcards, attempt: job_of(stage, wildcards)["resources"][name] * attempt


def gpus(stage: str) -> Callable:
    """GPUs of a job."""
    return lambda wildcards: job_of(stage, wildcards)["resources"]["gpu"]


def on_device(wildcards: Namedlist, resources: Namedlist) -> str:
    """Command that hands a local GPU job its free devices; nothing for a job without."""
    return f"python -m jensenbench.runtime.gpus {resources.gpu}" if resources.gpu else ""


def last_attempt(wildcards: Namedlist, attempt: int) -> str:
    """Tells a job that it is tried no more: if it is killed, it leaves the reason as its result."""
    return "--last-attempt" if attempt >= ATTEMPTS else ""


def references(wildcards: Namedlist) -> list[str]:
    """Published reference posteriors of an evaluation's PDE."""
    return sorted(map(str, Path(POSTERIORS, wildcards.pde).glob("*/*.safetensors")))


def files_of(stage: str, path: Callable, *, name: str = "") -> list[str]:
    """The product of every job of a stage, by its path in the layout."""
    found = [path(*Path(key).parts) for key in plan["jobs"][stage]]
    return [str(product / name if name else product) for product in found]


def training_logs() -> list[str]:
    """Training logs of all priors of the tier."""
    return [str(Path(path).with_suffix(".log.csv")) for path in files_of("train", LAYOUT.prior)]


def input_folders(wildcards: Namedlist, input: Namedlist) -> list[str]:
    """Folders of a job's input files."""
    return sorted({str(Path(path).parent) for path in input})


def output_folder(wildcards: Namedlist, output: Namedlist) -> str:
    """Folder of a job's output files."""
    return str(Path(output[0]).parent)


def write_jobs() -> None:
    """Write the configuration and the record of every job, as the stages read them."""
    write_text(LAYOUT.config, Path(plan["config_file"]).read_text(encoding="utf-8"))
    for stage, jobs in plan["jobs"].items():
        for key, job in jobs.items():
            if "job" in job:
                write_record(LAYOUT.job(stage, key), job["job"])
    write_record(LAYOUT.job("winners", "winners"), plan["winners"]["job"])


def say_where_pages_are() -> None:
    """Name the pages of a tier after a run that made or kept them."""
    pages = [page for page in (*PAGES, *JENSEN_REPORT, CONFORMANCE) if page.endswith(".md") and Path(page).exists()]
    if pages:
        print(f"Pages of the tier {plan['tier']}: {', '.join(pages)}", file=sys.stderr)


onstart:
    hold_lock()
    write_jobs()


onsuccess:
    say_where_pages_are()
