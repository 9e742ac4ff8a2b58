"""MCMC chains in one batch: annealed and adapted during the warm-up, then fixed; resumable at any step.

With several levels every chain has replicas at weaker data, with which it exchanges states (replica exchange).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from jensenbench.errors import UnknownName, UserError
from jensenbench.numerics.random import generator_of
from jensenbench.posteriors.annealing import inverse_temperature, reweigh
from jensenbench.posteriors.kernel import Reference, step
from jensenbench.posteriors.likelihood_informed import informed, refitted
from jensenbench.posteriors.replica_exchange import exchange, ladder
from jensenbench.posteriors.state import ChainState
from jensenbench.posteriors.target import Point, Target

ACCEPTANCE = {"pcn": 0.25, "informed": 0.25, "mala": 0.57}  # target of the warm-up's adaptation, by sampler
BLOCKS = 4  # block means of each field along an axis, as functionals
ANNEALED = 0.25  # share of the warm-up in which the data potential grows to full size
REFITS = (0.5, 0.75)  # shares of the warm-up after which the reference is fitted to the states since the one before
FADING = 0.6  # exponent of the decay of the adaptation's gain
SAVE_EVERY = 500


@dataclass(frozen=True)
class ChainSettings:
    """How a posterior is sampled.

    Attributes:
        sampler: ``pcn`` (proposals reversible for the prior), ``informed`` (for a Gaussian that the warm-up
            fits along the directions that the data inform about) or ``mala`` (the same, with drift along the gradient).
        chains: number of chains, annealed from draws of the prior.
        warmup, steps: of every chain, before and after the adaptation ends.
        beta: size of the first steps, from 0 to 1; the warm-up adapts it.
        snapshots: number of steps, evenly spaced, whose states are stored.
        levels: replicas of each chain, at full data and at weaker ones (1: at full data alone).
        weakest: factor of the data potential at the last level.
    """

    sampler: str = "informed"
    chains: int = 32
    warmup: int = 2000
    steps: int = 6000
    beta: float = 0.3
    snapshots: int = 16
    levels: int = 1
    weakest: float = 0.01

    def __post_init__(self) -> None:
        if self.sampler not in ACCEPTANCE:
            raise UnknownName("sampler of reference posteriors", self.sampler, ACCEPTANCE)
        for name, least in (("chains", 2), ("warmup", 8), ("steps", 16), ("snapshots", 1), ("levels", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise UserError(f"reference posterior: {name} = {value!r} must be a whole number, at least {least}")
        if not 0 < self.beta <= 1:
            raise UserError(f"reference posterior: beta = {self.beta!r} must lie in (0, 1]")
        if not 0 < self.weakest < 1:
            raise UserError(f"reference posterior: weakest = {self.weakest!r} must lie in (0, 1)")
        if self.snapshots > self.steps:
            raise UserError(f"reference posterior: snapshots = {self.snapshots} are more than steps = {self.steps}")

    @property
    def total(self) -> int:
        """Steps of every chain."""
        return self.warmup + self.steps

    @property
    def batch(self) -> int:
        """Number of states of a step: all levels of all chains."""
        return self.chains * self.levels

    def inverse_temperature(self, done: int) -> float:
        """Factor of the data potential at a step, at the first level."""
        return inverse_temperature(done / (ANNEALED * self.warmup))

    def is_snapshot(self, recorded: int) -> bool:
        """Whether the states after ``recorded`` steps beyond the warm-up are stored."""
        return recorded * self.snapshots // self.steps > (recorded - 1) * self.snapshots // self.steps


class Chains:
    """Chains of one posterior; they resume from the state that a killed run left at ``path``.

    Args:
        target: the posterior.
        scale: (C,) standard deviation of each field.
        key: of the random numbers; every step has its own stream, so that a resumed run draws the same numbers.
        path: file of the resumable state; None: not saved.
        meta: everything on which the chains depend; a saved state with other metadata is not used.
    """

    def __init__(
        self,
        target: Target,
        settings: ChainSettings,
        scale: Tensor,
        *,
        key: tuple[object, ...],
        path: Path | None = None,
        meta: Mapping[str, Any] | None = None,
    ):
        if settings.sampler == "mala" and target.latent.surrogate is not None:
            raise UserError("sampler mala needs a gradient, which a level set does not have; use informed or pcn")
        self.target, self.settings, self.scale = target, settings, scale.double()
        self._factors = ladder(settings.levels, settings.weakest)
        self._key, self._path, self._meta = key, path, {**(meta or {}), "key": list(map(str, key))}
        self.state = (ChainState.load(path, self._meta) if path is not None else None) or self._begin()

    def run(self, until: int | None = None) -> ChainState:
        """Advance until ``until`` steps are done (by default all); saves every few hundred steps and at the end."""
        end = self.settings.total if until is None else min(until, self.settings.total)
        while self.state.done < end:
            self.advance()
            if self._path is not None and (self.state.done % SAVE_EVERY == 0 or self.state.done == end):
                self.state.save(self._path, self._meta)
        return self.state

    def advance(self) -> None:
        """One step of all chains."""
        state, settings = self.state, self.settings
        warm = state.done < settings.warmup
        noise, uniform = self._random(state.done)
        tempering = settings.inverse_temperature(state.done)
        state.point, ratio = step(
            state.point, self._evaluate, state.reference.repeated(settings.chains), state.beta.repeat(settings.chains),
            noise, uniform[1 : 1 + settings.batch], drift=settings.sampler == "mala",
            inverse_temperature=tempering * self._factors.repeat(settings.chains),
        )  # fmt: skip
        state.done += 1
        swapped = self._exchange(tempering, uniform)
        acceptance = self._by_level(ratio).mean(0)
        if warm:
            self._adapt(acceptance)
        else:
            self._record(float(acceptance[0]), swapped)

    def _exchange(self, tempering: float, uniform: Tensor) -> Tensor:
        """Move states between chains: exchanges between levels, else resampling of the chains while they anneal."""
        state, settings = self.state, self.settings
        if settings.levels > 1:
            fresh = self._by_level(uniform[1 + settings.batch :])
            state.point, swapped = exchange(state.point, tempering * self._factors, fresh, state.done % 2)
            return swapped
        if tempering < 1:
            rise = settings.inverse_temperature(state.done) - tempering
            state.point, state.weights = reweigh(state.point, state.weights, rise, float(uniform[0]))
        return state.swapped.new_zeros(0)

    def _by_level(self, values: Tensor) -> Tensor:
        """Values (b, ...) of the batch as (chains, levels, ...)."""
        return values.unflatten(0, (self.settings.chains, self.settings.levels))

    def functionals(self, point: Point) -> Tensor:
        """Data potential, and means of every field over 4 × 4 blocks in units of its std: (b, F) of states."""
        blocks = adaptive_avg_pool2d(self._scaled(point.fields), BLOCKS).flatten(1)
        return torch.cat([point.potential[:, None], blocks], 1)

    def _begin(self) -> ChainState:
        settings, size, levels = self.settings, self.target.latent.size, self.settings.levels
        point = self.target.point(self._random(-1)[0], differentiate=settings.sampler == "mala")
        functionals, shape = self.functionals(point).shape[1], point.fields.shape[1:]
        zeros = torch.zeros(shape, dtype=torch.float64)
        return ChainState(
            point,
            Reference.prior(size),
            states=torch.zeros(levels, size, dtype=torch.float64),
            outer=torch.zeros(levels, size, size, dtype=torch.float64),
            weights=torch.zeros(settings.chains, dtype=torch.float64),
            total=zeros,
            squares=zeros.clone(),
            traces=torch.zeros(settings.chains, settings.steps, functionals),
            kept=torch.zeros(settings.snapshots, settings.chains, size),
            beta=torch.full((levels,), settings.beta, dtype=torch.float64),
            swapped=torch.zeros(levels - 1, dtype=torch.float64),
        )

    def _random(self, done: int) -> tuple[Tensor, Tensor]:
        """Normals (b, k) and uniforms (1 + b,) of a step; (1 + 2 b,) uniforms where levels exchange."""
        stream, batch = generator_of((*self._key, done)), self.settings.batch
        normals = torch.randn(batch, self.target.latent.size, generator=stream, dtype=torch.float64)
        count = 1 + batch * (1 if self.settings.levels == 1 else 2)
        return normals, torch.rand(count, generator=stream, dtype=torch.float64)

    def _evaluate(self, z: Tensor) -> Point:
        point = self.target.point(z, differentiate=self.settings.sampler == "mala")
        self.state.refused += int(torch.isinf(point.potential).sum())
        return point

    def _adapt(self, acceptance: Tensor) -> None:
        """Adapt after a step of the warm-up: the step sizes, and at some steps the reference of the proposals."""
        state, settings = self.state, self.settings
        states = self._by_level(state.point.z)
        state.accumulate(states)
        gain = (state.count // settings.chains) ** -FADING
        excess = acceptance - ACCEPTANCE[settings.sampler]
        state.beta = (state.beta * torch.exp(gain * excess)).clamp(max=1)
        if state.done == int(ANNEALED * settings.warmup):
            if settings.sampler != "pcn":
                state.reference = informed(self.target, states, self._factors)
            state.reset()
        elif state.done in [int(share * settings.warmup) for share in REFITS]:
            state.reference = refitted(state.reference, *state.moments())
            state.reset()

    def _record(self, acceptance: float, swapped: Tensor) -> None:
        """Add the states at full data to the recorded sums, traces and snapshots."""
        state, recorded = self.state, self.state.done - self.settings.warmup
        state.accepted += acceptance
        state.swapped += swapped
        point = Point(*(part[:: self.settings.levels] for part in state.point))
        scaled = self._scaled(point.fields)
        state.total += scaled.sum(0)
        state.squares += scaled.square().sum(0)
        state.traces[:, recorded - 1] = self.functionals(point).float()
        if self.settings.is_snapshot(recorded):
            state.kept[recorded * self.settings.snapshots // self.settings.steps - 1] = point.z.float()

    def _scaled(self, fields: Tensor) -> Tensor:
        return fields / self.scale.reshape(-1, *[1] * (fields.ndim - 2))
