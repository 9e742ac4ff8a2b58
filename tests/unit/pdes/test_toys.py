"""Toys on the unit circle: laws, branches of the solver, the exact mixture prior and its file, states of one point."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jensenbench.checks.pde import check_pde
from jensenbench.checks.plugin import check_plugin
from jensenbench.checks.prior import check_prior
from jensenbench.core.codec import Codec
from jensenbench.core.pde import Axis
from jensenbench.core.tasks import find_task
from jensenbench.data.dataset import load_dataset, write_dataset
from jensenbench.errors import UserError
from jensenbench.io.schema import SPLITS
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.build import build_prior
from jensenbench.priors.empirical import EmpiricalPrior
from jensenbench.priors.io import load_prior, save_prior
from jensenbench.priors.mixture import MixturePrior

TOYS = ("circle", "mixture")
MIXTURE = make_pde("mixture", {})


def prior_of(folder, pde, settings, kind="mixture"):
    """A built exact prior of a fresh data file, and the data's digest."""
    splits = {name: pde.generate(range(i * 400, i * 400 + 200), seed=0) for i, name in enumerate(SPLITS)}
    write_dataset(folder / "data.h5", pde, splits, seed=0)
    dataset = load_dataset(folder / "data.h5")
    return build_prior(kind, settings, dataset, seed=0, state_dir=folder)[0], dataset.digest


@pytest.mark.parametrize("name", TOYS)
def test_a_state_of_one_point_conforms_and_the_check_says_what_does_not_apply(name):
    report = check_pde(make_pde(name, {}))
    assert report.passed, str(report)
    order = next(check for check in report.checks if check.name == "order")
    assert "not applicable" in order.detail


@settings(max_examples=50, deadline=None)
@given(st.floats(-1.5, 1.5), st.floats(-2, 2))
def test_solve_stays_on_the_branch_of_y_and_has_none_beyond_the_circle(x, y):
    state = torch.tensor([x, y], dtype=torch.float64).reshape(1, 2, 1)
    solved = make_pde("circle", {}).solve(state).flatten()
    assert solved[0] == x
    assert abs(float(solved[1])) == pytest.approx(max(0.0, 1 - x * x) ** 0.5, abs=1e-7)  # a root halves the digits at 0
    assert solved[1] <= 0 if y < 0 else solved[1] >= 0


def test_circle_angles_are_uniform():
    points = make_pde("circle", {}).generate(range(4000), seed=3)[:, :, 0]
    for k in (1, 2, 3):
        angle = k * torch.atan2(points[:, 1], points[:, 0])
        assert max(abs(float(angle.cos().mean())), abs(float(angle.sin().mean()))) < 4 * (0.5 / 4000) ** 0.5


def test_mixture_states_follow_the_declared_law():
    states, count = MIXTURE.generate(range(4000), seed=1), 4000
    means, weights, width = MIXTURE.mixture()
    nearest = (states[:, None] - means).square().sum((2, 3)).argmin(1)
    share = torch.bincount(nearest, minlength=len(means)) / count
    assert (share - weights).abs().max() < 4 * 0.5 / count**0.5
    spread = (states - means[nearest]).flatten()
    assert abs(float(spread.std()) / width - 1) < 4 / (2 * 2 * count) ** 0.5
    expected = 4 * width**2 + 8 * width**4
    squares = MIXTURE.residual(states)["interior"].square()
    assert abs(float(squares.mean()) - expected) < 4 * float(squares.std()) / count**0.5
    assert (means.square().sum(1) - 1).abs().max() < 1e-15


def test_the_mixture_prior_of_the_toy_is_exact_and_survives_its_file(tmp_path):
    built, digest = prior_of(tmp_path, MIXTURE, {"kind": "mixture"})
    save_prior(tmp_path / "p.safetensors", built, pde=MIXTURE, label="mixture", seed=0, data_digest=digest)
    loaded = load_prior(tmp_path / "p.safetensors", MIXTURE)
    states = loaded.codec.encode(MIXTURE.generate(range(20000, 21000), seed=0))
    assert loaded.kind == "mixture"
    assert torch.allclose(loaded.denoiser(states, 0.4), built.denoiser(states, 0.4), rtol=0, atol=1e-14)
    report = check_prior(loaded.denoiser, states, exact=True)
    assert report.passed, str(report)


def test_the_empirical_prior_of_the_training_states_is_exact_for_them_and_survives_its_file(tmp_path):
    pde, path = make_pde("circle", {}), tmp_path / "p.safetensors"
    built, digest = prior_of(tmp_path, pde, {"kind": "empirical", "power": 0}, "empirical")
    save_prior(path, built, pde=pde, label="empirical", seed=0, data_digest=digest)
    loaded = load_prior(path, pde)
    train = load_dataset(tmp_path / "data.h5").split("train")
    assert isinstance(loaded.denoiser, EmpiricalPrior)
    assert torch.allclose(loaded.codec.decode(loaded.denoiser.states.double()), train.double(), atol=1e-6)
    report = check_plugin("prior", str(path), data=tmp_path / "data.h5")
    assert report.passed, str(report)


@pytest.mark.parametrize("name", TOYS)
def test_full_tasks_observe_one_coordinate(name):
    pde = make_pde(name, {})
    for task, seen in (("forward", [True, False]), ("inverse", [False, True]), ("unconditional", [False, False])):
        assert find_task(task).mask(pde, seed=0, index=0).flatten().tolist() == seen


def test_laws_without_an_exact_mixture_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"circle-1 .* no exact mixture prior"):
        prior_of(tmp_path, make_pde("circle", {}), {})
    with pytest.raises(UserError, match=r"mixture-2 .* no exact mixture prior"):
        make_pde("mixture", {"n": 2}).mixture()
    with pytest.raises(UserError, match="one scale"):
        MixturePrior.of_pde(MIXTURE, Codec(MIXTURE, shift=[0.0, 0.0], scale=[1.0, 2.0]))


@pytest.mark.parametrize(
    ("name", "options"), [("mixture", {"width": 0.0}), ("mixture", {"width": 0.5}), ("circle", {"n": 0})]
)
def test_impossible_toys_are_refused(name, options):
    with pytest.raises(UserError):
        make_pde(name, options)


@pytest.mark.parametrize(("n", "kind"), [(1, "node"), (0, "periodic")])
def test_axes_without_a_spacing_are_refused(n, kind):
    with pytest.raises(UserError, match="no spacing"):
        Axis("x", n, kind=kind)
