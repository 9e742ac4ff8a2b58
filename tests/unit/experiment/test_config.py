"""Configurations are checked wholly before anything runs; unknown names get the nearest known one."""

import copy
import re
from dataclasses import asdict

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.core.settings import keys
from jensenbench.errors import UserError
from jensenbench.experiment.config import parse_tier, read_tier
from jensenbench.experiment.expand import expand
from jensenbench.experiment.plan import make_plan
from jensenbench.experiment.schema import schema_text, tier_schema
from jensenbench.experiment.settings import DataConfig, TierSettings, TuningConfig, VariantEntry, read_settings
from jensenbench.io.files import read_yaml
from jensenbench.io.provenance import ROOT
from jensenbench.jensen.settings import JensenSettings

MICRO = read_yaml(ROOT / "config" / "micro.yaml")
TIERS = sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))


@pytest.fixture
def micro():
    return copy.deepcopy(MICRO)


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
        (
            {"methods": {"edm": {"heun": {"config": {"steps": "many"}}}}},
            "edm setting steps = 'many': expected a whole number, for instance 18",
        ),
        ({"methods": {"edm": {"heun": {"config": {"steps": 0}}}}}, "steps"),
        ({"tasks": ["forwards"]}, "did you mean 'forward'"),
        ({"pdes": [{"pde": "poison", "priors": ["gaussian-p1"]}]}, "did you mean 'poisson'"),
        (
            {"pdes": [{"pde": "poisson", "settings": {"m": 8}, "priors": ["gaussian-p1"]}]},
            "unknown poisson setting 'm'",
        ),
        ({"pdes": [{"pde": "poisson", "priors": ["gaussian"]}]}, "did you mean 'gaussian-p1'"),
        ({"priors": {"gaussian-p1": {"kind": "gausian"}}}, "did you mean 'gaussian'"),
        ({"methods": {"edm": {"heun": {"priors": ["gaussian-p2"]}}}}, "did you mean 'gaussian-p1'"),
        ({"device": "gpu"}, "unknown value of config key device 'gpu'; did you mean 'cpu'"),
        ({"draws": 0}, "draws = 0"),
        ({"instances": 5}, "instances = 5 needs as many test states"),
        ({"data": {"trian": 3}}, "did you mean 'data.train'"),
        ({"jensen": {"sates": 3}}, "did you mean 'jensen.states'"),
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


SETTING = {
    "of a PDE": lambda **s: {"pdes": [{"pde": "poisson", "settings": s, "priors": ["gaussian-p1"]}]},
    "of a network": lambda **s: {"priors": {"gaussian-p1": {"kind": "network", **s}}},
    "of a method": lambda **s: {"methods": {"dps": {"corrected": {"config": s}}}},
    "of a fit": lambda **s: {"methods": {"pidm": {"corrected": {"config": {"fit": s}}}}},
    "of pairs": lambda **s: {"methods": {"piddm": {"one_step": {"config": {"fit": {"pairs": s}}}}}},
    "of the tier": lambda **s: s,
    "of the data": lambda **s: {"data": s},
    "of tuning": lambda **s: {"tuning": s},
    "of jensen": lambda **s: {"jensen": s},
    "of a task": lambda **s: {"tasks": ["unconditional", {"task": "forward", **s}]},
}


