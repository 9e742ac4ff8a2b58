"""Training of a denoiser at the discrete noise levels of a diffusion chain, for any objective."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from jensenbench.core.problem import Problem
from jensenbench.numerics.random import generator_of
from jensenbench.priors.loop import Loop, LoopSettings
from jensenbench.priors.network import NetworkPrior
from jensenbench.priors.training import apply_symmetries

# (model, clean states (b, C, *grid), levels (b,), unit noise) -> (loss, its parts for the log)
Objective = Callable[[NetworkPrior, Tensor, Tensor, Tensor], tuple[Tensor, Mapping[str, Tensor]]]
# (denoiser of the weights in training, denoiser of their moving average) -> columns of the log
Watch = Callable[[NetworkPrior, NetworkPrior], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class ChainBatches:
    """Batches of training states at random levels of a chain; each is a function of (seed, step) alone.

    Attributes:
        problem: its PDE has the symmetries, its codec the coordinates.
        data: states (N, C, *grid) in prior coordinates.
        size: of a batch.
        levels: of the chain.
        augment, shuffle: apply a random symmetry of the PDE to every state; draw states at random, not in order.
    """

    problem: Problem
    data: Tensor
    size: int
    levels: int
    seed: int
    augment: bool = True
    shuffle: bool = True

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Clean states (b, C, *grid), levels (b,) and unit noise of one step, float32."""
        data, source = self.data, generator_of((self.seed, "batch", step))
        index = torch.randint(len(data), (self.size,), generator=source)
        chance = torch.rand(self.size, generator=source)
        t = torch.randint(self.levels, (self.size,), generator=source)
        noise = torch.randn(self.size, *data.shape[1:], generator=source).to(data.device)
        if not self.shuffle:
            index = torch.arange(step * self.size, (step + 1) * self.size) % len(data)
        clean = data[index.to(data.device)]
        if self.augment:
            clean = self.problem.encode(apply_symmetries(self.problem.pde, self.problem.decode(clean), chance))
        return clean.float(), t.to(data.device), noise


def train_chain(
    network: nn.Module,
    denoiser: Callable[[nn.Module], NetworkPrior],
    objective: Objective,
    batches: ChainBatches,
    settings: LoopSettings,
    *,
    state_dir: Path,
    sources: Sequence[str],
    label: str,
    watch: Watch | None = None,
) -> nn.Module:
    """Minimise an objective over the weights of a network on the device of the data; resumes in ``state_dir``.

    Args:
        denoiser: the network, or one of the same kind with averaged weights, as a denoiser.
        sources: modules whose code the objective is; see :class:`Loop`.
        label: begins every line of the log.
        watch: measures both denoisers at every check, for the columns of the log.
    """
    model, problem, data = denoiser(network), batches.problem, batches.data

    def loss(module: nn.Module, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        clean, t, noise = batches(step)
        return objective(model, clean[loop.rows], t[loop.rows], noise[loop.rows])

    def check(average: nn.Module, step: int) -> Mapping[str, float]:
        return {} if watch is None else watch(model, denoiser(average))

    loop = Loop(
        network, loss, settings,
        identity=[batches.seed, problem.pde.label, problem.codec.state(), problem.term_scale, len(data)],
        sources=[*sources, f"pdes.{problem.pde.name}"],
        state_dir=state_dir, label=label, device=data.device, check=check,
    )  # fmt: skip
    return loop.run()
