"""Command line: a table of commands, one for each stage and tool. Imports stay lazy: help and errors are instant."""

import argparse
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from jensenbench.errors import UserError
from jensenbench.runtime.supervisor import die_with_parent, explain_exit, run_worker

PLUGINS = ("method", "pde")
HOW_IT_RUNS = ("--last-attempt", "--worker")  # options that are no part of what a job does
STOPPED = "stopped; the same command continues where it was"
INTERRUPTED = 130  # exit code of a program that Ctrl-C ended
Options = argparse.Namespace


@dataclass(frozen=True)
class Argument:
    """One argument of a command, as argparse takes it."""

    flag: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Command:
    """A command: its name, what it is for, what it runs, and its arguments."""

    name: str
    summary: str
    run: Callable[[Options], int | None]
    arguments: tuple[Argument, ...]


def argument(flag: str, **settings: Any) -> Argument:
    """An argument of any kind."""
    return Argument(flag, settings)


def paths(*names: str, required: bool = True) -> tuple[Argument, ...]:
    """Options --NAME that take a path."""
    return tuple(argument(f"--{name}", type=Path, required=required) for name in names)


def stage(name: str, summary: str, *arguments: Argument, module: str = "") -> Command:
    """A command that calls ``jensenbench.stages.{module}.run`` with its options."""
    return Command(name, summary, partial(run_stage, module or name.replace("-", "_")), arguments)


def supervised(name: str, summary: str, *arguments: Argument) -> Command:
    """A stage that a worker process runs; if it is killed in the last attempt, it leaves the reason as its result."""
    last = argument("--last-attempt", action="store_true", help="if the job is killed, leave the reason as its result")
    worker = argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return Command(name, summary, partial(supervise, name), (*arguments, last, worker))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit code 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    options.typed = [word for word in given if word not in HOW_IT_RUNS]
    die_with_parent()
    try:
        return options.run(options) or 0
    except (UserError, OSError) as error:
        print(f"jensenbench {options.name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"jensenbench {options.name}: {STOPPED}", file=sys.stderr)
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(prog="jensenbench", description="Benchmark of constrained diffusion methods for PDEs")
    commands = top.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.summary, description=command.summary)
        sub.set_defaults(run=command.run)
        for one in command.arguments:
            sub.add_argument(one.flag, **one.settings)
    return top


def run_stage(name: str, options: Options) -> int | None:
    """Call a stage with those options that it names."""
    return call(import_module(f"jensenbench.stages.{name}").run, options)


def supervise(name: str, options: Options) -> int | None:
    """Call a stage in a worker process, or, being the worker, here."""
    if options.worker:
        return run_stage(name, options)
    code = run_worker([*options.typed, "--worker"])
    if code >= 0 or not options.last_attempt:
        return code if code >= 0 else 128 - code
    status, reason = explain_exit(code)
    return call(import_module(f"jensenbench.stages.{name}").give_up, options, status=status, reason=reason)


def call(work: Callable[..., int | None], options: Options, **more: Any) -> int | None:
    """Call a function with those options that it names; the record of a job is read from its file."""
    command = shlex.join(["python", "-m", "jensenbench", *options.typed])
    offered = {**vars(options), "command": command, **more}
    wanted = inspect.signature(work).parameters
    given = {name: value for name, value in offered.items() if name in wanted}
    if given.get("job") is not None:
        from jensenbench.experiment.jobs import read_job

        given["job"] = read_job(given["job"], record_of(wanted["job"]))
    return work(**given)


def record_of(parameter: inspect.Parameter) -> type[Any]:
    """The record with which a stage annotates its argument ``job``."""
    kinds = getattr(parameter.annotation, "__args__", (parameter.annotation,))
    return next(kind for kind in kinds if kind is not type(None))


def _plan(options: Options) -> None:
    from jensenbench.experiment.config import read_tier
    from jensenbench.experiment.plan import make_plan
    from jensenbench.io.files import canonical_json, write_text

    write_text(options.out, canonical_json(make_plan(read_tier(options.tier), options.tier)))


def _generate(options: Options) -> None:
    from jensenbench.experiment.jobs import GenerateJob, read_job
    from jensenbench.stages import generate, import_data

    job = read_job(options.job, GenerateJob)
    (import_data if job.source else generate).run(job=job, out=options.out)


