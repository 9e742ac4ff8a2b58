"""Stored posteriors as the law of comparisons: found by their data, silent where they did not converge."""

from dataclasses import replace

import pytest
import torch

from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.data.dataset import load_dataset, write_dataset
from jensenbench.evaluation.accuracy import Observed
from jensenbench.evaluation.controls import ControlSetting, optimum, posterior_controls, posteriors_of
from jensenbench.evaluation.evaluator import Evaluator
from jensenbench.evaluation.metrics import PERCENT
from jensenbench.evaluation.sets import make_reference
from jensenbench.io.schema import SPLITS
from jensenbench.numerics.random import generator_of
from jensenbench.plugins.registry import make_pde
from jensenbench.posteriors.files import ReferencePosterior, verdict
from jensenbench.posteriors.sampled import PUBLISHED
from jensenbench.priors.backbones.build import build_backbone, find_backbone
from jensenbench.priors.io import LoadedPrior
from jensenbench.priors.network import NetworkPrior

TASK, COUNT, STORED = "reconstruction_3_noise0.05", 2, 12
PDE = make_pde("darcy", {"n": 6, "law": "lognormal"})
LATENT = PDE.latent_map()


@pytest.fixture
def setting(tmp_path) -> ControlSetting:
    splits = {name: PDE.generate(range(20 * i, 20 * i + 16), seed=0) for i, name in enumerate(SPLITS)}
    write_dataset(tmp_path / "data.h5", PDE, splits, seed=0)
    dataset = load_dataset(tmp_path / "data.h5")
    truth = dataset.split("test")[:COUNT].double()
    mask = torch.zeros(COUNT, *PDE.shape, dtype=torch.bool)
    mask[:, :, 1] = True
    data = Observed(MaskObservation(mask, torch.where(mask, truth, 0.0), 0.05), truth)
    return ControlSetting(dataset, PDE.label, 0, {TASK: data}, {TASK: 3}, 8, None)


@pytest.fixture
def network() -> LoadedPrior:
    settings = find_backbone("mlp").settings
    prior = NetworkPrior(build_backbone("mlp", PDE.shape[0], PDE.shape[1:], settings), PDE.shape)
    return LoadedPrior(prior, Codec.fit(PDE, PDE.generate(range(16), seed=0), power=0), "mlp", "network", "", {})


def stored(setting: ControlSetting, index: int, status: str = "ok") -> ReferencePosterior:
    latents = torch.randn(STORED, LATENT.size, generator=generator_of((index,)))
    states, one = LATENT(latents.double()), torch.ones(3)
    data = setting.observed[TASK].observation.subset([index])
    return ReferencePosterior(status, "R-hat 1.3", data, states.mean(0), states.std(0), latents, one, 500 * one)


def publish(folder, setting: ControlSetting, *statuses: str) -> None:
    for index, status in enumerate(statuses):
        stored(setting, index, status).save(folder / PDE.label / TASK / f"{index}.safetensors")


def test_a_network_is_compared_with_the_stored_posterior_of_its_data(setting, network, tmp_path):
    assert not posteriors_of(setting, network, tmp_path)
    publish(tmp_path, setting, "ok", "ok")
    (posterior,) = posteriors_of(setting, network, tmp_path).values()
    assert torch.equal(posterior.mean[1], stored(setting, 1).mean)
    states = LATENT(stored(setting, 0).latents.double())
    draw = posterior.sample(KeyedNoise([(0,), (1,)]))[0]
    assert any(torch.allclose(draw, state) for state in states)
    assert [c.variant for c in posterior_controls(setting, {TASK: posterior})] == ["posterior_mean", "posterior_draw"]


def test_posteriors_of_other_data_are_not_used(setting, network, tmp_path):
    publish(tmp_path, setting, "ok", "ok")
    data = setting.observed[TASK]
    noisier = replace(data, observation=replace(data.observation, noise_std=0.1))
    assert not posteriors_of(replace(setting, observed={TASK: noisier}), network, tmp_path)


def test_no_metric_is_given_against_chains_that_did_not_converge_and_the_row_says_so(setting, network, tmp_path):
    publish(tmp_path, setting, "ok", "failed")
    (posterior,) = posteriors_of(setting, network, tmp_path).values()
    best = optimum(setting, TASK, posterior)
    reference = make_reference(setting.dataset.split("reference"), setting.dataset.field_std)
    evaluator = Evaluator(setting.dataset, network.codec, reference, setting.observed, {TASK: best})
    score = evaluator.score(best.draws[:, :8].nan_to_num(), TASK, post_process=False)
    values, note = score.metrics, score.note
    against = {name: value for name, value in values.items() if name.startswith(("posterior_", "error_over"))}
    assert len(against) == 2 * 3 + 1 + len(PERCENT)  # two fields' mean, spread and error, then W2 and coverage
    for value in against.values():
        assert torch.isfinite(value[0])
        assert torch.isnan(value[1])
    assert note == "no reference posterior for instance 1: R-hat 1.3"
    assert all(control.fields is None for control in posterior_controls(setting, {TASK: posterior}))


@pytest.mark.parametrize(
    "path", sorted(PUBLISHED.glob("*/*/*.safetensors")), ids=lambda path: "/".join(path.parts[-3:])
)
def test_published_posteriors_are_whole_and_their_status_is_that_of_their_diagnostics(path):
    found = ReferencePosterior.load(path)
    assert (found.status, found.reason) == verdict(found.rhat, found.ess)
    assert path.parts[-3:] == (found.meta["pde"], found.meta["task"], f"{found.meta['instance']}.safetensors")
    pde = make_pde(found.meta["pde"].split("-")[0], found.meta["pde_settings"])
    states = pde.latent_map()(found.latents.double())
    unit = torch.tensor(found.meta["field_std"]).reshape(-1, *[1] * (found.mean.ndim - 1))
    assert float(((states.mean(0) - found.mean) / unit).abs().max()) < 0.5
