"""Conformance of a method: what every sampler of the suite must obey, on a small problem with an exact prior."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jensenbench.checks.method_bench import KILLED_AT, OBSERVED, ROUNDING, ROWS, Bench, MethodCase, Subject, short
from jensenbench.checks.report import Check, Report
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Method
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import TASKS
from jensenbench.diffusion.schedules import EDMGrid, VPGrid
from jensenbench.errors import BudgetExceeded
from jensenbench.experiment.fits import Fitted
from jensenbench.plugins.registry import load_method
from jensenbench.priors.gaussian import GaussianPrior

ALONE = 2  # batch elements that are sampled alone
EXACT = 1e-5  # of a field's std, or of the equation's largest term
WEIGHTS = "zeta"  # settings whose names start so are guidance weights: at zero the prior's own sampler remains


def check_method(method_class: type[Method], *, seed: int = 0) -> Report:
    """Hold all variants of a method against the suite's laws; seconds on a CPU."""
    case = MethodCase(method_class, seed=seed)
    checks = [check for subject in case.subjects for law in VARIANT_LAWS for check in _apply(law, subject)]
    return Report(method_class.name, (*_tasks(case), *checks, *_reductions(case)))


class _Gained(Denoiser):
    """The exact prior times a trainable factor: stands for a network."""

    def __init__(self, prior: GaussianPrior):
        self._prior, self.shape, self.sigma_data = prior, prior.shape, prior.sigma_data
        self.sigma_min, self.sigma_max = prior.sigma_min, prior.sigma_max
        self.gain = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        self.module = self.gain

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._prior.denoise(x, sigma) * self.gain.weight.reshape(())


class _OtherAfterFirst:
    """The bench's first draw, then draws of other keys."""

    def __init__(self, first: KeyedNoise, later: KeyedNoise):
        self._streams, self._drawn = (first, later), False

    def __call__(self, shape: Sequence[int]) -> Tensor:
        stream, self._drawn = self._streams[self._drawn], True
        return stream(shape)


def _apply(law: str, subject: Subject) -> Iterator[Check]:
    """The checks of one law on one variant; a law that the method breaks with an exception counts as failed."""
    if not subject.problems:
        return
    try:
        for check in VARIANT_LAWS[law](subject):
            yield dataclasses.replace(check, name=f"{subject.variant}: {check.name}")
    except Exception as error:  # whatever a plug-in raises is a finding about it
        yield Check(f"{subject.variant}: {law}", False, None, f"{type(error).__name__}: {error}")


def _of_every_variant(law: str) -> Callable[[MethodCase], Iterator[Check]]:
    return lambda case: (check for subject in case.subjects for check in _apply(law, subject))


def _tasks(case: MethodCase) -> Iterator[Check]:
    """Every task is taken on or skipped with a reason, and at least one is taken on."""
    answers = [
        case.method_class(config).skip(case.bench.problem(task))
        for config in case.method_class.variants.values()
        for task in TASKS.values()
        if task.unsupported(case.bench.pde) is None
    ]
    proper = all(answer is None or (isinstance(answer, str) and answer) for answer in answers)
    taken = answers.count(None)
    detail = f"of {len(answers)} pairs of variant and task taken on"
    yield Check("tasks", bool(proper and taken > 0), float(taken), detail)


def _form(subject: Subject) -> Iterator[Check]:
    runs, shape = subject.runs, (ROWS, *subject.bench.pde.shape)
    good = all(tuple(run.x.shape) == shape and run.x.dtype == torch.float64 for run in runs)
    sound = all(bool(torch.isfinite(run.x).all()) and not run.x.requires_grad for run in runs)
    calls = max((run.meter.per_state()["nfe"] for run in runs), default=0.0)
    honest = (calls > 0) == subject.method.capabilities.uses_prior
    yield Check("form", good and sound and honest, calls, f"network calls a state; finite {shape} float64 states")


def _rows_alone(subject: Subject) -> Iterator[Check]:
    """A batch element alone equals itself in its batch, or not where the batch is coupled."""
    errors = []
    for problem, run in zip(subject.problems, subject.runs, strict=True):
        alone = torch.cat([subject.run(problem, rows=range(i, i + 1)).x for i in range(ALONE)])
        errors.append(_difference(alone, run.x[:ALONE]))
    worst, coupled = max(errors, default=0.0), subject.method.capabilities.couples_batch
    detail = "coupling must show" if coupled else "relative"
    yield Check("rows alone", (worst > subject.rounding) == coupled, worst, detail)


def _repeatable(subject: Subject) -> Iterator[Check]:
    pairs = zip(subject.problems, subject.runs, strict=True)
    same = all(torch.equal(run.x, subject.run(problem).x) for problem, run in pairs)
    yield Check("same keys, same bytes", same, None, "two runs")


def _random_state(subject: Subject) -> Iterator[Check]:
    """The global generators of torch and numpy are neither read nor moved."""
    alone = all(run.left_generators_alone for run in subject.runs)
    yield Check("global generators", alone, None, "are left alone")


def _data(subject: Subject) -> Iterator[Check]:
    """Observations stay as they are, and samples depend on them."""
    kept = matter = True
    observed = 0
    for problem, run in zip(subject.problems, subject.runs, strict=True):
        observation = problem.observation
        if not isinstance(observation, MaskObservation):
            continue
        observed, kept = observed + 1, kept and run.left_observation_alone
        problem.observation = dataclasses.replace(observation, values=observation.values.roll(1, 0) * observation.mask)
        matter &= not torch.equal(run.x, subject.run(problem).x)
        problem.observation = observation
    if observed:
        yield Check("observations", kept and matter, None, "are kept, and matter")


