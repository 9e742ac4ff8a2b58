"""Where a number comes from: digests of settings, files and environment, and the commit."""

import hashlib
import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path

from jensenbench.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jensenbench", "methods", "pdes")
LIBRARIES = ("torch", "numpy", "scipy", "pandas", "h5py")


def digest_text(text: str) -> str:
    """First 16 hex digits of SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_file(path: Path) -> str:
    """First 16 hex digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


class FileWatch:
    """Remembers a file's content; :meth:`check` refuses it once it has changed. A new date alone is no change."""

    def __init__(self, path: Path):
        self.path = path
        self._stamp = self._stat()
        self._digest = digest_file(path) if self._stamp else None

    def check(self) -> None:
        """Raise UserError if the content is no longer that of the start."""
        stamp = self._stat()
        if stamp == self._stamp:
            return
        if stamp is None or digest_file(self.path) != self._digest:
            raise UserError(
                f"{self.path} changed while it was in use: nothing is written; put it back and start again to go on, "
                "or start again as it is to begin anew"
            )
        self._stamp = stamp

    def _stat(self) -> tuple[int, int, int] | None:
        if not self.path.exists():
            return None
        found = self.path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns


@cache
def environment_digest() -> str:
    """Digest of Python, of the numerical libraries and of the processor's architecture."""
    return digest_text(f"{versions()};{platform.machine()}")


@cache
def versions() -> str:
    """Versions of Python and the numerical libraries, as one line."""
    found = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    return ", ".join([f"python {platform.python_version()}", *found])


@cache
def git_commit() -> str:
    """Commit of the checkout, with ``+`` if sources differ from it; ``unknown`` outside git.

    A repository around the checkout that is not its own says nothing about it.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return "unknown"
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *PACKAGES)
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
