"""Copies of the checkout in which Snakemake and make run with this interpreter's packages."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = (
    ".git",
    ".venv",
    "results",
    "logs",
    ".snakemake",
    "reports",
    "shared",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
)
PROMISED = ("metrics.csv.gz", "runs.csv.gz", "reports/tables.md")  # equal inputs give equal bytes


@dataclass(frozen=True)
class Checkout:
    """A copy of the sources with results of its own."""

    root: Path

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "snakemake", "--cores", "2", *arguments)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        return subprocess.run(command, cwd=self.root, env=variables, capture_output=True, text=True, check=False)

    def make(self, *targets: str) -> list[str]:
        """Command of a make target that finds this interpreter's packages installed."""
        return ["make", f"VENV={self.installed()}", *targets]

    def copy(self, target: Path) -> "Checkout":
        """The same with all results, to be changed at will."""
        shutil.copytree(self.root, target, symlinks=True)
        return Checkout(target)

    def installed(self) -> Path:
        """A folder that looks to make like a finished virtual environment."""
        venv = self.root / "installed"
        if not venv.exists():
            venv.mkdir()
            (venv / "bin").symlink_to(Path(sys.executable).parent)
            (venv / ".installed").touch()
            (venv / ".installed-dev").touch()
        return venv

    def results(self, tier: str = "micro") -> dict[str, bytes]:
        """Bytes of the files that depend on the inputs alone."""
        return {name: (self.root / "results" / tier / name).read_bytes() for name in PROMISED}

    def dry_run(self, tier: str = "micro") -> str:
        """What Snakemake would do in a tier, with the commands of its jobs."""
        done = self.snakemake("-n", "-p", "--config", f"tier={tier}")
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def reproduce(self, tier: str = "micro") -> None:
        """``make reproduce`` of a tier, to the end."""
        done = self.run(*self.make("reproduce", f"TIER={tier}", "CORES=2"))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def compute(self, tier: str = "micro", *options: str) -> None:
        """The promised files of a tier alone."""
        done = self.snakemake(*(options or ("--config", f"tier={tier}")), "--", *promised(tier))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def promised(tier: str) -> list[str]:
    """Paths of the promised files of a tier."""
    return [f"results/{tier}/{name}" for name in PROMISED]


def count_jobs(printed: str) -> dict[str, int]:
    """Rule -> number of jobs, from what ``snakemake -n`` prints."""
    table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)\n\n", printed, re.DOTALL | re.MULTILINE)
    rows = [line.split() for line in table.group(1).splitlines()] if table else []
    return {rule: int(count) for rule, count in rows if rule not in ("all", "total")}


def copy_sources(source: Path, target: Path) -> Checkout:
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*SKIPPED))
    return Checkout(target)
