"""Conformance of a method: what every sampler of the suite must obey, on a small problem with an exact prior."""

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from jensenbench.checks.report import Check, Report
from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Method
from jensenbench.core.noise import KeyedNoise, Noise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import TASKS, Task
from jensenbench.data.dataset import term_scale
from jensenbench.diffusion.schedules import EDMGrid, VPGrid
from jensenbench.errors import BudgetExceeded
from jensenbench.experiment.fits import Fitted
from jensenbench.plugins.registry import load_method, make_pde
from jensenbench.priors import loop
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.pairs import make_pairs
from jensenbench.runtime.meter import Meter, MeteredDenoiser, MeteredModule, MeteredProblem

SIZE = 8  # points along each side of the Poisson problem
ROWS = 16
CAPS = {"steps": 8, "iterations": 8, "batch": 16, "count": 160}  # of settings with these names, nested ones too
ROUNDING = 1e-9  # of the largest entry: batches of another size may go through other machine code
SINGLE = 1e-3  # the same where a fitted network works in float32, whose rounding errors a sampler may amplify
KILLED_AT = 3  # steps of an optimiser
EXACT = 1e-5  # of a field's std, or of the equation's largest term
WEIGHTS = "zeta"  # settings whose names start so are guidance weights: at zero the prior's own sampler remains
OBSERVED = (Task("reconstruction_30", 0.3, 0.3), Task("inverse", solution=1, noise_std=0.05))


def check_method(method_class: type[Method], *, seed: int = 0) -> Report:
    """Hold all variants of a method against the suite's laws; seconds on a CPU."""
    bench = _Bench(seed)
    checks = [_tasks(method_class, bench)]
    for variant, preset in method_class.variants.items():
        subject = _Subject(bench, method_class, short(preset))
        checks += [dataclasses.replace(check, name=f"{variant}: {check.name}") for check in _laws(subject)]
    return Report(method_class.name, (*checks, *_reductions(method_class, bench)))


def short(config: Any) -> Any:
    """The same settings with few steps, pairs and rows."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    nested = {name: short(value) for name, value in values.items() if dataclasses.is_dataclass(value)}
    capped = {name: min(values[name], cap) for name, cap in CAPS.items() if isinstance(values.get(name), int)}
    return dataclasses.replace(config, **nested, **capped)


class _Gained(Denoiser):
    """The exact prior times a trainable factor: stands for a network."""

    def __init__(self, prior: GaussianPrior):
        self._prior, self.shape, self.sigma_data = prior, prior.shape, prior.sigma_data
        self.sigma_min, self.sigma_max = prior.sigma_min, prior.sigma_max
        self.gain = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        self.module = self.gain

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._prior.denoise(x, sigma) * self.gain.weight.reshape(())


@dataclass(frozen=True)
class _Run:
    x: Tensor
    meter: Meter


class _OtherAfterFirst:
    """The bench's first draw, then draws of other keys."""

    def __init__(self, first: KeyedNoise, later: KeyedNoise):
        self._streams, self._drawn = (first, later), False

    def __call__(self, shape: Sequence[int]) -> Tensor:
        stream, self._drawn = self._streams[self._drawn], True
        return stream(shape)


class _Bench:
    """A small Poisson problem with its exact prior."""

    def __init__(self, seed: int):
        self.seed, self.pde = seed, make_pde("poisson", {"n": SIZE})
        self.states = self.pde.generate(range(4 * ROWS), seed=seed)
        self.codec = Codec.fit(self.pde, self.states, power=1)
        self.prior = GaussianPrior.of_pde(self.pde, self.codec)
        self.scale = self.states.transpose(0, 1).flatten(1).std(1)

    def problem(self, task: Task, *, rows: int = ROWS) -> Problem:
        """A batch with one instance a row, or without data."""
        shared = {"scale": self.scale, "term_scale": term_scale(self.pde, self.states)}
        if not task.observes:
            return Problem(self.pde, task.label, self.codec, **shared)
        data = [task.observe(self.states[i], self.pde, self.scale, seed=self.seed, index=i) for i in range(rows)]
        mask, values = torch.cat([d.mask for d in data]), torch.cat([d.values for d in data])
        observation = MaskObservation(mask, values, task.noise_std)
        return Problem(self.pde, task.label, self.codec, observation=observation, **shared)

    def noise(self, task: str, rows: range) -> KeyedNoise:
        return KeyedNoise([(self.seed, "check", task, row, 0) for row in rows])


