"""What a run would do, without doing it: profiles, configuration, GPUs, formats."""

import fcntl
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake_executor_plugin_slurm.partitions import get_best_partition, read_partition_file

from jensenbench.experiment.config import parse_tier
from jensenbench.experiment.plan import make_plan
from jensenbench.runtime import gpus
from tests.support.checkouts import ROOT, count_jobs


@pytest.fixture(scope="module")
def micro(shared_checkout) -> str:
    """What a run of the tier micro would do."""
    return shared_checkout.dry_run()


@pytest.fixture(scope="module")
def default(shared_checkout) -> str:
    """What ``snakemake --cores all`` would do."""
    return shared_checkout.run(sys.executable, "-m", "snakemake", "--cores", "all", "-n", "-p").stdout


@pytest.mark.slow
@pytest.mark.xdist_group("dag")
def test_the_literal_slurm_command_plans_what_runs_here(shared_checkout, default):
    """The plugin is loaded from ./slurm/config.yaml; submitting would need sbatch, planning does not."""
    command = ["snakemake", "--cores", "all", "--profile", "slurm", "-n"]
    done = shared_checkout.run(sys.executable, "-m", *command)
    assert done.returncode == 0, done.stderr
    assert "Using profiles slurm and workflow specific profile profiles/default" in done.stderr
    assert count_jobs(done.stdout) == count_jobs(default) != {}


def test_micro_holds_each_stage(micro):
    jobs = count_jobs(micro)
    stages = {"generate", "observe", "train", "pairs", "fit", "sample", "evaluate", "collect", "report"}
    assert set(jobs) == stages
    assert jobs["sample"] >= 3
    assert micro.count("jensenbench sample") > micro.count("jensenbench fit")


def test_tuning_runs_on_request_only_and_reads_no_test_state(shared_checkout, micro):
    command = ["-m", "snakemake", "--cores", "1", "-n", "--config", "tier=micro", "--", "tune"]
    planned = shared_checkout.run(sys.executable, *command).stdout
    jobs = count_jobs(planned)
    assert jobs["trials"] == count_jobs(micro)["sample"]
    assert jobs["tune"] == 1
    assert not {"observe", "sample", "evaluate", "report"} & set(jobs)
    assert not {"trials", "tune"} & set(count_jobs(micro))


def test_conformance_is_checked_on_request_only(shared_checkout, micro):
    command = ["-m", "snakemake", "--cores", "1", "-n", "--config", "tier=micro", "--", "conformance"]
    jobs = count_jobs(shared_checkout.run(sys.executable, *command).stdout)
    assert jobs["check"] == count_jobs(micro)["sample"], (
        "a check a method, of which piddm has two variants, and one PDE"
    )
    assert jobs["check_prior"] == jobs["conformance"] == 1
    assert not {"check", "check_prior", "conformance"} & set(count_jobs(micro))


def test_variants_and_methods_share_what_they_learn_from(micro):
    """Two variants of one fit, whose module both samples files are drawn with."""
    jobs = count_jobs(micro)
    assert jobs["pairs"] <= jobs["fit"]
    (fit,) = set(re.findall(r"--fitted (\S*/piddm/\S*)", micro))
    assert micro.count(f"--fitted {fit}") == 2


PUBLISHED = ("default", "overnight")


@pytest.mark.slow
@pytest.mark.parametrize("tier", sorted({path.stem for path in (ROOT / "config").glob("*.yaml")} - set(PUBLISHED)))
def test_every_tier_plans(shared_checkout, tier):
    assert count_jobs(shared_checkout.dry_run(tier=tier))["report"] == 1


@pytest.mark.slow
@pytest.mark.xdist_group("dag")
def test_curves_of_the_gap_are_drawn_where_a_tier_asks_for_them(default, micro):
    jobs = count_jobs(default)
    assert jobs["jensen"] == jobs["train"]
    assert jobs["jensen_page"] == 1
    assert re.search("jensenbench jensen-page .* --out reports ", default)
    assert not {"jensen", "jensen_page"} & set(count_jobs(micro))


