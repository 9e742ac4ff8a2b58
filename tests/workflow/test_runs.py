"""A finished run of the tier micro: only what changed runs again. Its bytes are compared in ``test_kills``."""

import re
from collections.abc import Callable

import pytest

from tests.support.checkouts import Checkout, count_jobs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("micro")]

DPS = "methods/dps.py"


def sampled_methods(printed: str) -> set[str]:
    return set(re.findall(r"jensenbench sample --job \S+/jobs/sample/[^/]+/[^/]+/([^/]+)/", printed))


def dry_run_after(checkout: Checkout, name: str, change: Callable[[str], str]) -> str:
    """What a run would do after a change of one file, which is then undone."""
    path = checkout.root / name
    text = path.read_text()
    try:
        path.write_text(change(text))
        return checkout.dry_run()
    finally:
        path.write_text(text)


def test_a_finished_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in finished.dry_run()


def test_a_touch_runs_nothing(finished):
    for name in (DPS, "methods/edm.py", "pdes/poisson.py", "jensenbench/stages/evaluate.py", "config/micro.yaml"):
        (finished.root / name).touch()
    assert "Nothing to be done" in finished.dry_run()


def test_a_comment_runs_nothing(finished):
    printed = dry_run_after(finished, DPS, lambda text: text + "\n# a comment changes nothing\n")
    assert "Nothing to be done" in printed


def test_a_docstring_runs_nothing(finished):
    printed = dry_run_after(finished, DPS, lambda text: text.replace('"""', '"""Reworded. ', 1))
    assert "Nothing to be done" in printed


def test_an_edit_of_a_method_runs_its_cells_alone(finished):
    printed = dry_run_after(finished, DPS, lambda text: text + "\n_EDITED = True\n")
    assert sampled_methods(printed) == {"dps"}
    stages = ("sample", "evaluate", "collect", "report")
    assert count_jobs(printed) == dict.fromkeys(stages, 1)


def test_an_edit_of_a_method_that_learns_fits_it_again_from_the_same_pairs(finished):
    printed = dry_run_after(finished, "methods/piddm.py", lambda text: text + "\n_EDITED = True\n")
    assert sampled_methods(printed) == {"piddm"}
    jobs = count_jobs(printed)
    assert (jobs["fit"], jobs["sample"]) == (1, 2)
    assert not {"pairs", "train"} & set(jobs)


def test_an_edit_of_a_pde_runs_all_its_data(finished):
    printed = dry_run_after(finished, "pdes/poisson.py", lambda text: text + "\n_EDITED = True\n")
    assert {"generate", "train", "sample", "evaluate"} <= set(count_jobs(printed))


def test_an_edit_of_the_metrics_draws_no_samples(finished):
    printed = dry_run_after(finished, "jensenbench/stages/evaluate.py", lambda text: text + "\n_EDITED = True\n")
    assert set(count_jobs(printed)) == {"evaluate", "collect", "report"}


def test_a_setting_of_a_method_runs_its_cells_alone(finished):
    def one_step_more(text: str) -> str:
        return text.replace("dps: {corrected: {config: {steps: 8}}}", "dps: {corrected: {config: {steps: 9}}}")

    assert sampled_methods(dry_run_after(finished, "config/micro.yaml", one_step_more)) == {"dps"}


def test_an_edit_that_changes_no_number_changes_no_metric(finished, tmp_path):
    edited = finished.copy(tmp_path / "edited")
    path = edited.root / DPS
    path.write_text(path.read_text() + "\n_EDITED = True\n")
    edited.compute()
    assert edited.results()["runs.csv.gz"] != finished.results()["runs.csv.gz"], "dps was sampled by other code"
    assert edited.results()["metrics.csv.gz"] == finished.results()["metrics.csv.gz"]


def test_a_module_that_moves_runs_nothing_and_a_constant_in_it_what_reads_it(finished, tmp_path):
    """In a copy with all results, the samplers get another name in another package."""
    copy, moved = finished.copy(tmp_path / "moved"), "jensenbench/numerics/update_rules.py"
    (copy.root / "jensenbench/diffusion/samplers.py").rename(copy.root / moved)
    for path in (path for folder in ("jensenbench", "methods") for path in (copy.root / folder).rglob("*.py")):
        text = path.read_text()
        if "jensenbench.diffusion.samplers" in text:
            path.write_text(text.replace("jensenbench.diffusion.samplers", "jensenbench.numerics.update_rules"))
    assert "Nothing to be done" in copy.dry_run()
    constant = "partial(ode_heun, end=1.0)"
    assert constant in (copy.root / moved).read_text()
    jobs = count_jobs(dry_run_after(copy, moved, lambda text: text.replace(constant, "partial(ode_heun, end=2.0)")))
    assert {"sample", "evaluate", "pairs", "fit"} <= set(jobs)
    assert not {"generate", "observe"} & set(jobs)


def test_an_edit_of_another_pde_runs_nothing(finished):
    printed = dry_run_after(finished, "pdes/darcy.py", lambda text: text + "\n_EDITED = True\n")
    assert "Nothing to be done" in printed


@pytest.mark.parametrize("name", ["übung σ $HOME", "it's", 'q"x', "a;b&c"])
def test_a_stage_runs_in_a_folder_of_any_name(new_checkout, tmp_path, name):
    """Reached through a symbolic link too."""
    checkout = new_checkout(name)
    (tmp_path / "link").symlink_to(checkout.root)
    target = "results/micro/data/poisson-8.h5"
    done = Checkout(tmp_path / "link").snakemake("--config", "tier=micro", "--", target)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (checkout.root / target).exists()
