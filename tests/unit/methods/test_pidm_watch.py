"""PIDM with and without its residual: the weight 0, what is held out, gradients that agree, runs that go on."""

import csv
import dataclasses
import io
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jensenbench.core.codec import Codec
from jensenbench.core.problem import Problem
from jensenbench.data.dataset import term_scale
from jensenbench.errors import UserError
from jensenbench.numerics.autograd import cosine, weight_gradient
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.gradient_watch import compare, held_out
from jensenbench.priors.loop import Loop
from methods.pidm import PIDM, Config, Fit, Objective, watch_of

PDE = make_pde("darcy", {"n": 8})
STATES = PDE.generate(range(48), seed=0)
CODEC = Codec.fit(PDE, STATES, power=1)
PROBLEM = Problem(PDE, "unconditional", CODEC, term_scale=term_scale(PDE, STATES))
PRIOR = GaussianPrior.isotropic(PDE.shape, 0.5)
DATA = CODEC.encode(STATES)
SMALL = Fit(steps=6, checks=3, batch=4, levels=8, watch=16, backbone_settings={"width": 8, "embedding": 16})


def fit(folder: Path, **settings: object) -> tuple[dict[str, Tensor], list[dict[str, str]]]:
    """Weights and log of a run."""
    method = PIDM(Config(fit=dataclasses.replace(SMALL, **settings)))
    module = method.fit(PRIOR, PROBLEM, DATA, state_dir=folder, seed=0)
    return module.state_dict(), list(csv.DictReader(io.StringIO((folder / "log.csv").read_text())))


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def plainly_trained(folder: Path) -> dict[str, Tensor]:
    """The same network on the denoising loss alone, from the same batches."""
    network, schedule, data = SMALL.build(DATA.shape[1:], seed=0), SMALL.schedule(), DATA[: -SMALL.watch]
    model = SMALL.denoiser(network, DATA.shape[1:])

    def loss(module: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        clean, t, noise = SMALL.batches(PROBLEM, data, 0)(step)
        sigma, weight = (values[t].float() for values in (schedule.sigmas, schedule.sigmas.pow(-2).clamp(max=5.0)))
        error = model(clean + sigma.reshape(-1, 1, 1, 1) * noise, sigma) - clean
        return (weight * error.square().flatten(1).mean(1)).mean(), {}

    loop = Loop(network, loss, SMALL, identity=[], sources=[], state_dir=folder, label="", device=DATA.device)
    return loop.run().state_dict()


@pytest.mark.parametrize("estimate", ["mean", "sample"])
def test_a_residual_of_weight_zero_changes_no_bit(tmp_path, estimate):
    assert equal(fit(tmp_path / "pidm", c_residual=0.0, estimate=estimate)[0], plainly_trained(tmp_path / "plain"))
    assert not equal(fit(tmp_path / "pidm", estimate=estimate)[0], plainly_trained(tmp_path / "again"))


def test_watching_changes_no_bit(tmp_path):
    method = PIDM(Config(fit=dataclasses.replace(SMALL, watch=0)))
    module = method.fit(PRIOR, PROBLEM, DATA[: -SMALL.watch], state_dir=tmp_path / "alone", seed=0)
    assert equal(fit(tmp_path / "watched")[0], module.state_dict())


def test_a_killed_run_that_goes_on_writes_the_same_log_and_weights(tmp_path, monkeypatch):
    whole = fit(tmp_path / "whole")
    original = Loop._advance

    def killed(loop: Loop) -> None:
        if loop.progress.step == 3:
            raise KeyboardInterrupt
        original(loop)

    monkeypatch.setattr(Loop, "_advance", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut")
    monkeypatch.undo()
    again = fit(tmp_path / "cut")
    assert equal(whole[0], again[0])
    assert whole[1] == again[1]
    assert len(whole[1]) == SMALL.checks


def test_every_arm_is_measured_on_the_same_states_and_noise():
    model = SMALL.denoiser(SMALL.build(PDE.shape), PDE.shape)
    arms = [dataclasses.replace(SMALL, **arm) for arm in ({}, {"c_residual": 0.0}, {"estimate": "sample"})]
    first, *others = (watch_of(arm, PROBLEM, DATA[:16])(model, model) for arm in arms)
    assert all(other == first for other in others)
    assert all(math.isfinite(value) for value in first.values())


def test_the_whole_is_the_mean_of_its_bands():
    model = SMALL.denoiser(SMALL.build(PDE.shape), PDE.shape)
    found = watch_of(SMALL, PROBLEM, DATA[:16])(model, model)
    for name in ("denoising", "mean", "sample", "residual_mean"):
        bands = [value for key, value in found.items() if key.startswith(f"watch_{name}_sigma")]
        assert len(bands) == 4
        assert math.isclose(sum(bands) / 4, found[f"watch_{name}"])


def test_states_that_are_watched_are_not_trained_on():
    data, states = held_out(DATA, SMALL.watch)
    assert torch.equal(data, DATA[:-16])
    assert torch.equal(states, DATA[-16:])
    with pytest.raises(UserError, match="watch = 48 leaves none of the 48"):
        held_out(DATA, 48)
    with pytest.raises(UserError, match="watch = 6 must be 0 or a multiple of 4"):
        Fit(watch=6)


def test_cosines_of_known_gradients():
    module = nn.Linear(3, 2)
    loss = module(torch.tensor([1.0, 2.0, 3.0])).square().sum()
    gradient = weight_gradient(loss, module)
    assert gradient.shape == (8,)
    assert math.isclose(cosine(gradient, gradient), 1)
    assert math.isclose(cosine(gradient, -2 * gradient), -1)
    assert math.isclose(cosine(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])), 0)
    same = compare(dict.fromkeys(("denoising", "mean", "sample"), gradient))
    assert all(math.isclose(value, 1) for value in same.values())


def test_gradients_are_those_that_training_follows():
    """The whole loss is the weighted sum of the two that are compared, and so is its gradient."""
    network = SMALL.build(PDE.shape)
    model, step = SMALL.denoiser(network, PDE.shape), SMALL.batches(PROBLEM, DATA, 0)(0)
    parts = []
    for weights in ((1.0, 1e-3), (1.0, 0.0), (0.0, 1.0)):
        settings = dataclasses.replace(SMALL, c_data=weights[0], c_residual=weights[1])
        parts.append(weight_gradient(Objective(settings, PROBLEM)(model, *step)[0], network))
    assert torch.allclose(parts[0], parts[1] + 1e-3 * parts[2], rtol=1e-3, atol=1e-6 * float(parts[0].norm()))
