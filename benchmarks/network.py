"""Cost of the network call against a whole Heun step: what the sampler adds around it.

Run ``python benchmarks/network.py [--n 32] [--batch 128] [--repeats 5]``; calls and steps alternate, so that a busy
machine slows both, and the median ratio of the pairs is printed.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from jensenbench.priors.backbones import build_backbone
from jensenbench.priors.network import NetworkPrior, network_precision
from jensenbench.samplers import heun


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock duration of a call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


@torch.no_grad()
def compare(n: int, batch: int, repeats: int) -> tuple[float, float]:
    """Median seconds of a bare network call and median ratio of a Heun step to two of them."""
    precision = network_precision("auto", torch.device("cpu"))
    prior = NetworkPrior(build_backbone("unet", 2, (n, n)), (2, n, n), precision=precision)
    x = torch.randn(batch, 2, n, n, dtype=torch.float64)
    inputs, label = x.float(), torch.zeros(batch)
    calls, ratios = [], []
    for _ in range(repeats + 1):
        calls.append(seconds(lambda: prior.network(inputs, label)))
        ratios.append(seconds(lambda: heun(prior, x, 1.0, 0.8)) / (2 * calls[-1]))
    return statistics.median(calls[1:]), statistics.median(ratios[1:])


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("n", 32), ("batch", 128), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    call, ratio = compare(options.n, options.batch, options.repeats)
    size = f"{options.n} x {options.n}, batch {options.batch}"
    print(f"{size}: {options.batch / call:.0f} states/s, Heun step / 2 calls = {ratio:.2f}")


if __name__ == "__main__":
    main()
