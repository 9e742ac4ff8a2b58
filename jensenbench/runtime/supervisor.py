"""The torch-free parent of a sampling job: a child that is killed leaves a row, not a hole."""

import signal
import subprocess
import sys
from collections.abc import Sequence


def run_worker(arguments: Sequence[str]) -> int:
    """Run ``python -m jensenbench`` with these arguments; SIGTERM is passed on. Returns its exit code."""
    child = subprocess.Popen([sys.executable, "-m", "jensenbench", *arguments])
    previous = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        return child.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)


def explain_exit(code: int) -> tuple[str, str]:
    """Status and reason of a child that ended with a non-zero code."""
    if code == -signal.SIGKILL:
        return "out_of_memory", "killed by SIGKILL, most often by the kernel for want of memory; lower `batch`"
    if code == -signal.SIGTERM:
        return "timeout", "ended by SIGTERM, most often at the job's time limit; raise its runtime"
    if code < 0:
        return "failed", f"killed by {signal.Signals(-code).name}"
    return "failed", f"ended with exit code {code}; see its log"


def die_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent dies, so that a killed scheduler leaves no orphans."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