def _budget(subject: Subject) -> Iterator[Check]:
    if not subject.method.capabilities.uses_prior:
        return
    try:
        subject.run(subject.problems[0], budget=0.5)
    except BudgetExceeded:
        stopped = True
    else:
        stopped = False
    yield Check("budget", stopped, None, "of half a network call stops the run")


def _parameters(subject: Subject) -> Iterator[Check]:
    """A network prior is read, never trained."""
    prior = _Gained(subject.bench.prior)
    weight, before = prior.gain.weight, prior.gain.weight.detach().clone()
    for problem in subject.problems:
        subject.run(problem, prior=prior)
    untouched = weight.grad is None and weight.requires_grad and torch.equal(weight, before)
    yield Check("network's parameters", untouched, None, "unchanged, without gradients")


def _fit(subject: Subject) -> Iterator[Check]:
    """A killed fit goes on to the very end of an undisturbed one, and its module is what samples are drawn with."""
    if not subject.method.capabilities.trains:
        return
    trial = subject.bench.fit_trial(subject.method)
    whole, (resumed, killed, alone) = trial.whole, trial.resumed
    same = whole.tensors.keys() == resumed.tensors.keys()
    same &= all(torch.equal(value, resumed.tensors[name]) for name, value in whole.tensors.items())
    detail = f"after {KILLED_AT} optimiser steps" if killed else "in one piece, nothing to kill"
    yield Check("killed fit equals undisturbed fit", same, None, detail)
    alone &= trial.left_generators_alone
    yield Check("global generators during the fit", alone, None, "are left alone")
    moved = Fitted(tensors={name: value * 1.5 for name, value in whole.tensors.items()})
    used = not torch.equal(subject.runs[0].x, subject.run(subject.problems[0], fitted=subject.restored(moved)).x)
    yield Check("fitted module", used, None, "matters")


def _claims(subject: Subject) -> Iterator[Check]:
    capabilities, pairs = subject.method.capabilities, list(zip(subject.problems, subject.runs, strict=True))
    if capabilities.exact_observations:
        worst = max(_misfit(problem, run.x) for problem, run in pairs if problem.observation)
        yield Check("exact observations", worst <= EXACT, worst, f"of a field's std, allowed {EXACT:g}")
    if capabilities.exact_residual:
        worst = max(_residual(problem, run.x) for problem, run in pairs)
        yield Check("exact residual", worst <= EXACT, worst, f"of the largest term, allowed {EXACT:g}")
    if capabilities.deterministic:
        same = all(torch.equal(run.x, _with_other_draws(subject, problem)) for problem, run in pairs)
        yield Check("deterministic", same, None, "only the initial latent matters")


def _with_other_draws(subject: Subject, problem: Problem) -> Tensor:
    first, later = (subject.bench.noise(task, range(ROWS)) for task in (problem.task, "other"))
    return subject.run(problem, noise=_OtherAfterFirst(first, later)).x


def _misfit(problem: Problem, x: Tensor) -> float:
    unit = problem.scale.reshape(-1, *[1] * (x.ndim - 2))
    return float((problem.misfit(x) / unit).abs().max())


def _residual(problem: Problem, x: Tensor) -> float:
    return float(problem.residual(x)["interior"].square().mean().sqrt()) / problem.term_scale


def _reductions(case: MethodCase) -> Iterator[Check]:
    """With zero weights, variants on the grid of the prior's sampler give that sampler's states."""
    method_class = case.method_class
    if method_class.reduces_to is None:
        return
    base = load_method(method_class.reduces_to)
    grid = next(kind for kind in (EDMGrid, VPGrid) if issubclass(base.Config, kind))
    comparable = {name: short(config) for name, config in method_class.variants.items() if isinstance(config, grid)}
    if not comparable:
        yield Check(f"reduces to {base.name}", False, None, f"no variant has the settings of {grid.__name__}")
    for name, config in comparable.items():
        worst = _distance_to_base(case.bench, method_class, config, base)
        yield Check(f"{name}: reduces to {base.name}", worst <= ROUNDING, worst, "relative, with zero weights")


def _distance_to_base(bench: Bench, method_class: type[Method], config: Any, base: type[Method]) -> float:
    weights = [f.name for f in dataclasses.fields(config) if f.name.startswith(WEIGHTS)]
    idle = Subject(bench, method_class, dataclasses.replace(config, **dict.fromkeys(weights, 0.0)))
    shared = {f.name: getattr(config, f.name) for f in dataclasses.fields(base.Config) if hasattr(config, f.name)}
    problem = bench.problem(OBSERVED[0])
    reference = base(base.Config(**shared)).sample(bench.prior, problem, bench.noise(problem.task, range(ROWS)))
    return _difference(idle.run(problem).x, reference)


def _difference(mine: Tensor, reference: Tensor) -> float:
    return float((mine - reference).abs().max() / reference.abs().max())


VARIANT_LAWS: Mapping[str, Callable[[Subject], Iterator[Check]]] = {
    "form": _form,
    "rows alone": _rows_alone,
    "same keys, same bytes": _repeatable,
    "global generators": _random_state,
    "observations": _data,
    "budget": _budget,
    "network's parameters": _parameters,
    "fit": _fit,
    "claims": _claims,
}
LAWS: Mapping[str, Callable[[MethodCase], Iterator[Check]]] = {
    "tasks": _tasks,
    **{law: _of_every_variant(law) for law in VARIANT_LAWS},
    "reductions": _reductions,
}
