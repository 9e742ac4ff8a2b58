"""Safetensors files with JSON metadata and a content digest that is checked on reading."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.io.files import canonical_json, replacing

_METADATA = "jensenbench"  # one key: the library writes several in random order


def write_tensors(path: Path, meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Write a file atomically; equal content gives equal bytes. Returns the digest of the content."""
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    digest = _digest(meta, stored)
    text = canonical_json({**meta, "digest": digest})
    with replacing(path) as temporary:
        save_file(stored, temporary, metadata={_METADATA: text})
    return digest


def read_tensors(path: Path, stage: str, *, format: int) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Metadata, tensors and digest of a file that ``stage`` writes; raises UserError if it is damaged or foreign."""
    if not path.exists():
        raise UserError(f"{path} does not exist: run the stage `{stage}`")
    again = f"delete it and run the stage `{stage}` again"
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_METADATA)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is truncated or no safetensors file ({error}); {again}") from error
    meta = json.loads(text) if text else {}
    if meta.get("format") != format:
        raise UserError(f"{path} is no file of the stage `{stage}` (format {meta.get('format')}, expected {format})")
    digest = meta.pop("digest")
    if _digest(meta, tensors) != digest:
        raise UserError(f"{path}: its content does not match its digest {digest}; {again}")
    return meta, tensors, digest


def _digest(meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256(canonical_json(dict(meta)).encode())
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()[:16]
