"""Throughput of every backbone in training and inference, and the overhead of a sampler's step.

Run ``python benchmarks/network.py [--n 32] [--batch 32] [--repeats 5] [--backbones unet spectral ...]``: one thread,
two channels, default settings. Runs alternate with those of the U-Net, so that a busy machine slows both; medians
of states per second and of the paired ratios are printed as CSV. A training step is loss, gradients and AdamW;
``heun_over_calls`` is the time of a Heun step over that of the two network calls in it.
"""

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from jensenbench.diffusion.samplers import heun
from jensenbench.priors.backbones.build import BACKBONES, build_backbone
from jensenbench.priors.network import NetworkPrior, network_precision
from jensenbench.priors.training import denoising_loss

BASE = "unet"
COLUMNS = ["backbone", "parameters", "train_per_s", "train_ratio", "infer_per_s", "infer_ratio", "heun_over_calls"]


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock duration of a call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class Workload:
    """A backbone with random weights, its optimiser, and a batch of states of the default prior's shape."""

    def __init__(self, name: str, n: int, batch: int):
        torch.manual_seed(0)
        precision = network_precision("auto", torch.device("cpu"))
        self.prior = NetworkPrior(build_backbone(name, 2, (n, n)), (2, n, n), precision=precision)
        self.parameters = sum(p.numel() for p in self.prior.backbone.parameters())
        self.optimiser = torch.optim.AdamW(self.prior.backbone.parameters(), lr=1e-4)
        self.x, self.sigma = torch.randn(batch, 2, n, n), torch.full((batch,), 1.0)

    def train(self) -> None:
        """One optimiser step."""
        self.prior.backbone.train()
        self.optimiser.zero_grad(set_to_none=True)
        denoising_loss(self.prior, self.x, self.sigma, self.x.flip(0)).mean().backward()
        self.optimiser.step()

    @torch.no_grad()
    def infer(self) -> Tensor:
        """One bare network call."""
        self.prior.backbone.eval()
        return self.prior.network(self.x, self.sigma)

    @torch.no_grad()
    def step(self) -> Tensor:
        """One Heun step in float64, as samplers take it: two network calls."""
        self.prior.backbone.eval()
        return heun(self.prior, self.x.double(), 1.0, 0.8).x


def compare(name: str, n: int, batch: int, repeats: int) -> dict[str, object]:
    """CSV row: medians over ``repeats`` alternating pairs of the backbone and the base, after a warm-up."""
    work, base = Workload(name, n, batch), Workload(BASE, n, batch)
    times: dict[str, list[float]] = {"train": [], "infer": [], "step": []}
    ratios: dict[str, list[float]] = {"train": [], "infer": [], "step": []}
    for repeat in range(repeats + 1):
        for action in ("train", "infer"):
            own, other = seconds(getattr(work, action)), seconds(getattr(base, action))
            if repeat:
                times[action].append(own)
                ratios[action].append(other / own)
        if repeat:
            ratios["step"].append(seconds(work.step) / (2 * seconds(work.infer)))
    return row(name, work.parameters, batch, times, ratios)


def row(
    name: str, parameters: int, batch: int, times: Mapping[str, list[float]], ratios: Mapping[str, list[float]]
) -> dict[str, object]:
    """Medians under the names of the CSV's columns."""
    speed = {action: batch / statistics.median(times[action]) for action in ("train", "infer")}
    ratio = {action: statistics.median(values) for action, values in ratios.items()}
    values = (name, parameters, speed["train"], ratio["train"], speed["infer"], ratio["infer"], ratio["step"])
    return {
        key: f"{value:.3g}" if isinstance(value, float) else value for key, value in zip(COLUMNS, values, strict=True)
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("n", 32), ("batch", 32), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), choices=list(BACKBONES))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name in options.backbones:
        writer.writerow(compare(name, options.n, options.batch, options.repeats))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
