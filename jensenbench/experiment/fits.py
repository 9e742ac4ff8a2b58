"""Fits as files: the module that a method has learnt, or why it has not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from jensenbench.core.denoiser import Denoiser
from jensenbench.core.method import Method
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError
from jensenbench.io.tensorfile import read_tensors, write_tensors

FORMAT = 1


@dataclass(frozen=True)
class Fitted:
    """What a fit left behind; ``meta`` says how it was made, ``digest`` names the content."""

    status: str = "ok"
    reason: str = ""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def restore(self, method: Method, prior: Denoiser, problem: Problem) -> nn.Module:
        """The trained module, ready to sample with; raises where the weights do not fit the method's module."""
        module = method.build(prior, problem)
        try:
            module.load_state_dict(dict(self.tensors))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"fit of {method.name}: its weights do not fit its settings ({reason}); fit again"
            ) from error
        return module.eval().requires_grad_(False)


def save_fit(path: Path, fitted: Fitted) -> None:
    """Write a fit; equal content gives equal bytes."""
    meta = {**fitted.meta, "format": FORMAT, "status": fitted.status, "reason": fitted.reason}
    write_tensors(path, meta, fitted.tensors)


def load_fit(path: Path) -> Fitted:
    """Read a fit; a damaged or foreign file is one clear error."""
    meta, tensors, digest = read_tensors(path, "fit", format=FORMAT)
    return Fitted(meta["status"], meta["reason"], tensors, meta, digest)
