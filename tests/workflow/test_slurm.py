"""The workflow on a real Slurm of its own on this machine: ``make slurm-test``."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkouts import ROOT

pytestmark = pytest.mark.slurm

SCRIPTS = ROOT / "tests" / "slurm"


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A running cluster, ended afterwards."""
    if os.geteuid() or not shutil.which("apt-get"):
        pytest.skip("bringing up Slurm needs root and Debian's packages")
    environment = os.environ | {"SLURM_HERE": str(tmp_path_factory.mktemp("slurm"))}
    try:
        subprocess.run([SCRIPTS / "up.sh"], env=environment, check=True)
        yield
    finally:
        subprocess.run([SCRIPTS / "down.sh"], env=environment, check=True)


def test_slurm_gives_the_bytes_of_this_machine(finished, new_checkout):
    cluster = new_checkout("cluster")
    command = ["snakemake", "--cores", "all", "--profile", "slurm", "--config", "tier=micro"]
    done = cluster.run(sys.executable, "-m", *command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "executor: slurm" in done.stderr or "SLURM run ID" in done.stderr
    assert cluster.results() == finished.results()


def test_a_gpu_job_is_told_its_device(tmp_path):
    """Slurm's own choice reaches the command: the project's device lock stands back."""
    out = tmp_path / "device"
    script = f"{sys.executable} -m jensenbench.runtime.gpus 1 sh -c 'echo $CUDA_VISIBLE_DEVICES > {out}'"
    command = ["sbatch", "--wait", "-p", "gpu", "--gpus=1", "--output", str(tmp_path / "log"), "--wrap", script]
    subprocess.run(command, cwd=ROOT, check=True)
    assert out.read_text().strip() == "0", Path(tmp_path / "log").read_text()


def test_a_failing_job_is_tried_three_times_in_all(new_checkout):
    """Snakemake runs again inside each Slurm job: only the outer one may repeat it."""
    checkout = new_checkout()
    stage = checkout.root / "jensenbench" / "stages" / "generate.py"
    stage.write_text(stage.read_text() + "\nraise SystemExit('broken on purpose')\n")
    command = ["snakemake", "--cores", "all", "--profile", "slurm", "--config", "tier=micro"]
    done = checkout.run(sys.executable, "-m", *command, "--", "results/micro/data/poisson-8.h5")
    assert done.returncode != 0
    logs = list((checkout.root / ".snakemake" / "slurm_logs" / "rule_generate").rglob("*.log"))
    assert len(logs) == 3
    assert not any("Trying to restart" in log.read_text() for log in logs)