def _import(options: Options) -> None:
    from jensenbench.experiment.jobs import GenerateJob
    from jensenbench.stages import import_data

    source = {"file": str(options.file), "format": options.format}
    job = GenerateJob(label="", pde=options.pde, settings=given_settings(options.set), sizes={}, seed=0, source=source)
    out = options.out or Path("results/imported") / f"{options.file.stem}.h5"
    import_data.run(job=job, out=out, unpickle=options.unpickle)


def given_settings(words: Sequence[str]) -> dict[str, Any]:
    """Settings of words ``name=value``, values as in YAML, but 1e-3 is a number too; UserError for other words."""
    import yaml

    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (name and equals):
            raise UserError(f"--set {word}: expected NAME=VALUE, for instance --set nu=0.01")
        found[name] = text
        with suppress(yaml.YAMLError):
            found[name] = yaml.safe_load(text)
        if isinstance(found[name], str):
            with suppress(ValueError):
                found[name] = float(text)
    return found


def _reference_posterior(options: Options) -> None:
    from jensenbench.experiment.config import read_tier
    from jensenbench.experiment.expand import observe_job
    from jensenbench.io.layout import POSTERIORS
    from jensenbench.posteriors.chains import ChainSettings
    from jensenbench.stages import reference_posterior

    tier = read_tier(options.tier)
    names = ("sampler", "chains", "warmup", "steps", "levels", "weakest")
    reference_posterior.run(
        job=observe_job(tier, tier.pde(options.pde)), data=options.data, observations=options.observations,
        out=options.out or POSTERIORS, state_dir=options.state_dir, task=options.task, instances=options.instances,
        settings=ChainSettings(**{name: getattr(options, name) for name in names}),
    )  # fmt: skip


def _jensen(options: Options) -> int | None:
    from jensenbench.stages import jensen

    files = [options.data, options.prior_file, options.out]
    if all(files) and not options.pde:
        return call(jensen.run, options)
    if not options.pde or any(files):
        raise UserError("give --pde NAME for a look at generated states, or --data, --prior-file and --out together")
    size = {} if options.n is None else {"n": options.n}
    chosen = {"kind": options.prior, "states": options.states, "power": options.power}
    print(jensen.shown(jensen.look(pde=options.pde, settings=size, **chosen)))
    return None


def _check(options: Options) -> int:
    from jensenbench.checks.plugin import check_plugin

    report = check_plugin(options.kind, options.subject, data=options.data)
    print(report)
    if options.out is None:
        return 0 if report.passed else 1
    from jensenbench.reporting.pages.conformance import write_report

    write_report(report, options.kind, options.out)
    return 0


def _page(module: str, options: Options) -> None:
    """Write one page of the report."""
    call(import_module(f"jensenbench.reporting.{module}").run, options)


def _new(options: Options) -> None:
    from jensenbench.plugins import scaffold

    scaffold.run(options.kind, options.subject)


def _schema(options: Options) -> None:
    from jensenbench.experiment.schema import fill_tables, schema_text
    from jensenbench.io.files import write_text
    from jensenbench.io.provenance import ROOT

    page = ROOT / "docs" / "design.md"
    write_text(ROOT / "workflow" / "schemas" / "config.schema.yaml", schema_text())
    write_text(page, fill_tables(page.read_text(encoding="utf-8")))


def _findings(options: Options) -> None:
    from jensenbench.reporting import findings

    findings.render()


def _explain(options: Options) -> None:
    from jensenbench.io.tables import read_csv

    runs = read_csv(options.results / "runs.csv.gz")
    found = runs[runs["run_id"].str.startswith(options.run_id)]
    if found.empty:
        raise UserError(f"no run {options.run_id!r} in {options.results / 'runs.csv.gz'}")
    for _, row in found.iterrows():
        print(os.linesep.join(f"{key:20} {value}" for key, value in row.items()))


JOB = paths("job")
CONFIG = argument("--tier", dest="config", type=Path, required=True, help="configuration of the tier")
FITTED = argument("--fitted", type=Path, help="fit of a method that learns")
FOLDERS = argument("folders", nargs="+", type=Path)
SUBJECT = argument("subject", metavar="NAME", help="name of a method or PDE, or path of a prior file")

