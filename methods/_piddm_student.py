"""One-step students of PIDDM: maps from white noise to states."""

from copy import deepcopy
from math import prod

import torch
from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.problem import Problem
from jensenbench.core.settings import configure
from jensenbench.errors import UserError
from jensenbench.numerics.random import seed_of
from jensenbench.priors.backbones.build import build_backbone, find_backbone
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.network import NetworkPrior, network_precision
from methods._piddm_settings import Fit

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

    def forward(self, noise: Tensor) -> Tensor:
        return (noise.flatten(1).to(self.weight) @ self.weight.T + self.bias).reshape(noise.shape).to(noise)


def kind_of(fit: Fit, prior: Denoiser) -> str:
    """``teacher``, ``affine`` or the name of a backbone; ``auto`` follows the prior."""
    if fit.student != "auto":
        return fit.student
    if prior.module is not None:
        return "teacher"
    return "affine" if isinstance(prior, GaussianPrior) else "mlp"


def refusal(fit: Fit, problem: Problem) -> str | None:
    """Why no student of this kind can be fitted to this problem."""
    if fit.student == "affine" and fit.residual_weight and not problem.pde.affine():
        return (
            f"an affine student is solved for in closed form, which the residual of {problem.pde.name} does not allow"
        )
    if fit.student == "affine" and prod(problem.pde.shape) > AFFINE_LIMIT:
        return f"an affine student of {prod(problem.pde.shape)} unknowns is too large (limit {AFFINE_LIMIT})"
    return None


def build_student(fit: Fit, prior: Denoiser, *, seed: int = 0) -> nn.Module:
    """A student at its start, on the CPU or where the teacher is: the teacher's weights, or weights of ``seed``."""
    kind, shape = kind_of(fit, prior), tuple(prior.shape)
    if kind == "affine":
        return AffineStudent(shape)
    if kind == "teacher":
        if prior.module is None:
            raise UserError("student 'teacher': an exact prior has no network; use student: affine or a backbone")
        backbone = deepcopy(prior.module)
    else:
        settings = configure(f"{kind} setting", find_backbone(kind).settings, fit.backbone)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of((seed, "student")) >> 1)
            backbone = build_backbone(kind, shape[0], shape[1:], settings)
    device = next(backbone.parameters()).device
    return NetworkStudent(backbone, shape, network_precision(fit.autocast, device))
