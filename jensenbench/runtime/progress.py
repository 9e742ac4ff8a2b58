"""Progress display: a bar on a terminal, plain lines in a log."""

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

LOG_SECONDS = 10.0

Item = TypeVar("Item")


def progress(items: Sequence[Item], *, label: str, unit: str) -> Iterator[Item]:
    """Yield ``items`` and show the progress; a log gets a line at the end, and one at most every ten seconds."""
    bar = tqdm(items, desc=label, unit=unit, disable=None)
    if not bar.disable:
        yield from bar
        return
    started = logged = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - logged > LOG_SECONDS or done == len(items):
            print(f"{label}: {unit} {done}/{len(items)}, {now - started:.0f} s", flush=True)
            logged = now
