"""The gap where methods call the prior: against curves, on affine equations, who is left out, where R is seen."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from jensenbench.core.codec import Codec
from jensenbench.core.method import Capabilities
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.problem import Problem
from jensenbench.data.dataset import load_dataset, write_dataset
from jensenbench.errors import UserError
from jensenbench.experiment.config import parse_tier
from jensenbench.experiment.expand import expand
from jensenbench.experiment.plan import make_plan
from jensenbench.experiment.runner import Run, make_method
from jensenbench.experiment.trajectories import apart, chosen_tasks, configured, together
from jensenbench.io.schema import SPLITS
from jensenbench.jensen.curves import Subject
from jensenbench.jensen.estimators.empirical import empirical_gap
from jensenbench.jensen.settings import JensenSettings
from jensenbench.jensen.trajectory_gap import PriorCalls, trajectory_rows
from jensenbench.plugins.registry import load_method, make_pde
from jensenbench.priors.io import load_prior
from jensenbench.runtime.meter import Meter, MeteredDenoiser, MeteredProblem
from jensenbench.stages import fit, jensen, train

SETTINGS = {
    "levels": 4, "lowest": 0.5, "highest": 20.0, "states": 6, "probes": 4, "directions": 4, "probed_states": 4,
    "draws": 4, "drawn_states": 2, "every": 2, "steps": 4, "law_states": 64, "visits": 3, "visit_calls": 80,
}  # fmt: skip
TIER = """
tier: visits
data: {train: 64, validation: 8, test: 2, reference: 8}
instances: 2
jensen: {}
priors: {prior: {kind: PRIOR, power: 1}}
pdes: [{pde: PDE, settings: {n: 8}, priors: [prior]}]
tasks: [unconditional, forward, reconstruction_30]
methods:
  edm: {heun: {config: {steps: 6}}}
  ddpm: {ancestral: {config: {steps: 200}}}
  dps: {corrected: {config: {steps: 8}, tasks: [reconstruction_30]}}
  diffusionpde: {corrected: {config: {steps: 6}}}
  direct: {lbfgs: {config: {steps: 3, starts: 1}}}
  cocogen: {corrected: {config: {steps: 4}}}
  pidm: {corrected: {config: {fit: {steps: 4, levels: 40, batch: 8, backbone_settings: {width: 8}}}}}
  piddm: {one_step: {}}
"""


def subject_of(name, count=64):
    pde = make_pde(name, {"n": 8})
    states = pde.generate(range(count), seed=0)
    return Subject(pde, Codec.fit(pde, states, power=1), 1.0, states, pde.generate(range(10**6, 10**6 + 12), seed=0))


def stage(folder, pde, kind):
    """Tables of visits and of curves of a small tier."""
    raw = yaml.safe_load(TIER.replace("PRIOR", kind).replace("PDE", pde)) | {"jensen": SETTINGS}
    tier, problem = parse_tier(raw), make_pde(pde, {"n": 8})
    starts = dict(zip(SPLITS, (0, 1000, 2000, 3000), strict=True))
    sizes = tier.data.sizes
    splits = {key: problem.generate(range(starts[key], starts[key] + sizes[key]), seed=0) for key in SPLITS}
    data, prior = folder / "data.h5", folder / "0.safetensors"
    write_dataset(data, problem, splits, seed=0)
    jobs, fitted = expand(tier), folder / "pidm.safetensors"
    (trained,), (followed,) = jobs.train.values(), jobs.jensen.values()
    train.run(job=trained, data=data, out=prior, state_dir=folder / "state")
    (learns,) = [job for job in jobs.fit.values() if job.method == "pidm"]
    fit.run(job=learns, data=data, prior_file=prior, out=fitted, state_dir=folder / "fitting")
    jensen.run(job=followed, data=data, prior_file=prior, out=folder / "7.csv", fits=[fitted])
    return pd.read_csv(folder / "7.visits.csv"), pd.read_csv(folder / "7.csv"), (data, prior)


@pytest.fixture(scope="module")
def poisson(tmp_path_factory):
    return stage(tmp_path_factory.mktemp("poisson"), "poisson", "gaussian")


def test_states_that_are_noised_data_have_the_gap_of_the_curve():
    """x0 + sigma eps told to the table of visits as calls gives the curve's own gap at every level."""
    subject, settings = subject_of("darcy"), JensenSettings(**SETTINGS)
    levels = settings.sigmas()
    x = torch.cat([subject.noisy(sigma, settings) for sigma in levels])
    at = torch.tensor(levels, dtype=x.dtype).repeat_interleave(settings.states)
    run = torch.arange(settings.states).repeat(len(levels))
    rows = list(trajectory_rows(subject, settings, PriorCalls(at, x, x, run), trained=True))
    assert [row["sigma"] for row in rows] == levels
    for sigma, row in zip(levels, rows, strict=True):
        found = empirical_gap(subject.residual, subject.empirical, subject.noisy(sigma, settings), sigma)
        assert row["gap"] == pytest.approx(float(found.gap.mean()) ** 0.5)
        assert row["calls"] == row["states"] == settings.states
        assert row["sigma_mean"] == pytest.approx(sigma)


