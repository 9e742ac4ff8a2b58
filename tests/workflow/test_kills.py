"""SIGKILL of scheduler and jobs at random moments, then the same command again: the bytes of an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.checkouts import Checkout, promised

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("micro")]


def start(checkout: Checkout, *command: str) -> subprocess.Popen:
    """A command in a process group of its own."""
    log = (checkout.root / "run.log").open("a")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=checkout.root, env=environment, stdout=log, stderr=log, start_new_session=True)


def descendants(process: subprocess.Popen, words: str) -> list[psutil.Process]:
    """Living processes below another whose command line holds some words."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if words in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def run_until(checkout: Checkout, process: subprocess.Popen, jobs: int, seconds: float) -> None:
    """Wait until so many jobs in all have ended, and some seconds more; TimeoutExpired where the run goes on."""
    log = checkout.root / "run.log"
    while process.poll() is None and log.read_text().count("Finished jobid") < jobs:
        time.sleep(0.1)
    process.wait(timeout=seconds)


def kill_group(process: subprocess.Popen) -> int:
    """Kill everything at once, as a machine that goes down does."""
    jobs = descendants(process, "-m jensenbench")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return len(jobs)


def kill_scheduler(process: subprocess.Popen) -> int:
    """Kill Snakemake alone; its jobs must not outlive it."""
    jobs = descendants(process, "-m jensenbench")
    process.kill()
    process.wait(timeout=30)
    _, alive = psutil.wait_procs(jobs, timeout=20)
    assert not alive, [job.cmdline() for job in alive]
    return len(jobs)


def kill_job(process: subprocess.Popen) -> int:
    """Kill a job alone; Snakemake starts it again and the run ends well."""
    jobs = descendants(process, "-m jensenbench")
    for job in jobs[-1:]:
        job.kill()
    assert process.wait(timeout=900) == 0
    return len(jobs)


def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(finished, new_checkout):
    """Two runs, one of them killed four times: what is computed again and what is kept has equal bytes."""
    killed, chance, jobs, ended = new_checkout("killed"), random.Random(0), 0, 0
    run = (sys.executable, "-m", "snakemake", "--cores", "2", "--config", "tier=micro", "--", *promised("micro"))
    for kill in (kill_scheduler, kill_group, kill_scheduler, kill_job):
        process = start(killed, *run)
        jobs += chance.randint(1, 3)
        try:
            run_until(killed, process, jobs, chance.uniform(0, 3))
        except subprocess.TimeoutExpired:
            ended += kill(process)
    assert ended, "no kill met a running job"
    killed.compute()
    assert killed.results() == finished.results()


def test_a_run_may_start_at_once_after_a_kill(new_checkout):
    """No stale lock: the next run neither waits nor needs --unlock."""
    checkout = new_checkout()
    process = start(checkout, *checkout.make("reproduce", "TIER=micro", "CORES=2"))
    lock = checkout.root / "results" / ".lock"
    until = time.monotonic() + 120
    while not lock.exists() and time.monotonic() < until:
        time.sleep(0.1)
    kill_group(process)
    assert lock.exists()
    target = "results/micro/data/poisson-8.h5"
    done = checkout.snakemake("--config", "tier=micro", "--", target)
    assert done.returncode == 0, done.stderr
    assert (checkout.root / target).exists()
