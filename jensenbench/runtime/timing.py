"""Wall time and peak memory of a job, in a file beside its product: results stay reproducible byte for byte."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from jensenbench.io.files import canonical_json, write_text

CPU = torch.device("cpu")


def usage(device: torch.device = CPU) -> dict[str, Any]:
    """Peak memory of this process so far in MiB, device, host, and the time now."""
    return {
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "host": socket.gethostname(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@dataclass
class Spent:
    """Additions to a measured time: seconds that earlier, killed runs of the job took, and more entries of the file."""

    earlier: float = 0.0
    entries: dict[str, float] = field(default_factory=dict)


@contextmanager
def timed(product: Path, device: torch.device = CPU) -> Iterator[Spent]:
    """Write ``<product>.timing.json`` beside a stage's product when the block ends without an error."""
    started, spent = time.perf_counter(), Spent()
    yield spent
    seconds = time.perf_counter() - started + spent.earlier
    text = canonical_json({"seconds": seconds, **usage(device), **spent.entries})
    write_text(product.with_suffix(".timing.json"), f"{text}\n")
