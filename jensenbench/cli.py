"""Command line: one command a stage; imports stay lazy, so that help and errors are instant."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jensenbench.errors import UserError
from jensenbench.runtime import supervisor as guard

Command = Callable[[argparse.Namespace], int | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit code 1."""
    options = _parser().parse_args(arguments)
    guard.die_with_parent()
    try:
        return options.command(options) or 0
    except (UserError, OSError) as error:
        print(f"jensenbench {options.name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jensenbench", description="Benchmark of constrained diffusion methods for PDEs"
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    def add(name: str, command: Command, summary: str, *paths: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=command)
        for path in paths:
            sub.add_argument(f"--{path}", type=Path, required=True)
        return sub

    add("plan", _plan, "list every job of a tier as JSON", "tier", "out")
    add("generate", _generate, "generate or import the data of one PDE", "tier", "out").add_argument(
        "--pde", required=True
    )
    add("observe", _observe, "draw masks and observation noise", "tier", "data", "out").add_argument(
        "--pde", required=True
    )
    train = add("train", _train, "train or build one prior", "tier", "data", "out", "state-dir")
    _cell_arguments(train, "pde", "prior")
    pairs = add("pairs", _pairs, "sample teacher pairs of one prior", "tier", "data", "prior-file", "out")
    _cell_arguments(pairs, "pde", "prior", "digest")
    fit = add("fit", _fit, "let a method learn on one prior", "tier", "data", "prior-file", "out", "state-dir")
    _cell_arguments(fit, "pde", "prior", "method", "digest")
    fit.add_argument("--pairs", type=Path, help="index of the teacher pairs, where the method learns from them")
    _guarded_arguments(fit)
    sample = add("sample", _sample, "draw samples with one method", "tier", "data", "observations", "prior-file", "out")
    _cell_arguments(sample, "pde", "prior", "method", "variant")
    sample.add_argument("--fitted", type=Path, help="fit of a method that trains")
    _guarded_arguments(sample)
    tune = add("tune", _tune, "try a method's settings on validation states", "tier", "data", "prior-file", "out")
    _cell_arguments(tune, "pde", "prior", "method", "variant")
    tune.add_argument("--fitted", type=Path, help="fit of a method that trains")
    won = add("winners", _winners, "put the best settings of all trials into config/methods", "tier", "out")
    won.add_argument("--methods", type=Path, default=Path("config/methods"), help="folder of the tuned settings")
    won.add_argument("folders", nargs="+", type=Path)
    evaluate = add("evaluate", _evaluate, "measure samples", "data", "observations", "prior-file", "out")
    evaluate.add_argument("--seed", type=int, required=True)
    evaluate.add_argument("samples", nargs="+", type=Path)
    add("collect", _collect, "join the evaluations of a tier", "out").add_argument("folders", nargs="+", type=Path)
    _jensen_arguments(add("jensen", _jensen, "measure the Jensen gap of a prior"))
    add("report", _report, "write tables and figures", "tier", "results", "out")
    reference = add("reference-posterior", _reference_posterior, "sample posteriors of noisy tasks with the solver")
    _chain_arguments(reference)
    _import_arguments(add("import", _import, "turn a published data file into the suite's format"))
    export = add("export", _export, "write a data file of the suite in another code's layout", "out")
    export.add_argument("data", type=Path)
    export.add_argument("--format", required=True)
    check = add("check", _check, "print the conformance of a plug-in")
    check.add_argument("kind", choices=("method", "pde", "prior"))
    check.add_argument("subject", metavar="NAME", help="name of a method or PDE, or path of a prior file")
    check.add_argument("--data", type=Path, help="data file of the prior's PDE")
    check.add_argument("--out", type=Path, help="keep the report here for the conformance page, failed or not")
    page = add("jensen-page", _jensen_page, "write the page of the Jensen gap", "tier", "results", "out")
    page.add_argument("files", nargs="+", type=Path)
    add("conformance", _conformance, "write the conformance page", "out").add_argument("files", nargs="+", type=Path)
    new = add("new", _new, "write a method or PDE that runs, to start from")
    new.add_argument("kind", choices=("method", "pde"))
    new.add_argument("subject", metavar="NAME")
    explain = add("explain", _explain, "show where a number comes from")
    explain.add_argument("run_id")
    explain.add_argument("--results", type=Path, default=Path("results/default"))
    return parser


def _cell_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", type=int, required=True)


def _jensen_arguments(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("of files of the workflow")
    for name in ("data", "prior-file", "out"):
        files.add_argument(f"--{name}", type=Path)
    files.add_argument(
        "--tier", type=Path, help="tier whose block `jensen` sets levels and sizes, and whose methods are followed"
    )
    files.add_argument(
        "--fits", type=Path, nargs="*", default=[], help="fits of the tier's methods that learn a denoiser"
    )
    spot = parser.add_argument_group("of states generated on the spot, printed")
    spot.add_argument("--pde")
    spot.add_argument("--prior", default="empirical", help="empirical, gaussian or mixture")
    spot.add_argument("--n", type=int, help="points along a side (default: the PDE's own)")
    spot.add_argument("--states", type=int, default=2000, help="of the empirical law and of the codec's statistics")
    spot.add_argument("--power", type=int, default=1, help="of the codec")


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument("--format", required=True)
    parser.add_argument("--pde", required=True)
    parser.add_argument("--out", type=Path, help="data file to write (default: results/imported/FILE.h5)")
    parser.add_argument("--unpickle", action="store_true", help="let pickled objects in the file run their code")


def _chain_arguments(parser: argparse.ArgumentParser) -> None:
    for path in ("tier", "data", "observations"):
        parser.add_argument(f"--{path}", type=Path, required=True)
    parser.add_argument("--pde", required=True)
    parser.add_argument("--out", type=Path, help="folder of the files (default: that of the published ones)")
    parser.add_argument("--state-dir", type=Path, default=Path("results/posteriors/chains"), help="of killed runs")
    parser.add_argument("--task", help="label of one task (default: all with noise)")
    parser.add_argument("--instances", type=int, help="number of instances (default: all)")
    parser.add_argument("--sampler", default="informed", help="pcn, informed (default) or mala")
    for name, default in (("chains", 32), ("warmup", 2000), ("steps", 6000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--levels", type=int, default=1, help="of weaker and weaker data that exchange states")
    parser.add_argument("--weakest", type=float, default=0.01, help="factor of the data potential at the last level")


def _plan(options: argparse.Namespace) -> None:
    from jensenbench.experiment.config import read_tier
    from jensenbench.experiment.plan import make_plan
    from jensenbench.io.files import canonical_json, write_text

    write_text(options.out, canonical_json(make_plan(read_tier(options.tier), options.tier)))


def _generate(options: argparse.Namespace) -> None:
    from jensenbench.experiment.config import read_tier

    tier = read_tier(options.tier)
    entry = tier.pde(options.pde)
    if not entry.source:
        from jensenbench.stages import generate

        return generate.run(tier=tier, label=options.pde, out=options.out)
    from jensenbench.stages import import_data

    import_data.run(
        file=Path(entry.source["file"]), format=entry.source["format"], pde=entry.name, settings=dict(entry.settings),
        label=entry.label, splits=tier.data.sizes, seed=tier.data.seed, out=options.out,
    )  # fmt: skip


def _observe(options: argparse.Namespace) -> None:
    from jensenbench.experiment.config import read_tier
    from jensenbench.stages import observe

    observe.run(tier=read_tier(options.tier), label=options.pde, data=options.data, out=options.out)


def _train(options: argparse.Namespace) -> None:
    from jensenbench.experiment.config import read_tier
    from jensenbench.stages import train

    tier = read_tier(options.tier)
    train.run(
        data=options.data, out=options.out, settings=tier.prior_settings(options.prior), label=options.prior,
        seed=options.seed, device=tier.device, threads=tier.threads, state_dir=options.state_dir,
    )  # fmt: skip


def _pairs(options: argparse.Namespace) -> None:
    from jensenbench.experiment.config import read_tier
    from jensenbench.stages import pairs

    tier = read_tier(options.tier)
    entry = tier.pairs_of(f"{options.pde}/{options.prior}/{options.digest}")
    pairs.run(
        tier=tier, entry=entry, seed=options.seed, data=options.data, prior_file=options.prior_file, out=options.out
    )


def _fit(options: argparse.Namespace) -> int | None:
    def work(arguments: Sequence[str]) -> None:
        from jensenbench.experiment.config import read_tier
        from jensenbench.stages import fit

        tier = read_tier(options.tier)
        fit.run(
            tier=tier, entry=tier.fit(f"{options.pde}/{options.prior}/{options.method}/{options.digest}"),
            seed=options.seed, data=options.data, prior_file=options.prior_file, pairs_file=options.pairs,
            out=options.out, state_dir=options.state_dir,
        )  # fmt: skip

    def give_up(arguments: Sequence[str], status: str, reason: str) -> None:
        from jensenbench.experiment.fits import Fitted, save_fit

        save_fit(options.out, Fitted(status, reason))

    paths = ("data", "prior_file", "pairs", "out", "state_dir")
    return _guarded(options, ("tier", "pde", "prior", "method", "digest", "seed", *paths), work, give_up)


def _sample(options: argparse.Namespace) -> int | None:
    def shared(arguments: Sequence[str]) -> dict[str, Any]:
        from jensenbench.experiment.config import read_tier

        tier = read_tier(options.tier)
        return {
            "tier": tier, "cell": tier.cell(f"{options.pde}/{options.prior}/{options.method}/{options.variant}"),
            "seed": options.seed, "data": options.data, "prior_file": options.prior_file, "out": options.out,
            "command": shlex.join(["python", "-m", "jensenbench", *arguments]),
        }  # fmt: skip

    def work(arguments: Sequence[str]) -> None:
        from jensenbench.stages import sample

        sample.run(observations=options.observations, fitted=options.fitted, **shared(arguments))

    def give_up(arguments: Sequence[str], status: str, reason: str) -> None:
        from jensenbench.stages import sample

        sample.write_failure(status=status, reason=reason, **shared(arguments))

    paths = ("data", "observations", "prior_file", "fitted", "out")
    return _guarded(options, ("tier", "pde", "prior", "method", "variant", "seed", *paths), work, give_up)


def _guarded_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--last-attempt", action="store_true", help="if the job is killed, leave the reason as its result"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)


def _arguments(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """A command and the options of these names, as they are typed."""
    given = [(name, getattr(options, name)) for name in names]
    pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in given if value is not None]
    return [options.name, *(part for pair in pairs for part in pair)]


def _guarded(
    options: argparse.Namespace,
    names: Sequence[str],
    work: Callable[[Sequence[str]], None],
    give_up: Callable[[Sequence[str], str, str], None],
) -> int | None:
    """Do ``work`` in a child; if the child is killed in the last attempt, ``give_up`` with status and reason."""
    arguments = _arguments(options, names)
    if options.worker:
        return work(arguments)
    code = guard.run_child([*arguments, "--worker"])
    if code >= 0 or not options.last_attempt:
        return code if code >= 0 else 128 - code
    return give_up(arguments, *guard.explain_exit(code))


def _tune(options: argparse.Namespace) -> None:
    from jensenbench.experiment.config import read_tier
    from jensenbench.stages import tune

    tier = read_tier(options.tier)
    names = ("tier", "pde", "prior", "method", "variant", "seed", "data", "prior_file", "fitted", "out")
    tune.run(
        tier=tier, cell=tier.cell(f"{options.pde}/{options.prior}/{options.method}/{options.variant}"),
        seed=options.seed, data=options.data, prior_file=options.prior_file, fitted=options.fitted, out=options.out,
        command=shlex.join(["python", "-m", "jensenbench", *_arguments(options, names)]),
    )  # fmt: skip


def _winners(options: argparse.Namespace) -> None:
    from jensenbench.experiment.config import read_tier
    from jensenbench.stages import winners

    winners.run(tier=read_tier(options.tier), folders=options.folders, out=options.out, methods=options.methods)


def _evaluate(options: argparse.Namespace) -> None:
    from jensenbench.stages import evaluate

    evaluate.run(
        data=options.data, observations=options.observations, prior=options.prior_file, samples=options.samples,
        out=options.out, seed=options.seed,
    )  # fmt: skip


def _collect(options: argparse.Namespace) -> None:
    from jensenbench.stages import collect

    collect.run(folders=options.folders, out=options.out)


def _jensen(options: argparse.Namespace) -> None:
    from jensenbench.stages import jensen

    paths = {key: getattr(options, key) for key in ("data", "prior_file", "out")}
    if all(paths.values()) and not options.pde:
        from jensenbench.experiment.config import read_tier

        return jensen.run(**paths, tier=read_tier(options.tier) if options.tier else None, fits=options.fits)
    if not options.pde or any(paths.values()):
        raise UserError("give --pde NAME for a look at generated states, or --data, --prior-file and --out together")
    size = {} if options.n is None else {"n": options.n}
    chosen = {"kind": options.prior, "states": options.states, "power": options.power}
    print(jensen.shown(jensen.look(pde=options.pde, settings=size, **chosen)))


def _jensen_page(options: argparse.Namespace) -> None:
    from jensenbench.reporting.jensen import page as jensen

    jensen.run(config=options.tier, results=options.results, files=options.files, out=options.out)


def _report(options: argparse.Namespace) -> None:
    from jensenbench.stages import report

    report.run(config=options.tier, results=options.results, out=options.out)


def _reference_posterior(options: argparse.Namespace) -> None:
    from jensenbench.experiment.config import read_tier
    from jensenbench.io.layout import POSTERIORS
    from jensenbench.posteriors.chains import ChainSettings
    from jensenbench.stages import reference_posterior

    reference_posterior.run(
        tier=read_tier(options.tier), label=options.pde, data=options.data, observations=options.observations,
        out=options.out or POSTERIORS, state_dir=options.state_dir, task=options.task, instances=options.instances,
        settings=ChainSettings(
            options.sampler, options.chains, options.warmup, options.steps, levels=options.levels,
            weakest=options.weakest,
        ),
    )  # fmt: skip


def _import(options: argparse.Namespace) -> None:
    from jensenbench.stages import import_data

    out = options.out or Path("results/imported") / f"{options.file.stem}.h5"
    import_data.run(
        file=options.file, format=options.format, pde=options.pde, settings={}, label=None, splits={}, seed=0, out=out,
        unpickle=options.unpickle,
    )  # fmt: skip


def _export(options: argparse.Namespace) -> None:
    from jensenbench.stages import export_data

    export_data.run(data=options.data, format=options.format, out=options.out)


def _check(options: argparse.Namespace) -> int:
    from jensenbench.checks.plugin import check_plugin

    report = check_plugin(options.kind, options.subject, data=options.data)
    print(report)
    if options.out is None:
        return 0 if report.passed else 1
    from jensenbench.reporting.pages import conformance

    conformance.write_report(report, options.kind, options.out)
    return 0


def _conformance(options: argparse.Namespace) -> None:
    from jensenbench.reporting.pages import conformance

    conformance.run(files=options.files, out=options.out)


def _new(options: argparse.Namespace) -> None:
    from jensenbench.plugins import scaffold

    scaffold.run(options.kind, options.subject)


def _explain(options: argparse.Namespace) -> None:
    from jensenbench.io.tables import read_csv

    runs = read_csv(options.results / "runs.csv.gz")
    found = runs[runs["run_id"].str.startswith(options.run_id)]
    if found.empty:
        raise UserError(f"no run {options.run_id!r} in {options.results / 'runs.csv.gz'}")
    for _, row in found.iterrows():
        print(os.linesep.join(f"{key:20} {value}" for key, value in row.items()))