@pytest.mark.slow
@pytest.mark.parametrize("tier", PUBLISHED)
def test_a_clone_runs_the_tiers_whose_pages_it_holds(new_checkout, tier):
    clone = new_checkout()
    shutil.copytree(ROOT / "reports", clone.root / "reports")
    jobs = count_jobs(clone.dry_run(tier))
    assert {"generate", "train", "sample", "evaluate", "collect", "report"} <= set(jobs)
    assert jobs["report"] == 1


def test_a_whole_configuration_of_ones_own(shared_checkout, tmp_path):
    config = yaml.safe_load((ROOT / "config" / "micro.yaml").read_text()) | {"tier": "mine", "extra_methods": False}
    config["methods"] = {"edm": {"heun": {}}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config))
    done = shared_checkout.snakemake("-n", "--configfile", str(path))
    assert count_jobs(done.stdout + done.stderr)["sample"] == 1
    assert "results/mine/samples/poisson-8/gaussian-p1/edm/heun/0.h5" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("tier=mikro", "unknown tier 'mikro'; did you mean 'micro'?"),
        ("instancs=3", "unknown config key 'instancs'; did you mean 'instances'?"),
        ("data={tran: 3}", "unknown config key 'data.tran'; did you mean 'data.train'?"),
        ("draws=many", "config key draws = 'many': expected a positive whole number, for instance 4"),
        ("budget=[1e4]", "config key budget = ['1e4']: expected a positive number; write 10000.0"),
        (
            "pdes=[{pde: poisson, settings: {n: 8.5}, priors: [gaussian-p1]}]",
            "poisson setting n = 8.5: expected a whole number, for instance 32",
        ),
        ("methods={edn: {heun: {}}}", "unknown method 'edn'; did you mean 'edm'?"),
        ("pdes=[{pde: poison, priors: [gaussian-p1]}]", "unknown PDE 'poison'; did you mean 'poisson'?"),
        ("tasks=[forwards]", "did you mean 'forward'?"),
    ],
)
def test_a_wrong_configuration_is_one_line(shared_checkout, setting, message):
    settings = [setting] if setting.startswith("tier=") else ["tier=micro", setting]
    done = shared_checkout.snakemake("-n", "--config", *settings)
    assert done.returncode != 0
    notes = ("Using workflow specific profile", "Config file config/micro.yaml is extended")
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith(notes)]
    assert line.startswith("jensenbench: ")
    assert message in line


def test_a_second_run_in_the_folder_is_refused(shared_checkout):
    lock = shared_checkout.root / "results" / ".lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = shared_checkout.snakemake("--config", "tier=micro")
        planned = shared_checkout.snakemake("-n", "--config", "tier=micro")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("jensenbench: another run works in this folder")
    assert not (shared_checkout.root / "results" / "micro").exists()
    assert planned.returncode == 0, "looking is allowed while another run works"


def test_jobs_ask_for_a_gpu_only_on_cuda(shared_checkout, micro):
    network = "priors={gaussian-p1: {kind: network, power: 1, steps: 5}}"
    on_gpu = shared_checkout.snakemake("-n", "-p", "--config", "tier=micro", "device=cuda", network)
    assert "python -m jensenbench.runtime.gpus 1 python -m jensenbench sample" in on_gpu.stdout
    assert "jensenbench.runtime.gpus" not in micro


def test_networks_run_on_the_device_of_the_tier_and_exact_priors_on_the_cpu():
    """Device and GPUs of every job of every stage, with both kinds of prior."""
    raw = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    tier = parse_tier(raw | {"device": "cuda"})
    jobs = make_plan(tier, Path("smoke.yaml"))["jobs"]
    assert all(jobs[stage] for stage in ("generate", "observe", "train", "pairs", "fit", "sample", "tune", "evaluate"))
    for stage, entries in jobs.items():
        for key, entry in entries.items():
            network = stage in ("train", "pairs", "fit", "sample", "tune") and "/network-p1/" in key
            assert entry["resources"]["gpu"] == int(network), (stage, key)
            job = entry.get("job", {})
            devices = {job["device"]} if "device" in job else {trial["device"] for trial in job.get("trials", [])}
            assert devices <= {"cuda" if network else "cpu"}, (stage, key)


