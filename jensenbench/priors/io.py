"""Prior files: saving and loading of denoisers with their codec, settings and digest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.core.pde import PDE
from jensenbench.core.settings import configure
from jensenbench.errors import UserError
from jensenbench.io.files import canonical_json
from jensenbench.io.tensorfile import read_tensors, write_tensors
from jensenbench.priors.backbones.build import build_backbone, find_backbone
from jensenbench.priors.empirical import EmpiricalPrior
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.mixture import MixturePrior
from jensenbench.priors.network import NetworkPrior

FORMAT = 1
_EXACT = {"gaussian": GaussianPrior, "mixture": MixturePrior, "empirical": EmpiricalPrior}


@dataclass(frozen=True)
class BuiltPrior:
    """A prior that was just built: the denoiser, its codec, and the settings that it was made with."""

    denoiser: GaussianPrior | MixturePrior | EmpiricalPrior | NetworkPrior
    codec: Codec
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class LoadedPrior:
    """A prior read from a file; ``digest`` is that of the content, ``meta`` says how it was made."""

    denoiser: Denoiser
    codec: Codec
    label: str
    kind: str
    digest: str
    meta: Mapping[str, Any]

    def on(self, device: torch.device) -> Denoiser:
        """The denoiser with its network, if any, on a device and without gradients of its weights."""
        if self.denoiser.module is not None:
            self.denoiser.module.to(device).requires_grad_(False)
        return self.denoiser


def save_prior(path: Path, built: BuiltPrior, *, pde: PDE, label: str, seed: int, data_digest: str) -> None:
    """Write a prior file; equal content gives equal bytes."""
    kind = next((kind for kind, exact in _EXACT.items() if isinstance(built.denoiser, exact)), "network")
    meta = {
        "format": FORMAT,
        "kind": kind,
        "label": label,
        "pde": pde.label,
        "shape": list(pde.shape),
        "codec": built.codec.state(),
        "settings": dict(built.settings),
        "seed": seed,
        "data_digest": data_digest,
    }
    write_tensors(path, meta, built.denoiser.tensors())


def load_prior(
    path: Path, pde: PDE, *, data_digest: str | None = None, settings: Mapping[str, Any] | None = None
) -> LoadedPrior:
    """Read a prior file for a PDE; raises UserError if it is damaged or not what is asked for.

    Args:
        data_digest: of the data that it must have been made from.
        settings: entry of a config, ``kind`` included, that it must have been made with.
    """
    meta, tensors, digest = read_tensors(path, "train", format=FORMAT)
    if meta["pde"] != pde.label or tuple(meta["shape"]) != pde.shape:
        raise UserError(
            f"{path} is a prior of {meta['pde']} with states {tuple(meta['shape'])}, "
            f"not of {pde.label} with states {pde.shape}; name the file that was trained on it"
        )
    _check_asked(path, meta, {"data_digest": data_digest} if data_digest else {})
    _check_asked(path, {"kind": meta["kind"], **_flat(meta["settings"])}, settings or {})
    _check_scale(path, meta)
    denoiser = _restore(path, meta, tensors)
    codec = Codec(pde, **meta["codec"])
    return LoadedPrior(denoiser, codec, meta["label"], meta["kind"], digest, meta)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a prior file as a config gives them, a backbone's beside those of the training."""
    return {**settings, **settings.get("backbone_settings", {})}


def _check_asked(path: Path, made: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for key, value in asked.items():
        if canonical_json([made.get(key)]) != canonical_json([value]):
            raise UserError(
                f"{path} was made with {key} = {made.get(key)!r}, asked for is {value!r}; delete it and train again"
            )


def _check_scale(path: Path, meta: Mapping[str, Any]) -> None:
    settings, power = meta["settings"], meta["codec"]["power"]
    if settings["power"] != power:
        raise UserError(f"{path}: its codec has power {power}, its settings say {settings['power']}; train again")
    sigma_data = settings.get("sigma_data", NetworkPrior.sigma_data)
    if sigma_data != NetworkPrior.sigma_data:
        raise UserError(
            f"{path} was trained for sigma_data = {sigma_data}, the suite's is {NetworkPrior.sigma_data}; train again"
        )


def _restore(path: Path, meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Denoiser:
    try:
        if meta["kind"] in _EXACT:
            return _EXACT[meta["kind"]].from_tensors(tensors)
        return _restore_network(meta, tensors)
    except (KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: its weights do not fit its settings ({reason}); train again") from error


def _restore_network(meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> NetworkPrior:
    name, shape = meta["settings"]["backbone"], meta["shape"]
    settings = configure(f"{name} setting", find_backbone(name).settings, meta["settings"]["backbone_settings"])
    module = build_backbone(name, shape[0], shape[1:], settings)
    prior = NetworkPrior(module, shape, precision=meta["settings"]["precision"])
    prior.load(tensors)
    module.eval().requires_grad_(False)
    return prior
