"""Test bench of the method checks: a small Poisson problem with an exact prior, and metered runs of variants on it."""

import dataclasses
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Method
from jensenbench.core.noise import KeyedNoise, Noise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import TASKS, Task
from jensenbench.data.dataset import term_scale
from jensenbench.experiment.fits import Fitted
from jensenbench.plugins.registry import make_pde
from jensenbench.priors import loop
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.pairs import make_pairs
from jensenbench.runtime.meter import Meter, MeteredDenoiser, MeteredModule, MeteredProblem

SIZE = 8  # points along each side of the Poisson problem
ROWS = 16
CAPS = {  # of settings with these names, nested ones too
    "steps": 8, "iterations": 8, "levels": 8, "last": 4, "extra": 4, "resample": 2, "batch": 16, "count": 160,
}  # fmt: skip
ROUNDING = 1e-9  # of the largest entry: batches of another size may go through other machine code
SINGLE = 1e-3  # the same where a fitted network works in float32, whose rounding errors a sampler may amplify
KILLED_AT = 3  # steps of an optimiser
OBSERVED = (Task("reconstruction_30", 0.3, 0.3), Task("inverse", solution=1, noise_std=0.05))


def short(config: Any) -> Any:
    """The same settings with few steps, pairs and batch elements."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    nested = {name: short(value) for name, value in values.items() if dataclasses.is_dataclass(value)}
    capped = {name: min(values[name], cap) for name, cap in CAPS.items() if isinstance(values.get(name), int)}
    return dataclasses.replace(config, **nested, **capped)


def global_state() -> tuple[bytes, bytes, int]:
    """State of the global generators of torch and numpy."""
    numpy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - the state to protect
    return torch.get_rng_state().numpy().tobytes(), numpy["key"].tobytes(), numpy["pos"]


class Bench:
    """A small Poisson problem with its exact prior, and the fits of one method on it."""

    def __init__(self, seed: int):
        self.seed, self.pde = seed, make_pde("poisson", {"n": SIZE})
        self.states = self.pde.generate(range(4 * ROWS), seed=seed)
        self.codec = Codec.fit(self.pde, self.states, power=1)
        self.prior = GaussianPrior.of_pde(self.pde, self.codec)
        self.scale = self.states.transpose(0, 1).flatten(1).std(1)
        self._fits: dict[str, FitTrial] = {}

    def problem(self, task: Task) -> Problem:
        """A batch with one instance per batch element, or without data."""
        shared = {"scale": self.scale, "term_scale": term_scale(self.pde, self.states)}
        if not task.observes:
            return Problem(self.pde, task.label, self.codec, **shared)
        data = [task.observe(self.states[i], self.pde, self.scale, seed=self.seed, index=i) for i in range(ROWS)]
        mask, values = torch.cat([d.mask for d in data]), torch.cat([d.values for d in data])
        observation = MaskObservation(mask, values, task.noise_std)
        return Problem(self.pde, task.label, self.codec, observation=observation, **shared)

    def noise(self, task: str, rows: range) -> KeyedNoise:
        return KeyedNoise([(self.seed, "check", task, row, 0) for row in rows])

    def fit(self, method: Method, folder: Path) -> Fitted:
        """What a method learns with its state and its pairs in ``folder``."""
        settings = getattr(method.config.fit, "pairs", None)
        pairs = make_pairs(self.prior, settings, key=(self.seed,), folder=folder) if settings else None
        states, problem = self.codec.encode(self.states), self.problem(TASKS["unconditional"])
        module = method.fit(self.prior, problem, states, state_dir=folder, seed=self.seed, pairs=pairs)
        return Fitted(tensors={name: value.clone() for name, value in module.state_dict().items()})

    def fit_trial(self, method: Method) -> "FitTrial":
        """An undisturbed and a killed fit; made once for all variants with equal settings of the fit."""
        key = repr(method.config.fit)
        if key not in self._fits:
            self._fits[key] = FitTrial(self, method)
        return self._fits[key]


class FitTrial:
    """One fit undisturbed and, when asked for, once more with a kill in the middle."""

    def __init__(self, bench: Bench, method: Method):
        self._bench, self._method = bench, method
        before = global_state()
        with tempfile.TemporaryDirectory() as folder:
            self.whole = bench.fit(method, Path(folder))
        self.left_generators_alone = before == global_state()

    @cached_property
    def resumed(self) -> tuple[Fitted, bool, bool]:
        """The fit after a kill, whether there was something to kill, and whether it left the generators alone."""
        before = global_state()
        with tempfile.TemporaryDirectory() as folder:
            killed = kill_fit(lambda: self._bench.fit(self._method, Path(folder)))
            fit = self._bench.fit(self._method, Path(folder))
        return fit, killed, before == global_state()


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


@dataclass(frozen=True)
class Run:
    """Samples ``x`` (b, C, *grid) in physical units, their meter, and what the run left alone."""

    x: Tensor
    meter: Meter
    left_generators_alone: bool
    left_observation_alone: bool


@dataclass(frozen=True)
class Subject:
    """One variant of a method on the bench."""

    bench: Bench
    method_class: type[Method]
    config: Any
    variant: str = ""

    @cached_property
    def method(self) -> Method:
        return self.method_class(self.config)

    @cached_property
    def fitted(self) -> nn.Module | None:
        """The module of one fit, restored as the stage ``sample`` does it."""
        trains = self.method.capabilities.trains
        return self.restored(self.bench.fit_trial(self.method).whole) if trains else None

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

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """One run per problem, which most laws read."""
        return tuple(self.run(problem) for problem in self.problems)

    def run(
        self,
        problem: Problem,
        *,
        rows: range = range(ROWS),
        prior: Denoiser | None = None,
        budget: float = math.inf,
        noise: Noise | None = None,
        fitted: nn.Module | None = None,
    ) -> Run:
        """Sample the given batch elements, metered."""
        meter = Meter(budget=budget)
        meter.begin(len(rows))
        metered = MeteredDenoiser(self.bench.prior if prior is None else prior, meter)
        part = MeteredProblem(problem if len(rows) == ROWS else problem.subset(list(rows)), meter)
        drawn = self.bench.noise(problem.task, rows) if noise is None else noise
        module = self.fitted if fitted is None else fitted
        module = None if module is None else MeteredModule(module, meter)
        generators, observed = global_state(), _observed(problem)
        x = self.method.sample(metered, part, drawn, fitted=module)
        kept = all(torch.equal(*pair) for pair in zip(observed, _observed(problem), strict=True))
        return Run(x, meter, generators == global_state(), kept)


def _observed(problem: Problem) -> tuple[Tensor, ...]:
    """Copies of a problem's mask and values, none without observations."""
    data = problem.observation
    return (data.mask.clone(), data.values.clone()) if isinstance(data, MaskObservation) else ()


class MethodCase:
    """A method with all its variants, shortened, on one bench; what several laws need is computed once."""

    def __init__(self, method_class: type[Method], *, seed: int = 0):
        self.method_class, self.bench = method_class, Bench(seed)
        self.subjects = tuple(
            Subject(self.bench, method_class, short(preset), variant)
            for variant, preset in method_class.variants.items()
        )
