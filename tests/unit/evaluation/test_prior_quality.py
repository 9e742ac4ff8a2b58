"""Quality of a prior under training: agrees with the evaluation, tells priors apart, touches no random stream."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.denoiser import Denoiser
from jensenbench.data.dataset import Dataset, load_dataset, write_dataset
from jensenbench.errors import UserError
from jensenbench.evaluation.evaluator import Evaluator
from jensenbench.evaluation.prior_quality import QUALITIES, PriorQuality
from jensenbench.evaluation.sets import make_reference
from jensenbench.io.schema import SPLITS
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.training import Trainer, TrainingData, parse_settings

STATES = 200


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    pde, path = make_pde("poisson", {"n": 8}), Path(tmp_path_factory.mktemp("quality"), "poisson-8.h5")
    write_dataset(
        path, pde, {name: pde.generate(range(400 * i, 400 * i + 400), seed=0) for i, name in enumerate(SPLITS)}, seed=0
    )
    return load_dataset(path)


@pytest.fixture(scope="module")
def codec(dataset) -> Codec:
    return Codec.fit(dataset.pde, dataset.split("train"), power=1)


@pytest.fixture(scope="module")
def quality(dataset) -> PriorQuality:
    return PriorQuality(dataset, states=STATES)


class Blurred(Denoiser):
    """An exact prior with a part that is not its own."""

    def __init__(self, inner: Denoiser, error: float):
        self.inner, self.error, self.shape, self.sigma_data = inner, error, inner.shape, inner.sigma_data
        self.sigma_min, self.sigma_max = inner.sigma_min, inner.sigma_max

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.inner.denoise(x, sigma) + self.error * (1 + torch.roll(x, 1, -1)) / (1 + sigma[:, None, None, None])


def test_it_is_what_the_evaluation_says_of_the_same_states(dataset, quality, codec):
    states = dataset.split("test")[:STATES]
    evaluator = Evaluator(dataset, codec, make_reference(dataset.split("reference"), dataset.field_std), {})
    expected = evaluator.measure(states[:, None], None)
    found = quality.measure(states)
    for name in ("mmse", "smse", "sliced_w2"):
        assert found[name] == pytest.approx(float(expected[name]), rel=1e-12)
    pooled = float(expected["residual_rel"].square().mean().sqrt())
    assert found["residual_rel"] == pytest.approx(pooled, rel=1e-12)


def test_a_spoilt_prior_is_worse_in_every_respect(dataset, quality, codec):
    exact = GaussianPrior.of_pde(dataset.pde, codec)
    good, bad = quality(exact, codec), quality(Blurred(exact, 0.1), codec)
    assert set(good) == set(QUALITIES)
    assert all(bad[name] > good[name] for name in QUALITIES), (good, bad)
    assert good["residual_rel"] < 1e-9


def test_the_same_prior_has_the_same_quality_and_no_random_stream_moves(dataset, quality, codec):
    prior, before = GaussianPrior.of_pde(dataset.pde, codec), torch.get_rng_state()
    assert quality(prior, codec) == quality(prior, codec)
    assert torch.equal(torch.get_rng_state(), before)


def test_more_samples_begin_with_the_same_ones(dataset, quality, codec):
    prior = GaussianPrior.of_pde(dataset.pde, codec)
    few = PriorQuality(dataset, states=8).sample(prior, codec)
    assert torch.allclose(quality.sample(prior, codec)[:8], few, rtol=1e-9)


def test_samples_that_are_not_finite_have_no_quality(dataset, quality, codec):
    found = quality(Blurred(GaussianPrior.of_pde(dataset.pde, codec), float("inf")), codec)
    assert all(value != value for value in found.values())


def test_too_few_states_are_refused(dataset):
    with pytest.raises(UserError, match="quality = 3"):
        PriorQuality(dataset, states=3)


def train_network(folder: Path, dataset: Dataset, quality: PriorQuality | None) -> Trainer:
    settings, backbone = parse_settings({"steps": 12, "batch": 4, "width": 8, "embedding": 16, "checks": 3})
    states = dataset.split("train")
    data = TrainingData(dataset.pde, Codec.fit(dataset.pde, states, power=1), states, states[:32], dataset.digest)
    trainer = Trainer(settings, backbone, data, seed=0, state_dir=folder, device=torch.device("cpu"), quality=quality)
    trainer.run()
    return trainer


def test_a_training_logs_it_and_is_the_same_training_as_without(dataset, quality, codec, tmp_path):
    measured, plain = (train_network(tmp_path / name, dataset, q) for name, q in (("on", quality), ("off", None)))
    columns = {f"quality_{name}" for name in QUALITIES}
    for with_it, without in zip(measured.loop.progress.rows, plain.loop.progress.rows, strict=True):
        assert {name: value for name, value in with_it.items() if name not in columns} == without
        assert columns <= set(with_it)
    last = {name: measured.loop.progress.rows[-1][f"quality_{name}"] for name in QUALITIES}
    assert last == quality(measured.average, codec)
    assert all(torch.equal(value, plain.average.tensors()[name]) for name, value in measured.average.tensors().items())
