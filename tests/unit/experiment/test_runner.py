"""States that a run draws: every instance, draw and seed has noise of its own, which all methods share."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch

from jensenbench.core.tasks import find_task
from jensenbench.experiment.config import parse_tier
from jensenbench.experiment.expand import expand
from jensenbench.experiment.runner import Run, open_run, sample_task
from jensenbench.io.files import read_yaml
from jensenbench.io.provenance import ROOT
from jensenbench.stages import tune
from tests.support.stages import prepare

KEY = "poisson-8/gaussian-p1"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    methods = {"dps": {"corrected": {"config": {"steps": 5, "zeta": 0}}}}
    raw = read_yaml(ROOT / "config" / "micro.yaml") | {"methods": methods, "extra_methods": False, "samples": 12}
    jobs = expand(parse_tier(raw | {"tasks": ["unconditional", "reconstruction_30"]}))
    files = prepare(jobs, tmp_path_factory.mktemp("runner"))
    return open_run(
        jobs.sample[f"{KEY}/dps/corrected/0"], files.data("poisson-8"), files.prior(*KEY.split("/"), 0), None
    )


def states(run: Run, task: str, batch: int = 32) -> torch.Tensor:
    """(N, P) states of a task in prior coordinates, instance by instance."""
    run = replace(run, job=replace(run.job, batch=batch))
    data = None if task == "unconditional" else tune.observe(run, find_task(task), 0).observation
    fields = sample_task(run, find_task(task), data).fields
    return run.prior.codec.encode(fields.flatten(0, 1).double()).flatten(1)


def nearest(found: torch.Tensor) -> float:
    """The smallest distance of two states over the mean one: near 0 where two are equal."""
    distances = torch.tensor([float((found[i] - found[j]).norm()) for i, j in combinations(range(len(found)), 2)])
    return float(distances.min() / distances.mean())


def test_no_two_unconditional_states_are_equal(run):
    assert nearest(states(run, "unconditional")) > 0.2


def test_no_two_instances_or_draws_start_from_equal_noise(run):
    """Without guidance observations change nothing: what is equal could only be the noise."""
    found = states(run, "reconstruction_30")
    assert len(found) > run.job.draws
    assert nearest(found) > 0.2


def test_another_seed_or_task_draws_other_states(run):
    again = replace(run, job=replace(run.job, seed=1))
    both = [states(run, "unconditional")[:4], states(again, "unconditional")[:4], states(run, "reconstruction_30")[:4]]
    assert nearest(torch.cat(both)) > 0.2


def test_states_do_not_depend_on_the_batch(run):
    whole, parts = states(run, "unconditional"), states(run, "unconditional", batch=5)
    assert torch.allclose(whole, parts, rtol=1e-9, atol=1e-9)
