"""Overhead of each method: time of its sampler over that of the network calls it makes, measured in pairs.

Usage: ``python benchmarks/methods.py [--n 32] [--batch 32] [--steps 8] [--repeats 5]``. The network is the shared
backbone with random weights, the problem Poisson with 30 % of both fields observed. Each repeat times one run of the
method and, right after it, as many bare network calls; the ratio's median and range over the repeats are printed as
CSV. Guided methods also differentiate through the network; this is part of their ratio.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from jensenbench.core.codec import Codec
from jensenbench.core.method import Method
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import find_task
from jensenbench.data.dataset import term_scale
from jensenbench.io.sources import public_modules
from jensenbench.plugins.registry import load_method, make_pde
from jensenbench.priors.backbones.build import build_backbone
from jensenbench.priors.network import NetworkPrior
from jensenbench.priors.training import parse_settings
from jensenbench.runtime.meter import Meter, MeteredDenoiser, MeteredProblem


def main() -> None:
    """Print one CSV row per method and variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in {"n": 32, "batch": 32, "steps": 8, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    prior, problem = network(options.n), observed_problem(options.n, options.batch)
    print("method,variant,nfe,vjp,seconds_per_step,ratio_median,ratio_min,ratio_max")
    for method in methods(options.steps):
        print(row(method, prior, problem, options.batch, options.repeats), flush=True)


def methods(steps: int) -> Iterator[tuple[str, Method]]:
    """All variants that need no training, with ``steps`` steps."""
    for name in public_modules("methods"):
        kind = load_method(name)
        for variant, config in kind.variants.items():
            short = dataclasses.replace(config, steps=steps) if hasattr(config, "steps") else config
            if not kind.capabilities.trains:
                yield variant, kind(short)


def network(n: int) -> NetworkPrior:
    """The default backbone with random weights."""
    shape = make_pde("poisson", {"n": n}).shape
    training, backbone = parse_settings({})
    torch.manual_seed(0)
    module = build_backbone(training.backbone, shape[0], shape[1:], backbone)
    return NetworkPrior(module.eval().requires_grad_(False), shape)


def observed_problem(n: int, batch: int) -> Problem:
    """Reconstruction of ``batch`` Poisson states from 30 % of both fields."""
    pde = make_pde("poisson", {"n": n})
    states = pde.generate(range(batch), seed=0)
    scale, task = states.transpose(0, 1).flatten(1).std(1), find_task("reconstruction_30")
    data = [task.observe(state, pde, scale, seed=0, index=i) for i, state in enumerate(states)]
    observation = MaskObservation(torch.cat([d.mask for d in data]), torch.cat([d.values for d in data]))
    codec, largest = Codec.fit(pde, states, power=1), term_scale(pde, states)
    return Problem(pde, task.label, codec, observation=observation, scale=scale, term_scale=largest)


def row(entry: tuple[str, Method], prior: NetworkPrior, problem: Problem, batch: int, repeats: int) -> str:
    """CSV row of the paired times of a method and of its network calls alone."""
    variant, method = entry
    task = problem if method.capabilities.observed else Problem(problem.pde, "unconditional", problem.codec)
    meter, ratios, seconds = Meter(), [], []
    x = torch.zeros(batch, *prior.shape, dtype=torch.float64)
    for repeat in range(repeats + 1):
        meter = Meter()
        meter.begin(batch)
        noise = KeyedNoise([(repeat, i) for i in range(batch)])
        view = MeteredDenoiser(prior, meter), MeteredProblem(task, meter)
        spent = timed(lambda view=view, noise=noise: method.sample(*view, noise))
        calls = round(meter.per_state()["nfe"])
        bare = timed(lambda calls=calls: [prior(x, 1.0) for _ in range(calls)])
        if repeat:  # the first run warms up
            ratios.append(spent / bare)
            seconds.append(spent / getattr(method.config, "steps", 1))
    counts = meter.per_state()
    spread = f"{statistics.median(ratios):.2f},{min(ratios):.2f},{max(ratios):.2f}"
    return f"{method.name},{variant},{counts['nfe']:g},{counts['vjp']:g},{statistics.median(seconds):.4f},{spread}"


def timed(action: Callable[[], object]) -> float:
    """Seconds of an action."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
