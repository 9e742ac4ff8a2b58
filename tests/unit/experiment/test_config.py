"""Configurations are checked wholly before anything runs; unknown names get the nearest known one."""

import copy

import pytest

from jensenbench.errors import UserError
from jensenbench.experiment.config import parse_tier, read_tier
from jensenbench.experiment.expand import expand
from jensenbench.experiment.plan import make_plan
from jensenbench.io.files import read_yaml
from jensenbench.io.provenance import ROOT

TIERS = sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))


@pytest.fixture
def micro():
    return read_yaml(ROOT / "config" / "micro.yaml")


@pytest.mark.parametrize("name", TIERS)
def test_shipped_tiers_are_valid(name):
    tier = read_tier(ROOT / "config" / f"{name}.yaml")
    assert tier.name == name
    assert expand(tier).sample


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instanses": 3}, "did you mean 'instances'"),
        ({"methods": {"edn": {"heun": {}}}}, "did you mean 'edm'"),
        ({"methods": {"edm": {"huen": {}}}}, "did you mean 'heun'"),
        ({"methods": {"edm": {"heun": {"config": {"stepz": 3}}}}}, "did you mean 'steps'"),
        ({"methods": {"edm": {"heun": {"config": {"steps": "many"}}}}}, "'many' is a str"),
        ({"methods": {"edm": {"heun": {"config": {"steps": 0}}}}}, "steps"),
        ({"tasks": ["forwards"]}, "did you mean 'forward'"),
        ({"pdes": [{"pde": "poison", "priors": ["gaussian-p1"]}]}, "did you mean 'poisson'"),
        ({"pdes": [{"pde": "poisson", "settings": {"m": 8}, "priors": ["gaussian-p1"]}]}, "did you mean 'n'"),
        ({"pdes": [{"pde": "poisson", "priors": ["gaussian"]}]}, "did you mean 'gaussian-p1'"),
        ({"priors": {"gaussian-p1": {"kind": "gausian"}}}, "did you mean 'gaussian'"),
        ({"methods": {"edm": {"heun": {"priors": ["gaussian-p2"]}}}}, "did you mean 'gaussian-p1'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"draws": 0}, "draws = 0"),
        ({"instances": 5}, "instances = 5 needs as many test states"),
        ({"data": {"trian": 3}}, "did you mean 'train'"),
        ({"jensen": {"sates": 3}}, "did you mean 'states'"),
        ({"jensen": {"law_states": 1}}, "law_states = 1"),
        ({"jensen": {"law_states": 65}}, "law_states = 65 needs as many train states"),
        ({"jensen": {"law_states": 64, "states": 17}}, "states = 17 needs as many validation states"),
        ({"jensen": {"law_states": 64, "states": 16, "visits": 17}}, "visits = 17 needs as many validation states"),
        ({"jensen": {"visits": 1}}, "visits = 1; intervals take two states"),
        ({"jensen": {"lowest": 60}}, "lowest = 60 must lie below"),
    ],
)
def test_mistakes_are_named_with_a_remedy(micro, change, message):
    with pytest.raises(UserError, match=message):
        parse_tier(copy.deepcopy(micro) | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pdes": [{"pde": "darcy", "settings": {"n": 8}, "priors": ["gaussian-p1"]}]}, "no exact gaussian prior"),
        ({"priors": {"gaussian-p1": {"kind": "mixture"}}}, "no exact mixture prior"),
        ({"priors": {"gaussian-p1": {"kind": "gaussian", "powr": 1}}}, "did you mean 'power'"),
        ({"priors": {"gaussian-p1": {"kind": "network", "stepz": 1}}}, "did you mean 'steps'"),
        ({"priors": {"gaussian-p1": {"kind": "network", "backbone": "unit"}}}, "did you mean 'unet'"),
    ],
)
def test_priors_that_cannot_be_built_are_refused_before_anything_runs(micro, change, message):
    with pytest.raises(UserError, match=message):
        make_plan(parse_tier(copy.deepcopy(micro) | change), ROOT / "config.json")


def test_two_pdes_of_one_label_are_refused(micro):
    with pytest.raises(UserError, match="poisson-8"):
        parse_tier(micro | {"pdes": micro["pdes"] * 2})


def test_exact_priors_are_built_once_for_all_seeds(micro):
    tier = parse_tier(micro | {"seeds": [0, 1, 2]})
    assert {tier.prior_seed("gaussian-p1", seed) for seed in tier.seeds} == {0}


def test_a_variant_restricted_to_a_prior_runs_on_no_other(micro):
    priors = {"gaussian-p0": {"kind": "gaussian", "power": 0}, **micro["priors"]}
    pdes = [{**micro["pdes"][0], "priors": list(priors)}]
    methods = {"edm": {"heun": {"priors": ["gaussian-p0"]}, "churned": {}}}
    tier = parse_tier(micro | {"priors": priors, "pdes": pdes, "methods": methods, "extra_methods": False})
    found = {(job.variant, job.prior) for job in expand(tier).sample.values()}
    assert found == {("heun", "gaussian-p0"), ("churned", "gaussian-p0"), ("churned", "gaussian-p1")}


@pytest.mark.parametrize(
    ("publish", "folder"),
    [(False, "results/micro/reports"), (True, "reports"), ("overnight", "reports/overnight")],
)
def test_reports_of_a_tier_go_where_it_publishes(micro, publish, folder):
    plan = make_plan(parse_tier(micro | {"publish": publish}), ROOT / "config.json")
    assert plan["reports"] == folder
