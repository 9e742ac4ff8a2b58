"""Data-parallel training: each process takes its share of every batch, gradients are averaged."""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from jensenbench.errors import UserError
from jensenbench.runtime.supervisor import die_with_parent

Work = Callable[..., None]


def is_joined() -> bool:
    """Whether this process belongs to a group."""
    return dist.is_available() and dist.is_initialized()


def count() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if is_joined() else 1


def rank() -> int:
    """Number of this process in its group, from 0."""
    return dist.get_rank() if is_joined() else 0


def leads() -> bool:
    """Whether this process is the one that checks, prints and writes."""
    return rank() == 0


def share(batch: int) -> slice:
    """Slice of a batch that this process works on."""
    size = batch // count()
    return slice(rank() * size, (rank() + 1) * size)


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Replace tensors of one dtype and device by their means over the processes, the same bits in all of them."""
    if count() == 1:
        return
    found = list(tensors)
    joined = torch.cat([tensor.reshape(-1) for tensor in found])
    dist.all_reduce(joined)
    for tensor, mean in zip(found, (joined / count()).split([t.numel() for t in found]), strict=True):
        tensor.copy_(mean.reshape(tensor.shape))


def launch(work: Work, arguments: Mapping[str, Any], *, processes: int, device: str) -> None:
    """Call ``work(**arguments)`` in ``processes`` processes of one group: gloo on CPUs, NCCL on GPUs.

    Under ``torchrun``, whose environment names the group, this process joins it; otherwise all are started
    here. A UserError of a process is raised here.
    """
    found = torch.cuda.device_count()
    if device == "cuda" and "LOCAL_RANK" not in os.environ and found < processes:
        raise UserError(f"processes = {processes} on 'cuda' need a GPU each, this machine has {found}; lower processes")
    if "WORLD_SIZE" in os.environ:
        size, number = int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
        if size != processes:
            raise UserError(f"processes = {processes}, but WORLD_SIZE = {size}; start as many as the prior asks for")
        return _join(work, arguments, number, device, init_method="env://")
    with tempfile.TemporaryDirectory() as folder:
        try:
            spawn(_member, (work, arguments, processes, device, folder), nprocs=processes)
        except (ProcessExitedException, ProcessRaisedException):
            error = Path(folder, "error")
            if error.exists():
                raise UserError(error.read_text(encoding="utf-8")) from None
            raise


def _member(number: int, work: Work, arguments: Mapping[str, Any], processes: int, device: str, folder: str) -> None:
    die_with_parent()
    try:
        _join(work, arguments, number, device, init_method=f"file://{folder}/group", rank=number, world_size=processes)
    except UserError as error:
        Path(folder, "error").write_text(str(error), encoding="utf-8")
        raise SystemExit(1) from None


def _join(work: Work, arguments: Mapping[str, Any], number: int, device: str, **address: Any) -> None:
    if device == "cuda":
        torch.cuda.set_device(number)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", **address)
    try:
        work(**arguments)
    finally:
        dist.destroy_process_group()
