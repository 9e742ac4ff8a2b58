"""Network prior: EDM preconditioning around a backbone (Karras et al. 2022)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.errors import UnknownName
from jensenbench.numerics.tensors import per_row

AUTOCAST = ("auto", "float32", "bfloat16")


class NetworkPrior(Denoiser):
    """Denoiser of Karras et al. (2022), arXiv 2206.00364, table 1.

    D(x; sigma) = c_skip x + c_out F(c_in x; ln(sigma)/4). The network F runs in float32 or under bfloat16
    autocast; everything around it in the dtype of x, so that the part c_skip x of a float64 state
    is not rounded.

    Args:
        backbone: F, called with (b, C, *grid) and (b,).
        shape: (C, *grid).
        precision: ``float32`` or ``bfloat16``; see :func:`network_precision`.
    """

    sigma_min, sigma_max, sigma_data = 0.002, 80.0, 0.5

    def __init__(self, backbone: nn.Module, shape: Sequence[int], *, precision: str = "float32"):
        self.backbone, self.module = backbone, backbone
        self.shape, self.precision = tuple(shape), precision

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        total = (sigma.square() + self.sigma_data**2).sqrt()
        inputs = (x / per_row(total, x)).float()
        output = self.network(inputs, (sigma.log() / 4).float()).to(x.dtype)
        skip, gain = self.sigma_data**2 / total.square(), sigma * self.sigma_data / total
        return per_row(skip, x) * x + per_row(gain, x) * output

    def network(self, inputs: Tensor, label: Tensor) -> Tensor:
        """Output of F in float32, at the recorded precision."""
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self.backbone(inputs, label).float()

    def tensors(self) -> dict[str, Tensor]:
        """Weights by name, on the CPU."""
        return {name: value.detach().cpu().contiguous() for name, value in self.backbone.state_dict().items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Load weights as :meth:`tensors` returns them; raises RuntimeError if they do not fit the backbone."""
        self.backbone.load_state_dict(dict(tensors))


class CleanPrediction(NetworkPrior):
    """D(x; sigma) = F(x / sqrt(1 + sigma²); ln(sigma)/4): the network reads x_t of a VP process and predicts x0."""

    sigma_min, sigma_max = 1e-4, float("inf")

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        inputs = x / per_row((1 + sigma.square()).sqrt(), x)
        return self.network(inputs.float(), (sigma.log() / 4).float()).to(x.dtype)


PARAMETRISATIONS = {"edm": NetworkPrior, "x0": CleanPrediction}


def network_precision(setting: str, device: torch.device) -> str:
    """``float32`` or ``bfloat16``; ``auto`` takes bfloat16 where it is faster: on CUDA and on CPUs with AMX."""
    if setting not in AUTOCAST:
        raise UnknownName("autocast setting", setting, AUTOCAST)
    if setting != "auto":
        return setting
    fast = device.type == "cuda" or bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return "bfloat16" if fast else "float32"