def test_a_perfect_sampler_of_the_law_sees_the_gap_of_its_curve():
    """Heun's sampler with the law's own denoiser starts from x0 + sigma eps: the gaps are the curve's."""
    subject, settings = subject_of("darcy", 200), replace(JensenSettings(**SETTINGS), states=12)
    method = load_method("edm")
    meters = []
    for index in range(12):
        meter = Meter(record=True)
        meter.begin(1)
        problem = MeteredProblem(Problem(subject.pde, "free", subject.codec), meter)
        sampler = method(replace(method.variants["heun"], steps=24))
        sampler.sample(MeteredDenoiser(subject.empirical, meter), problem, KeyedNoise([("visits", index)]))
        meters.append(meter)
    visits = PriorCalls.of_probes([meter.probes for meter in meters]).within(0.5, 20.0)
    rows = {row["sigma"]: row for row in trajectory_rows(subject, settings, visits, trained=True)}
    for sigma in (20.0, settings.sigmas()[2]):
        found = empirical_gap(subject.residual, subject.empirical, subject.noisy(sigma, settings), sigma)
        assert rows[sigma]["usable"]
        assert rows[sigma]["gap"] == pytest.approx(float(found.gap.mean()) ** 0.5, rel=0.25)
        assert rows[sigma]["network"] < 1e-6 * rows[sigma]["gap"]


def test_calls_of_one_run_make_no_interval():
    subject, settings = subject_of("darcy"), JensenSettings(**SETTINGS)
    x = subject.noisy(20.0, settings)
    alone = PriorCalls(torch.full((6,), 20.0, dtype=torch.float64), x, x, torch.zeros(6, dtype=torch.long))
    assert not list(trajectory_rows(subject, settings, alone, trained=False))
    repeated = PriorCalls(alone.sigma.repeat(2), x.repeat(2, 1, 1, 1), x.repeat(2, 1, 1, 1), torch.arange(6).repeat(2))
    (row,) = trajectory_rows(subject, settings, repeated, trained=False)
    (once,) = trajectory_rows(subject, settings, replace(alone, run=torch.arange(6)), trained=False)
    assert row["calls"] == 12
    assert row["gap_error"] == pytest.approx(once["gap_error"])


def test_an_affine_equation_has_no_gap_wherever_a_method_goes(poisson):
    rows, _, _ = poisson
    drawn = rows[rows["sigma"].notna()]
    assert {"edm", "diffusionpde", "cocogen", "dps", "pidm"} == set(drawn["method"])
    assert drawn["gap"].max() < 1e-9
    assert drawn.loc[drawn["denoiser"] == "prior", "network"].isna().all()


def test_runs_followed_together_are_those_followed_apart(poisson):
    """The one is many times faster, the other serves methods that call the prior for some of the rows."""
    *_, (data, prior_file) = poisson
    raw = yaml.safe_load(TIER.replace("PRIOR", "gaussian").replace("PDE", "poisson")) | {"jensen": SETTINGS}
    tier, dataset = parse_tier(raw), load_dataset(data)
    prior = load_prior(prior_file, dataset.pde)
    (job,) = expand(tier).jensen.values()
    for sample in job.samples:
        run = Run(sample, make_method(sample), dataset, prior, torch.device("cpu"))
        if run.method.capabilities.trains or not run.method.capabilities.uses_prior:
            continue
        for task, seen in chosen_tasks(run, job):
            _, own, problem = configured(run, task, seen)
            many, single = (way(own, problem, job.settings) for way in (together, apart))
            assert many[2] == single[2]
            if many[2]:
                continue
            assert sorted(set(many[1])) == pytest.approx(sorted(set(single[1])))
            ours, theirs = PriorCalls.of_probes(many[0]), PriorCalls.of_probes(single[0])
            for name in ("sigma", "x", "denoised", "run"):
                assert torch.allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-9), sample.key


