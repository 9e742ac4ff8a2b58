"""One-step students: maps from white noise to states, a network at the highest noise level or an affine map."""

from collections.abc import Mapping
from copy import deepcopy
from math import prod
from typing import Any, Self

import torch
from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.settings import configure
from jensenbench.errors import UserError
from jensenbench.priors.backbones.build import build_seeded, find_backbone
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.network import NetworkPrior, network_precision

AFFINE_LIMIT = 5000  # unknowns of a state from which a dense map is too large to solve for and to store


class NetworkStudent(nn.Module):
    """d(eps) = D(sigma_max eps; sigma_max) of a network with EDM preconditioning, where c_skip is close to 0.

    While it trains the network may run in bfloat16; students are sampled in float32, whose rounding costs less
    residual.
    """

    def __init__(self, backbone: nn.Module, shape: tuple[int, ...], training_precision: str):
        super().__init__()
        self.backbone, self._training_precision = backbone, training_precision
        self._denoiser = NetworkPrior(backbone, shape)

    def forward(self, noise: Tensor) -> Tensor:
        self._denoiser.precision = self._training_precision if self.training else "float32"
        return self._denoiser(self._denoiser.sigma_max * noise, self._denoiser.sigma_max)


class AffineStudent(nn.Module):
    """d(eps) = W eps + b in float64: what a Gaussian teacher's flow map is."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        size = prod(shape)
        self.weight = nn.Parameter(torch.zeros(size, size, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    @classmethod
    @torch.no_grad()
    def of(cls, shape: tuple[int, ...], solution: Tensor) -> Self:
        """The student with W and b side by side in ``solution`` (n, n + 1)."""
        student = cls(shape)
        student.weight.copy_(solution[:, :-1])
        student.bias.copy_(solution[:, -1])
        return student

    def forward(self, noise: Tensor) -> Tensor:
        return (noise.flatten(1).to(self.weight) @ self.weight.T + self.bias).reshape(noise.shape).to(noise)


def affine_regression(noise: Tensor, states: Tensor) -> Tensor:
    """(n, n + 1): W and b side by side with the least sum of |W eps + b - x|² over pairs (N, n); needs N > n."""
    size = noise.shape[1]
    if len(noise) <= size:
        raise UserError(
            f"{len(noise)} pairs do not determine an affine student of {size} unknowns; set pairs: count above {size}"
        )
    inputs = torch.cat([noise, noise.new_ones(len(noise), 1)], 1)
    return torch.linalg.lstsq(inputs, states, driver="gels").solution.T  # the default one does not repeat itself


def student_kind(student: str, prior: Denoiser) -> str:
    """``teacher``, ``affine`` or the name of a backbone; ``auto`` takes what suits the prior."""
    if student != "auto":
        return student
    if prior.module is not None:
        return "teacher"
    return "affine" if isinstance(prior, GaussianPrior) else "mlp"


def build_student(
    kind: str, prior: Denoiser, backbone: Mapping[str, Any], *, autocast: str = "float32", seed: int = 0
) -> nn.Module:
    """A student at its start, on the CPU or where the teacher is.

    Args:
        kind: of :func:`student_kind`: a copy of the teacher's network, an affine map, or a backbone with weights of
            ``seed``.
        backbone: settings of that backbone.
        autocast: of training; see :func:`jensenbench.priors.network.network_precision`.
    """
    shape = tuple(prior.shape)
    if kind == "affine":
        return AffineStudent(shape)
    if kind == "teacher":
        if prior.module is None:
            raise UserError("student 'teacher': an exact prior has no network; use student: affine or a backbone")
        network = deepcopy(prior.module)
    else:
        settings = configure(f"{kind} setting", find_backbone(kind).settings, backbone)
        network = build_seeded(kind, shape, settings, key=(seed, "student"))
    return NetworkStudent(network, shape, network_precision(autocast, next(network.parameters()).device))