COMMANDS = (
    Command("plan", "list every job of a tier as JSON", _plan, paths("tier", "out")),
    Command("generate", "generate or import the data of one PDE", _generate, (*JOB, *paths("out"))),
    stage("observe", "draw masks and observation noise", *JOB, *paths("data", "out")),
    stage("train", "train or build one prior", *JOB, *paths("data", "out", "state-dir")),
    stage("pairs", "sample teacher pairs of one prior", *JOB, *paths("data", "prior-file", "out")),
    supervised(
        "fit", "let a method learn on one prior", *JOB, *paths("data", "prior-file", "out", "state-dir"),
        argument("--pairs", type=Path, help="index of the teacher pairs, where the method learns from them"),
    ),
    supervised(
        "sample", "draw samples with one method", *JOB, *paths("data", "observations", "prior-file", "out"), FITTED
    ),
    stage("tune", "try a method's settings on validation states", *JOB, *paths("data", "prior-file", "out"), FITTED),
    stage(
        "winners", "put the best settings of all trials into config/methods", *JOB, *paths("out"), FOLDERS,
        argument("--methods", type=Path, default=Path("config/methods"), help="folder of the tuned settings"),
    ),
    stage(
        "evaluate", "measure samples", *paths("data", "observations", "prior-file", "out"),
        argument("--seed", type=int, required=True), argument("samples", nargs="+", type=Path),
    ),
    stage("collect", "join the evaluations of a tier", *paths("out"), FOLDERS),
    Command("jensen", "measure the Jensen gap of a prior, or take a quick look at it", _jensen, (
        *paths("job", "data", "prior-file", "out", required=False),
        argument("--fits", type=Path, nargs="*", default=[], help="fits of methods that learn a denoiser"),
        argument("--pde", help="quick look: PDE whose states are generated on the spot; prints a table"),
        argument("--prior", default="empirical", help="quick look: empirical, gaussian or mixture"),
        argument("--n", type=int, help="quick look: points along a side (default: the PDE's own)"),
        argument("--states", type=int, default=2000, help="quick look: states of the distribution and of the codec"),
        argument("--power", type=int, default=1, help="quick look: of the codec"),
    )),
    stage("report", "write tables and figures", CONFIG, *paths("results", "out")),
    Command("reference-posterior", "sample posteriors of noisy tasks with the solver", _reference_posterior, (
        *paths("tier", "data", "observations"),
        argument("--pde", required=True),
        argument("--out", type=Path, help="folder of the files (default: that of the published ones)"),
        argument("--state-dir", type=Path, default=Path("results/posteriors/chains"), help="of killed runs"),
        argument("--task", help="label of one task (default: all with noise)"),
        argument("--instances", type=int, help="number of instances (default: all)"),
        argument("--sampler", default="informed", help="pcn, informed (default) or mala"),
        argument("--chains", type=int, default=32),
        argument("--warmup", type=int, default=2000),
        argument("--steps", type=int, default=6000),
        argument("--levels", type=int, default=1, help="of weaker and weaker data that exchange states"),
        argument("--weakest", type=float, default=0.01, help="factor of the data potential at the last level"),
    )),
    Command("import", "turn a published data file into the suite's format", _import, (
        argument("file", type=Path),
        argument("--format", required=True),
        argument("--pde", required=True),
        argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the PDE that is known"),
        argument("--out", type=Path, help="data file to write (default: results/imported/FILE.h5)"),
        argument("--unpickle", action="store_true", help="let pickled objects in the file run their code"),
    )),
    stage(
        "export", "write a data file of the suite in another code's layout", *paths("out"),
        argument("data", type=Path), argument("--format", required=True), module="export_data",
    ),
    Command("check", "print the conformance of a plug-in", _check, (
        argument("kind", choices=(*PLUGINS, "prior")),
        SUBJECT,
        argument("--data", type=Path, help="data file of the prior's PDE"),
        argument("--out", type=Path, help="keep the report here for the conformance page, failed or not"),
    )),
    Command("jensen-page", "write the page of the Jensen gap", partial(_page, "jensen.page"), (
        CONFIG, *paths("results", "out"), argument("files", nargs="+", type=Path),
    )),
    Command("conformance", "write the conformance page", partial(_page, "pages.conformance"), (
        *paths("out"), argument("files", nargs="+", type=Path),
    )),
    Command("findings", "write reports/findings.md from docs/findings.md and the published tables", _findings, ()),
    Command("schema", "write the schema and the documentation's tables of a tier's settings", _schema, ()),
    Command("new", "write a method or PDE that runs, to start from", _new, (
        argument("kind", choices=PLUGINS), SUBJECT,
    )),
    Command("explain", "show where a number comes from", _explain, (
        argument("run_id"), argument("--results", type=Path, default=Path("results/default")),
    )),
)  # fmt: skip
