"""Choice of the torch device by name."""

import torch

from jensenbench.errors import UnknownName, UserError


def pick_device(name: str) -> torch.device:
    """The device ``cpu`` or ``cuda``; raises UserError where CUDA is asked for and missing."""
    if name not in ("cpu", "cuda"):
        raise UnknownName("device", name, ("cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' was asked for but this machine has no usable GPU; set `device: cpu`")
    return torch.device(name)