@pytest.mark.parametrize(
    ("place", "setting", "message"),
    [
        ("of a PDE", {"n": 8.5}, "poisson setting n = 8.5: expected a whole number, for instance 32"),
        ("of a PDE", {"n": [16, 16]}, "poisson setting n = [16, 16]: expected a whole number; write 16"),
        ("of a PDE", {"n": True}, "poisson setting n = true: expected a whole number, for instance 32"),
        ("of a network", {"lr": [0.005]}, "setting of prior 'gaussian-p1' lr = [0.005]: expected a positive number; "),
        ("of a network", {"lr": "5e-3"}, "lr = '5e-3': expected a positive number; write 0.005 (YAML 1.1 reads"),
        ("of a network", {"width": 12}, "width = 12: expected a whole number of at least 8, in multiples of 8"),
        ("of a network", {"backbone": "spectral", "periodic": [2]}, "needs periodic axes among [0, 1]"),
        ("of a network", {"autocast": "fp8"}, "autocast 'fp8'"),
        ("of a method", {"steps": 8.0}, "dps setting steps = 8.0: expected a whole number; write 8"),
        ("of a fit", {"lr": "5e-3"}, "pidm setting fit.lr = '5e-3': expected a positive number; write 0.005"),
        ("of pairs", {"count": "8"}, "piddm setting fit.pairs.count = '8': expected a positive whole number; write 8"),
        ("of pairs", {"rule": "huen"}, "fit.pairs.rule 'huen'; did you mean 'heun'?"),
        ("of the tier", {"draws": 2.5}, "config key draws = 2.5: expected a positive whole number, for instance 4"),
        ("of the tier", {"seeds": 0}, "config key seeds = 0: expected a non-empty list of whole numbers"),
        ("of the tier", {"seeds": [0, 0]}, "seeds = [0, 0] repeats a seed"),
        ("of the tier", {"budget": "1e4"}, "config key budget = '1e4': expected a positive number; write 10000.0"),
        ("of the tier", {"publish": "tables"}, "publish = 'tables' is a folder of reports/ itself"),
        ("of the tier", {"extra_methods": "true"}, "expected true or false; write true"),
        ("of the tier", {"priors": {"a b": {"kind": "gaussian"}}}, "config key priors: name = 'a b'"),
        ("of the tier", {"methods": {"edm": {"heun": {"kinds": ["gausian"]}}}}, "did you mean 'gaussian'?"),
        ("of the tier", {"methods": {"edm": {"heun": {"tasks": ["forwrd"]}}}}, "did you mean 'forward'?"),
        ("of the tier", {"methods": {"edm": {"heun": {"pdes": ["poison"]}}}}, "did you mean 'poisson'?"),
        ("of the tier", {"pdes": [{"pde": "poisson"}]}, "config key 'pdes[0].priors' is missing"),
        ("of the data", {"train": True}, "config key data.train = true: expected a positive whole number"),
        ("of tuning", {"trials": 0}, "config key tuning.trials = 0: expected a positive whole number"),
        (
            "of jensen",
            {"probes": 5},
            "config key jensen.probes = 5: expected a whole number of at least 4, in multiples",
        ),
        ("of a task", {"noise_std": "1e-2"}, "config key tasks[1].noise_std = '1e-2': expected a number of at least 0"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_before_anything_runs(micro, place, setting, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        parse_tier(copy.deepcopy(micro) | SETTING[place](**setting))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TIERS)
def test_a_tier_holds_what_its_file_says(name):
    raw, tier = read_yaml(ROOT / "config" / f"{name}.yaml"), read_tier(ROOT / "config" / f"{name}.yaml")
    for key in ("publish", "device", "threads", "instances", "draws", "samples", "batch"):
        assert getattr(tier, key) == raw.get(key, getattr(TierSettings, key))
    assert list(tier.seeds) == raw["seeds"]
    assert asdict(tier.data) == asdict(DataConfig()) | raw["data"]
    assert asdict(tier.tuning) == asdict(TuningConfig()) | raw.get("tuning", {})
    assert (tier.jensen and asdict(tier.jensen)) == (
        asdict(JensenSettings()) | raw["jensen"] if "jensen" in raw else None
    )
    assert tier.priors == raw["priors"]
    assert [(e.name, e.settings, list(e.priors), e.source) for e in tier.pdes] == [
        (e["pde"], e.get("settings", {}), e["priors"], e.get("import", {})) for e in raw["pdes"]
    ]
    for method, variants in raw["methods"].items():
        for variant, options in variants.items():
            entry = tier.methods[method][variant]
            assert entry == VariantEntry(
                **{k: tuple(v) if isinstance(v, list) else v for k, v in (options or {}).items()}
            )


def test_the_schema_of_the_workflow_is_made_from_the_declaration():
    path = ROOT / "workflow" / "schemas" / "config.schema.yaml"
    assert path.read_text() == schema_text(), "run python -m jensenbench schema"


@pytest.mark.parametrize("name", TIERS)
def test_shipped_tiers_fit_the_schema(name):
    jsonschema.validate(read_yaml(ROOT / "config" / f"{name}.yaml"), tier_schema())


@pytest.mark.parametrize(
    "change",
    [{"instanses": 3}, {"draws": 0}, {"priors": {"a b": {"kind": "gaussian"}}}, {"data": {"trian": 1}}, {"seeds": []}],
)
def test_the_schema_refuses_what_the_code_refuses(micro, change):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(micro | change, tier_schema())
    with pytest.raises(UserError):
        parse_tier(micro | change)


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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def refusal(raw: dict) -> str:
    try:
        read_settings(raw)
    except UserError as error:
        return str(error)
    return ""


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*keys(TierSettings), "none"]), JSON)
def test_any_value_of_any_key_is_accepted_or_refused_in_one_line(key, value):
    assert "\n" not in refusal(MICRO | {key: value})
