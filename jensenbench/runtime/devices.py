"""Devices and threads, asked for by name and refused in one line."""

import torch

from jensenbench.errors import UnknownName, UserError


def pick_device(name: str) -> torch.device:
    """The device ``cpu`` or ``cuda``; asking for CUDA where there is none is an error."""
    if name not in ("cpu", "cuda"):
        raise UnknownName("device", name, ("cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' was asked for but this machine has no usable GPU; set `device: cpu`")
    return torch.device(name)