def test_who_is_followed_where_and_who_is_left_out(poisson):
    rows, _, _ = poisson
    tasks = {method: set(part["task"]) for method, part in rows.groupby("method")}
    assert tasks["edm"] == {"unconditional"}
    assert tasks["diffusionpde"] == {"unconditional", "forward"}
    assert tasks["dps"] == {"reconstruction_30"}
    said = rows[rows["sigma"].isna()].set_index(["method", "task"])["reason"]
    assert "calls no prior" in said["direct", "forward"]
    assert "samples of noise at once" in said["piddm", "unconditional"]
    assert "budget of 80 network evaluations" in said["ddpm", "unconditional"]
    assert "calls lie outside sigma = 0.5 to 20" in said["edm", "unconditional"]
    assert set(rows.loc[rows["method"] == "edm", "residual_of"].dropna()) == set()


def test_a_denoiser_that_a_method_has_learnt_is_followed_by_its_own_error(poisson):
    """Hardly trained, it leaves a residual where the exact prior beside it has none."""
    rows, _, _ = poisson
    drawn = rows[rows["sigma"].notna()]
    assert dict(drawn.groupby("method")["denoiser"].first()) == {
        "cocogen": "prior", "diffusionpde": "prior", "dps": "prior", "edm": "prior", "pidm": "own",
    }  # fmt: skip
    own = drawn[drawn["denoiser"] == "own"]
    assert (own["network"] > 1e-3).all()
    assert own["denoised"].to_numpy() == pytest.approx(own["network"].to_numpy(), rel=1e-6)  # no gap beside it


def test_a_denoiser_whose_fit_is_missing_is_left_out_with_the_reason(poisson, tmp_path):
    *_, (data, prior_file) = poisson
    raw = yaml.safe_load(TIER.replace("PRIOR", "gaussian").replace("PDE", "poisson")) | {"jensen": SETTINGS}
    raw["methods"] = {"pidm": raw["methods"]["pidm"]}
    (job,) = expand(parse_tier(raw)).jensen.values()
    jensen.run(job=job, data=data, prior_file=prior_file, out=tmp_path / "0.csv")
    (said,) = pd.read_csv(tmp_path / "0.visits.csv")["reason"]
    assert said == "its fit: it was not given to this stage"


def test_a_residual_of_a_noisy_state_is_told_apart(poisson):
    rows, _, (data, prior_file) = poisson
    assert set(rows.loc[rows["method"] == "cocogen", "residual_of"].dropna()) == {"noisy"}
    assert set(rows.loc[rows["method"] == "diffusionpde", "residual_of"].dropna()) == {"denoised"}
    guided = rows[rows["residual_of"] == "denoised"]  # past its switch, of six steps the last alone
    assert guided["residual_high"].max() == pytest.approx(0.002)
    dataset = load_dataset(data)
    prior = load_prior(prior_file, dataset.pde)
    for name, denoised in (("diffusionpde", True), ("cocogen", False)):
        states, meter = [], Meter(record=True)

        class Watched(MeteredProblem):
            def residual(self, x, scheme="own"):
                states.append(x.detach())  # noqa: B023
                return super().residual(x, scheme)

        method = load_method(name)
        meter.begin(1)
        method(replace(method.variants["corrected"], steps=6)).sample(
            MeteredDenoiser(prior.denoiser, meter),
            Watched(Problem(dataset.pde, "unconditional", prior.codec), meter),
            KeyedNoise([("watched", 0)]),
        )
        answers = [answer for _, _, answer in meter.probes]
        assert states
        assert all(any(torch.equal(x, answer) for answer in answers) for x in states) == denoised


def test_wrong_settings_are_one_line():
    with pytest.raises(UserError, match="visits = 1"):
        JensenSettings(visits=1)
    with pytest.raises(UserError, match="did you mean 'noisy'"):
        Capabilities(residual_of="nosy")
    assert JensenSettings(visits=0).visits == 0


def test_the_plan_measures_anew_what_other_settings_of_a_method_visit():
    raw = yaml.safe_load(TIER.replace("PRIOR", "gaussian").replace("PDE", "poisson")) | {"jensen": SETTINGS}
    plans = [make_plan(parse_tier(raw), Path("x.yaml"))]
    raw["methods"]["edm"]["heun"]["config"]["steps"] = 7
    plans.append(make_plan(parse_tier(raw), Path("x.yaml")))
    (before, after), (prior, same) = (
        [plan["jobs"][stage]["poisson-8/prior/0"] for plan in plans] for stage in ("jensen", "train")
    )
    assert before["digest"] != after["digest"]
    assert (prior["digest"], prior["code"]) == (same["digest"], same["code"])
    fits = [Path("results/visits/fits", key) for key in plans[0]["jobs"]["fit"] if "/pidm/" in key]
    assert [Path(path).parent for path in before["inputs"]["fits"]] == fits
