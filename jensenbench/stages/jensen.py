"""Stage ``jensen``: curves of the Jensen gap of one prior of one PDE, and of the empirical law of its data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.pde import PDE
from jensenbench.data.dataset import load_dataset, term_scale
from jensenbench.errors import UnknownName, UserError
from jensenbench.experiment.fits import load_fit
from jensenbench.experiment.jobs import JensenJob
from jensenbench.experiment.trajectories import visits_of
from jensenbench.io.files import write_text
from jensenbench.io.provenance import git_commit
from jensenbench.jensen.curves import SHARES, SPOT_CLEAN, Row, Subject, check_rows, empirical_rows, prior_rows
from jensenbench.jensen.likelihood import likelihood_rows
from jensenbench.jensen.settings import JensenSettings
from jensenbench.jensen.table import LIKELIHOOD_COLUMNS, VISIT_COLUMNS, beside, table, to_csv
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.io import load_prior
from jensenbench.priors.mixture import MixturePrior
from jensenbench.runtime.timing import timed

POWERS = (0, 1)  # codecs in which the empirical law is looked at, besides the prior's own
LAWS = ("empirical", "gaussian", "mixture")
EMPIRICAL = "empirical"
SPOT = JensenSettings(states=24, drawn_states=8, draws=16, steps=16, probes=8)  # a look within seconds


def run(*, job: JensenJob | None = None, data: Path, prior_file: Path, out: Path, fits: Sequence[Path] = ()) -> None:
    """Write the curves of a prior file and of its data as ``out`` (CSV, one row a law, estimator and level).

    The likelihood's gap stands beside it in ``<stem>.likelihood.csv``. With a ``job``, whose settings then hold,
    the gap where its methods call this prior, or the denoisers that they have learnt (``fits``), stands in
    ``<stem>.visits.csv``.
    """
    settings = job.settings if job else JensenSettings()
    with timed(out):
        dataset = load_dataset(data)
        prior = load_prior(prior_file, dataset.pde, data_digest=dataset.digest)
        train, clean = dataset.split("train"), dataset.split("validation")
        chosen = fitting(settings, len(train), len(clean))
        train = train[: chosen.law_states]
        subject = Subject(dataset.pde, prior.codec, dataset.term_scale, train, clean)
        denoiser = prior.on(torch.device("cpu"))
        rows = list(_law_rows(subject, chosen, split=denoiser if prior.kind == "network" else None, checked=True))
        own = {"law": prior.label, "power": prior.codec.power}
        rows += [own | row for row in prior_rows(subject, chosen, denoiser)]
        for codec in other_codecs(dataset.pde, train, prior.codec.power):
            rows += _law_rows(replace(subject, codec=codec), chosen, shares=SHARES[-1:])
        labels = {"pde": dataset.label, "prior": prior.label, "floor": dataset.floor, "git_commit": git_commit()}
        write_text(out, to_csv(table([labels | row for row in rows])))
        labels |= {"power": prior.codec.power}
        found = list(likelihood_rows(subject, chosen, dataset.field_std, denoiser, prior.label))
        write_beside(out, "likelihood", LIKELIHOOD_COLUMNS, [labels | row for row in found])
        if job is not None:
            traced = replace(job, settings=chosen)
            seen = list(visits_of(traced, dataset, prior, subject, [load_fit(path) for path in fits]))
            write_beside(out, "visits", VISIT_COLUMNS, [labels | row for row in seen])


def write_beside(out: Path, name: str, columns: Sequence[str], rows: list[Row]) -> None:
    """Write a second table of the stage."""
    write_text(beside(out, name), to_csv(table(rows, columns)))


def fitting(settings: JensenSettings, train: int, clean: int) -> JensenSettings:
    """Settings that ask for no more states of either split than there are."""
    few = {name: min(getattr(settings, name), clean) for name in ("states", "visits")}
    return replace(settings, law_states=min(settings.law_states, train), **few)


def other_codecs(pde: PDE, train: torch.Tensor, power: int) -> list[Codec]:
    """Codecs of the other powers in which curves are drawn; none where all fields are pixels whatever the power."""
    if all(field.basis == "pixels" for field in pde.fields):
        return []
    return [Codec.fit(pde, train, power=other) for other in POWERS if other != power]


def look(*, pde: str, settings: Mapping[str, Any], kind: str, states: int, power: int) -> pd.DataFrame:
    """The curves of a law of a PDE whose states are generated on the spot, as a table."""
    if kind not in LAWS:
        raise UnknownName("prior", kind, LAWS)
    if states < 16:
        raise UserError(f"{states} states: curves of a quarter of them and the codec's statistics take 16 or more")
    problem = make_pde(pde, settings)
    train = problem.generate(range(states), seed=0)
    clean = problem.generate(range(SPOT_CLEAN, SPOT_CLEAN + SPOT.states), seed=0)
    subject = Subject(problem, _codec(problem, kind, train, power), term_scale(problem, train), train, clean)
    if kind == EMPIRICAL:
        rows = list(_law_rows(subject, SPOT, checked=True))
    else:
        law = (GaussianPrior if kind == "gaussian" else MixturePrior).of_pde(problem, subject.codec)
        rows = [{"law": kind, **row} for row in prior_rows(subject, SPOT, law)]
    return table([{"pde": problem.label, "prior": kind, "power": power} | row for row in rows])


def shown(frame: pd.DataFrame) -> str:
    """A table for a terminal: the gap with its interval, in units of the equation's largest term."""
    lines = [f"{'sigma':>8} {'estimator':>12} {'states':>7} {'gap':>10} {'[95 %':>10} {'interval]':>10} {'ess':>8}"]
    for row in frame.sort_values(["estimator", "law_states", "sigma"]).to_dict("records"):
        if row["reason"]:
            lines.append(f"{row['sigma']:8.4g} {row['estimator']:>12} {row['reason']}")
            continue
        numbers = " ".join(f"{row[key]:10.3g}" for key in ("gap", "gap_low", "gap_high"))
        size = f"{row['law_states']:.0f}" if row["law_states"] == row["law_states"] else "exact"
        end = "" if row["usable"] else "  unusable: the posterior has collapsed to few states"
        lines.append(f"{row['sigma']:8.4g} {row['estimator']:>12} {size:>7} {numbers} {row['ess']:8.3g}{end}")
    return "\n".join(lines)


def _law_rows(
    subject: Subject,
    settings: JensenSettings,
    *,
    split: Denoiser | None = None,
    checked: bool = False,
    shares: Sequence[int] = SHARES,
) -> Iterator[Row]:
    """Rows of the empirical law; ``checked`` adds the estimators that must meet it where there is a gap at all."""
    labels = {"law": EMPIRICAL, "power": subject.codec.power}
    for row in empirical_rows(subject, settings, split, shares=shares):
        yield labels | row
    if checked and subject.residual.degree != 1:
        for row in check_rows(subject, settings):
            yield labels | row


def _codec(pde: PDE, kind: str, train: torch.Tensor, power: int) -> Codec:
    codec = Codec.fit(pde, train, power=power)
    if kind != "mixture":
        return codec
    return Codec(pde, shift=codec.shift, scale=[max(codec.scale)] * len(codec.scale), power=power)