@dataclass(frozen=True)
class _Subject:
    """One variant on the bench."""

    bench: _Bench
    method_class: type[Method]
    config: Any

    @cached_property
    def method(self) -> Method:
        return self.method_class(self.config)

    @cached_property
    def fitted(self) -> nn.Module | None:
        """The module of one fit, restored as the stage ``sample`` does it."""
        if not self.method.capabilities.trains:
            return None
        with tempfile.TemporaryDirectory() as folder:
            return self.restored(self.fit(Path(folder)))

    def fit(self, folder: Path) -> Fitted:
        """What the method learns with its state and its pairs in ``folder``."""
        bench, settings = self.bench, getattr(self.config.fit, "pairs", None)
        pairs = make_pairs(bench.prior, settings, key=(bench.seed,), folder=folder) if settings else None
        states, problem = bench.codec.encode(bench.states), bench.problem(TASKS["unconditional"])
        module = self.method.fit(bench.prior, problem, states, state_dir=folder, seed=bench.seed, pairs=pairs)
        return Fitted(tensors={name: value.clone() for name, value in module.state_dict().items()})

    def restored(self, fit: Fitted) -> nn.Module:
        return fit.restore(self.method, self.bench.prior, self.bench.problem(TASKS["unconditional"]))

    @cached_property
    def rounding(self) -> float:
        """How far equal computations may differ."""
        weights = [] if self.fitted is None else list(self.fitted.parameters())
        return SINGLE if any(weight.dtype == torch.float32 for weight in weights) else ROUNDING

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Those among the bench's problems that the method takes on."""
        every = [self.bench.problem(task) for task in (TASKS["unconditional"], *OBSERVED)]
        return tuple(problem for problem in every if self.method.skip(problem) is None)

    def run(
        self,
        problem: Problem,
        *,
        rows: range = range(ROWS),
        prior: Denoiser | None = None,
        budget: float = math.inf,
        noise: Noise | None = None,
        fitted: nn.Module | None = None,
    ) -> _Run:
        """Sample the given rows, metered."""
        meter = Meter(budget=budget)
        meter.begin(len(rows))
        metered = MeteredDenoiser(self.bench.prior if prior is None else prior, meter)
        part = MeteredProblem(problem if len(rows) == ROWS else problem.subset(list(rows)), meter)
        drawn = self.bench.noise(problem.task, rows) if noise is None else noise
        module = self.fitted if fitted is None else fitted
        module = None if module is None else MeteredModule(module, meter)
        return _Run(self.method.sample(metered, part, drawn, fitted=module), meter)


def _laws(subject: _Subject) -> Iterator[Check]:
    """All laws of one variant; a law that the method breaks with an exception counts as failed."""
    if not subject.problems:
        return
    for name, law in LAWS.items():
        try:
            yield from law(subject)
        except Exception as error:  # whatever a plug-in raises is a finding about it
            yield Check(name, False, None, f"{type(error).__name__}: {error}")


def _tasks(method_class: type[Method], bench: _Bench) -> Check:
    """Every task is taken on or skipped with a reason, and at least one is taken on."""
    answers = [
        method_class(config).skip(bench.problem(task))
        for config in method_class.variants.values()
        for task in TASKS.values()
        if task.unsupported(bench.pde) is None
    ]
    proper = all(answer is None or (isinstance(answer, str) and answer) for answer in answers)
    taken = answers.count(None)
    return Check("tasks", proper and taken > 0, float(taken), f"of {len(answers)} pairs of variant and task taken on")


