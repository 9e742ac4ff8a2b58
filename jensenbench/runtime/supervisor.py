"""Supervisor process: records a failed run if its worker is killed."""

import signal
import subprocess
import sys
from collections.abc import Sequence


def run_worker(arguments: Sequence[str]) -> int:
    """Exit code of ``python -m jensenbench`` with these arguments in a child process, which gets SIGTERM passed on."""
    child = subprocess.Popen([sys.executable, "-m", "jensenbench", *arguments])
    previous = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        return child.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)


def explain_exit(code: int) -> tuple[str, str]:
    """Status and reason of a run whose worker ended with a non-zero exit code."""
    if code == -signal.SIGKILL:
        return "out_of_memory", "killed by SIGKILL, most often by the kernel for lack of memory; lower `batch`"
    if code == -signal.SIGTERM:
        return "timeout", "ended by SIGTERM, most often at the job's time limit; raise its runtime"
    if code < 0:
        return "failed", f"killed by {signal.Signals(-code).name}"
    return "failed", f"ended with exit code {code}; see its log"


def die_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent process ends, so that a killed scheduler leaves no orphans."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