def test_every_gpu_is_handed_out_once(tmp_path):
    devices = [gpus.wait_for_device(["0", "GPU-7f"], folder=str(tmp_path))[0] for _ in range(2)]
    assert sorted(devices) == ["0", "GPU-7f"]


def test_a_freed_gpu_is_handed_out_again(tmp_path):
    holder = (
        "from jensenbench.runtime import gpus; import sys; gpus.wait_for_device(['0'], folder=sys.argv[1]); input()"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, cwd=ROOT) as process:
        process.communicate(b"\n")
    assert process.returncode == 0
    assert gpus.wait_for_device(["0"], folder=str(tmp_path))[0] == "0"


def test_the_choice_of_the_scheduler_is_kept(monkeypatch, capfd):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    command = [sys.executable, "-m", "jensenbench.runtime.gpus", "1", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    subprocess.run(command, cwd=ROOT, check=True)
    assert capfd.readouterr().out.strip() == "5"


def test_jobs_share_the_chosen_devices_one_each(monkeypatch, tmp_path):
    """Two of four were given to the user: two jobs at once get one each, and the workflow starts no third."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "2,3", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "jensenbench.runtime.gpus", "1", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES; read x"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    jobs = [subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) for _ in range(2)]
    assert {job.stdout.readline().strip() for job in jobs} == {"2", "3"}
    for job in jobs:
        job.communicate("\n", timeout=30)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert gpus.count_gpus() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.count_gpus() == 0


def test_the_only_gpu_is_held_too(tmp_path):
    """A second run beside the first would start a job on it; inside a Slurm job that has one GPU, it is the job's."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "0", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "jensenbench.runtime.gpus", "1", "true"]
    _, lock = gpus.wait_for_device(["0"], folder=str(tmp_path))
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, cwd=ROOT, env=environment, timeout=3, check=False)
    subprocess.run(command, cwd=ROOT, env=environment | {"SLURM_JOB_ID": "7"}, timeout=30, check=True)
    os.close(lock)


def test_no_gpu_of_another_user_stops_a_job(tmp_path):
    lock = tmp_path / "jensenbench-gpu-0.lock"
    lock.touch()
    lock.chmod(0o444)
    assert gpus.wait_for_device(["0"], folder=str(tmp_path))[0] == "0"


def test_the_lint_of_snakemake_finds_nothing(shared_checkout):
    done = shared_checkout.snakemake("--lint", "--config", "tier=micro")
    assert "your workflow is in a good condition" in done.stdout + done.stderr


def test_the_slurm_profile_is_found_under_both_paths():
    assert (ROOT / "profiles" / "slurm").resolve() == ROOT / "slurm"
    default = yaml.safe_load((ROOT / "profiles" / "default" / "config.yaml").read_text())
    beaten = {"executor", "cores", "jobs", "resources", "default-resources", "set-resources"}
    assert not beaten & set(default), "profiles/default would beat --profile slurm"


def test_no_rule_runs_python_inside_snakemake():
    for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        words = {line.strip() for line in path.read_text().splitlines()}
        assert not words & {"run:", "script:"}, path
        assert "checkpoint " not in path.read_text(), path


def test_the_paths_of_the_rules_are_relative():
    for path in [Path(ROOT, "Snakefile"), *(ROOT / "workflow" / "rules").glob("*.smk")]:
        assert '"/' not in path.read_text(), path


@pytest.mark.parametrize(("gpu", "partition"), [(0, "cpu"), (1, "gpu")])
def test_jobs_go_to_the_partition_that_fits(gpu, partition):
    partitions = read_partition_file(ROOT / "slurm" / "partitions.yaml")
    job = SimpleNamespace(name="job", threads=1, resources={"gpu": gpu, "mem_mb": 4000, "runtime": 60})
    assert get_best_partition(partitions, job, logging.getLogger()) == partition