def _form(subject: _Subject) -> Iterator[Check]:
    runs = [subject.run(problem) for problem in subject.problems]
    shape = (ROWS, *subject.bench.pde.shape)
    good = all(tuple(run.x.shape) == shape and run.x.dtype == torch.float64 for run in runs)
    sound = all(bool(torch.isfinite(run.x).all()) and not run.x.requires_grad for run in runs)
    calls = max((run.meter.per_state()["nfe"] for run in runs), default=0.0)
    honest = (calls > 0) == subject.method.capabilities.uses_prior
    yield Check("form", good and sound and honest, calls, f"network calls a state; finite {shape} float64 states")


def _rows_alone(subject: _Subject) -> Iterator[Check]:
    """A row alone equals the row in its batch, or not where the batch is coupled."""
    errors = []
    for problem in subject.problems:
        together = subject.run(problem).x
        alone = torch.cat([subject.run(problem, rows=range(i, i + 1)).x for i in range(3)])
        errors.append(_difference(alone, together[:3]))
    worst, coupled = max(errors, default=0.0), subject.method.capabilities.couples_batch
    yield Check(
        "rows alone", (worst > subject.rounding) == coupled, worst, "coupling must show" if coupled else "relative"
    )


def _repeatable(subject: _Subject) -> Iterator[Check]:
    same = all(torch.equal(subject.run(problem).x, subject.run(problem).x) for problem in subject.problems)
    yield Check("same keys, same bytes", same, None, "two runs")


def _random_state(subject: _Subject) -> Iterator[Check]:
    """The global generators of torch and numpy are neither read nor moved."""
    before = _global_state()
    for problem in subject.problems:
        subject.run(problem)
    yield Check("global generators", before == _global_state(), None, "are left alone")


def _global_state() -> tuple[bytes, bytes, int]:
    numpy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - the state to protect
    return torch.get_rng_state().numpy().tobytes(), numpy["key"].tobytes(), numpy["pos"]


def _data(subject: _Subject) -> Iterator[Check]:
    """Observations stay as they are, and samples depend on them."""
    seen = [(problem, problem.observation) for problem in subject.problems]
    data = [(problem, data) for problem, data in seen if isinstance(data, MaskObservation)]
    kept = matter = True
    for problem, observation in data:
        mask, values = observation.mask.clone(), observation.values.clone()
        x = subject.run(problem).x
        kept &= torch.equal(mask, observation.mask) and torch.equal(values, observation.values)
        problem.observation = dataclasses.replace(observation, values=values.roll(1, 0) * mask)
        matter &= not torch.equal(x, subject.run(problem).x)
        problem.observation = observation
    if data:
        yield Check("observations", kept and matter, None, "are kept, and matter")


def _budget(subject: _Subject) -> Iterator[Check]:
    if not subject.method.capabilities.uses_prior:
        return
    try:
        subject.run(subject.problems[0], budget=0.5)
    except BudgetExceeded:
        stopped = True
    else:
        stopped = False
    yield Check("budget", stopped, None, "of half a network call stops the run")


def _parameters(subject: _Subject) -> Iterator[Check]:
    """A network prior is read, never trained."""
    prior = _Gained(subject.bench.prior)
    weight, before = prior.gain.weight, prior.gain.weight.detach().clone()
    for problem in subject.problems:
        subject.run(problem, prior=prior)
    untouched = weight.grad is None and weight.requires_grad and torch.equal(weight, before)
    yield Check("network's parameters", untouched, None, "unchanged, without gradients")


def _fit(subject: _Subject) -> Iterator[Check]:
    """A killed fit goes on to the very end of an undisturbed one, and its module is what samples are drawn with."""
    if not subject.method.capabilities.trains:
        return
    before = _global_state()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        whole = subject.fit(Path(one))
        killed = kill_fit(lambda: subject.fit(Path(other)))
        resumed = subject.fit(Path(other))
    same = whole.tensors.keys() == resumed.tensors.keys()
    same &= all(torch.equal(value, resumed.tensors[name]) for name, value in whole.tensors.items())
    detail = f"after {KILLED_AT} optimiser steps" if killed else "in one piece, nothing to kill"
    yield Check("killed fit equals undisturbed fit", same, None, detail)
    yield Check("global generators during the fit", before == _global_state(), None, "are left alone")
    problem, moved = subject.problems[0], {name: value * 1.5 for name, value in whole.tensors.items()}
    other_module = subject.restored(Fitted(tensors=moved))
    used = not torch.equal(subject.run(problem).x, subject.run(problem, fitted=other_module).x)
    yield Check("fitted module", used, None, "matters")


class _Killed(Exception):
    pass


def kill_fit(fit: Callable[[], object]) -> bool:
    """Break a fit off in the middle of an optimiser step; whether it got that far. Loops save at every step."""
    steps = 0

    def kill(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps > KILLED_AT:
            raise _Killed

    hook = register_optimizer_step_post_hook(kill)
    try:
        with mock.patch.object(loop, "CHECKPOINT_SECONDS", 0.0):
            fit()
    except _Killed:
        return True
    finally:
        hook.remove()
    return False


def _claims(subject: _Subject) -> Iterator[Check]:
    capabilities = subject.method.capabilities
    if capabilities.exact_observations:
        worst = max(_misfit(problem, subject.run(problem).x) for problem in subject.problems if problem.observation)
        yield Check("exact observations", worst <= EXACT, worst, f"of a field's std, allowed {EXACT:g}")
    if capabilities.exact_residual:
        worst = max(_residual(problem, subject.run(problem).x) for problem in subject.problems)
        yield Check("exact residual", worst <= EXACT, worst, f"of the largest term, allowed {EXACT:g}")
    if capabilities.deterministic:
        same = all(
            torch.equal(subject.run(problem).x, _with_other_draws(subject, problem)) for problem in subject.problems
        )
        yield Check("deterministic", same, None, "only the initial latent matters")


def _with_other_draws(subject: _Subject, problem: Problem) -> Tensor:
    first, later = (subject.bench.noise(task, range(ROWS)) for task in (problem.task, "other"))
    return subject.run(problem, noise=_OtherAfterFirst(first, later)).x


def _misfit(problem: Problem, x: Tensor) -> float:
    unit = problem.scale.reshape(-1, *[1] * (x.ndim - 2))
    return float((problem.misfit(x) / unit).abs().max())


def _residual(problem: Problem, x: Tensor) -> float:
    return float(problem.residual(x)["interior"].square().mean().sqrt()) / problem.term_scale


def _reductions(method_class: type[Method], bench: _Bench) -> Iterator[Check]:
    """With zero weights, variants on the grid of the prior's sampler give that sampler's states."""
    if method_class.reduces_to is None:
        return
    base = load_method(method_class.reduces_to)
    grid = next(kind for kind in (EDMGrid, VPGrid) if issubclass(base.Config, kind))
    comparable = {name: short(config) for name, config in method_class.variants.items() if isinstance(config, grid)}
    if not comparable:
        yield Check(f"reduces to {base.name}", False, None, f"no variant has the settings of {grid.__name__}")
    for name, config in comparable.items():
        worst = _distance_to_base(bench, method_class, config, base)
        yield Check(f"{name}: reduces to {base.name}", worst <= ROUNDING, worst, "relative, with zero weights")


def _distance_to_base(bench: _Bench, method_class: type[Method], config: Any, base: type[Method]) -> float:
    weights = [f.name for f in dataclasses.fields(config) if f.name.startswith(WEIGHTS)]
    idle = _Subject(bench, method_class, dataclasses.replace(config, **dict.fromkeys(weights, 0.0)))
    shared = {f.name: getattr(config, f.name) for f in dataclasses.fields(base.Config) if hasattr(config, f.name)}
    problem = bench.problem(OBSERVED[0])
    reference = base(base.Config(**shared)).sample(bench.prior, problem, bench.noise(problem.task, range(ROWS)))
    return _difference(idle.run(problem).x, reference)


def _difference(mine: Tensor, reference: Tensor) -> float:
    return float((mine - reference).abs().max() / reference.abs().max())


LAWS: dict[str, Callable[[_Subject], Iterator[Check]]] = {
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
