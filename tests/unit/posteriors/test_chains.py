"""Chains against closed forms: exactness, reversibility, gradients, resumption, bad input."""

from math import exp, pi, sqrt

import pytest
import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.observations import MaskObservation
from jensenbench.core.pde import LatentMap
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import Task
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde
from jensenbench.posteriors.annealing import reweigh
from jensenbench.posteriors.chains import Chains, ChainSettings
from jensenbench.posteriors.diagnostics import diagnose
from jensenbench.posteriors.kernel import Reference, step
from jensenbench.posteriors.target import Point, Target
from jensenbench.priors.gaussian import GaussianPrior
from pdes._grf import draw_normals

DARCY = {"n": 8, "law": "lognormal"}
UNIT = torch.ones(1, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def identity(x: Tensor) -> Tensor:
    return x


def one_by_one(flat: Tensor) -> Tensor:
    """Noise (b, k) as one channel of 1 × k points."""
    return flat[:, None, None]


def make_target(name: str, settings: dict, task: Task) -> tuple[Target, Tensor, MaskObservation]:
    pde = make_pde(name, settings)
    states = pde.generate(range(64), seed=0)
    scale = states.transpose(0, 1).flatten(1).std(1)
    data = task.observe(states[0], pde, scale, seed=0, index=0)
    return Target(pde.latent_map(), data, scale), scale, data


@pytest.mark.parametrize(
    ("name", "settings", "shape"),
    [
        ("darcy", {"law": "two_valued"}, (8, 8)),
        ("darcy", {"law": "lognormal"}, (8, 8)),
        ("poisson", {}, (8, 8)),
        ("helmholtz", {}, (8, 8)),
        ("burgers", {}, (2, 4)),
        ("heat", {}, (2, 4)),
        ("darcy_corner", {"modes": 10}, (10,)),
    ],
)
def test_the_latent_is_the_law_that_the_pde_generates(name, settings, shape):
    pde = make_pde(name, {"n": 8, **settings})
    latent = pde.latent_map()
    noise = torch.from_numpy(draw_normals(range(3), shape, seed=5)).flatten(1)
    silent = noise.shape[1] - latent.size  # the mean of a square's field, or the sine that the grid does not see
    z = noise[:, silent:] if len(shape) == 2 and shape[0] == shape[1] else noise[:, : latent.size]
    assert torch.allclose(latent(z), pde.generate(range(3), seed=5), atol=1e-10)


def test_defects_at_the_truth_are_the_tasks_noise():
    pde = make_pde("darcy", DARCY)
    states, task = pde.generate(range(60), seed=0), Task("t", 0.5, 0.5, noise_std=0.05)
    scale = states.transpose(0, 1).flatten(1).std(1)
    found = []
    for index, state in enumerate(states):
        data = task.observe(state, pde, scale, seed=0, index=index)
        defects = Target(pde.latent_map(), data, scale).defects(state[None])
        unit = (task.noise_std * scale[:, None, None]).expand_as(state)[data.mask[0]]
        assert torch.allclose(state[data.mask[0]] - data.values[data.mask], unit * defects[0], atol=1e-12)
        found.append(defects)
    every = torch.cat(found, 1)
    assert float(every.mean()) == pytest.approx(0, abs=5 / every.numel() ** 0.5)
    assert float(every.square().mean()) == pytest.approx(1, abs=5 * (2 / every.numel()) ** 0.5)


@pytest.mark.parametrize(("name", "settings"), [("darcy", DARCY), ("burgers", {"n": 8, "nu": 0.05})])
def test_gradients_are_those_of_differences(name, settings):
    target, *_ = make_target(name, settings, Task("t", 0.2, 0.2, noise_std=0.1))
    z, direction, h = normal(3, target.latent.size), normal(3, target.latent.size, seed=1), 1e-5
    gradient = target.point(z, differentiate=True).gradient
    ends = [target.point(z + sign * h * direction, differentiate=False) for sign in (1, -1)]
    difference = (ends[0].potential - ends[1].potential) / (2 * h)
    assert torch.allclose((gradient * direction).sum(1), difference, rtol=1e-5)
    slope = (target.defects(ends[0].fields) - target.defects(ends[1].fields)) / (2 * h)
    jacobian = torch.stack([target.linearise(row) for row in z])
    assert torch.allclose((jacobian @ direction[..., None])[..., 0], slope, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("drift", [False, True])
@pytest.mark.parametrize("reference", ["prior", "other"])
def test_a_step_leaves_the_prior_invariant_and_is_reversible(reference, drift):
    """Without data the posterior is the prior, whatever proposals are reversible for."""
    count, size = 20000, 3
    target = Target(
        LatentMap(torch.eye(size, dtype=torch.float64), lambda flat: flat[:, None, None], lambda x: x), None, UNIT
    )
    law = Reference.prior(size)
    if reference == "other":
        law = Reference(
            normal(1, size) / 2, torch.linalg.qr(normal(size, 2, seed=1))[0], torch.tensor([[0.6, 1.3]]).double()
        )
    here = target.point(normal(count, size, seed=2), differentiate=drift)
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    there, ratio = step(
        here,
        lambda z: target.point(z, differentiate=drift),
        law,
        torch.tensor(0.7).double(),
        normal(count, size, seed=3),
        uniform,
        drift=drift,
    )
    if reference == "prior" and not drift:
        assert float(ratio.min()) == pytest.approx(1)
    error = 1 / count**0.5
    assert float(there.z.mean(0).abs().max()) < 5 * error
    assert torch.allclose(there.z.T @ there.z / count, torch.eye(size, dtype=torch.float64), atol=8 * error)
    for f, g in ((torch.sin, torch.exp), (torch.square, torch.tanh)):
        flux = f(here.z) * g(there.z) - g(here.z) * f(there.z)
        assert float((flux.mean(0) / flux.std(0)).abs().max()) < 5 * error


@pytest.mark.parametrize(
    ("sampler", "steps", "levels"),
    [
        ("pcn", 1200, 1),
        ("informed", 600, 1),
        ("mala", 400, 1),
        ("pcn", 1200, 3),
        ("informed", 400, 3),
        ("mala", 400, 2),
    ],
)
def test_chains_find_the_exact_posterior_of_a_linear_problem(sampler, steps, levels):
    pde = make_pde("poisson", {"n": 6})
    states = pde.generate(range(100), seed=0)
    scale = states.transpose(0, 1).flatten(1).std(1)
    data = Task("t", 0.15, 0.15, noise_std=0.5).observe(states[0], pde, scale, seed=0, index=0)
    codec = Codec.fit(pde, states, power=1)
    exact = GaussianPrior.of_pde(pde, codec).posterior(Problem(pde, "t", codec, observation=data, scale=scale))
    settings = ChainSettings(sampler, chains=24, warmup=200, steps=steps, levels=levels)
    chains = Chains(Target(pde.latent_map(), data, scale), settings, scale, key=("exact", sampler))
    state = chains.run()
    found = diagnose(state.traces)
    assert float(found.rhat.max()) < (1.1 if sampler == "pcn" else 1.02)
    assert float(found.ess.min()) > 400
    unit = scale[:, None, None]
    mean, std = state.total / (24 * steps), exact.std[0] / unit
    variance = state.squares / (24 * steps) - mean.square()
    loose = std > 1e-6
    error = ((mean - exact.mean[0] / unit) / std)[loose]
    assert float(error.abs().max()) < 5 / float(found.ess.min()) ** 0.5
    assert torch.allclose(
        variance[loose].sqrt() / std[loose], torch.ones(()).double(), atol=6 / float(found.ess.min()) ** 0.5
    )


@pytest.mark.parametrize("sampler", ["pcn", "informed"])
def test_a_level_set_is_on_either_side_as_often_as_the_data_say(sampler):
    """a = 2 where z >= 0 and 1 elsewhere, seen as 1.8 with noise of 1/2: odds exp((0.8² - 0.2²)/(2/4))."""

    def level(flat: Tensor) -> Tensor:
        return 1 + (flat >= 0).double()[:, None, None]

    def smooth(flat: Tensor) -> Tensor:
        return 1 + torch.sigmoid(flat)[:, None, None]

    latent = LatentMap(torch.eye(1, dtype=torch.float64), level, identity, smooth)
    data = MaskObservation(torch.ones(1, 1, 1, 1, dtype=torch.bool), torch.full((1, 1, 1, 1), 1.8).double(), 0.5)
    chains = Chains(
        Target(latent, data, UNIT), ChainSettings(sampler, chains=40, warmup=100, steps=500), UNIT, key=("level",)
    )
    state = chains.run()
    odds = exp((0.8**2 - 0.2**2) / (2 * 0.25))
    ess = float(diagnose(state.traces).ess.min())
    assert float(state.total) / (40 * 500) - 1 == pytest.approx(odds / (1 + odds), abs=5 * 0.5 / sqrt(ess))


def test_states_that_the_solver_refuses_have_no_mass():
    def solve(x: Tensor) -> Tensor:
        if (x > 0).any():
            raise UserError("too large")
        return x

    latent = LatentMap(torch.eye(1, dtype=torch.float64), one_by_one, solve)
    target = Target(latent, None, UNIT)
    chains = Chains(target, ChainSettings("pcn", chains=20, warmup=24, steps=300), UNIT, key=("half",))
    state = chains.run()
    assert state.refused > 0
    assert float(state.point.z.max()) <= 0
    ess = float(diagnose(state.traces).ess.min())
    assert float(state.total) / 6000 == pytest.approx(-sqrt(2 / pi), abs=5 * 0.6 / sqrt(ess))


@pytest.mark.parametrize("killed", [3, 20, 33, 47])
@pytest.mark.parametrize(("sampler", "levels"), [("informed", 1), ("mala", 1), ("informed", 3)])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, sampler, levels, killed):
    target, scale, _ = make_target("poisson", {"n": 6}, Task("t", 0.2, 0.2, noise_std=0.1))
    settings = ChainSettings(sampler, chains=4, warmup=32, steps=24, snapshots=3, levels=levels)
    whole = Chains(target, settings, scale, key=("a",)).run()
    Chains(target, settings, scale, key=("a",), path=tmp_path / "state").run(killed)
    resumed = Chains(target, settings, scale, key=("a",), path=tmp_path / "state")
    assert resumed.state.done == killed
    state = resumed.run()
    for name in ("traces", "kept", "total", "squares", "beta", "swapped"):
        assert torch.equal(getattr(state, name), getattr(whole, name)), name
    assert (state.accepted, state.refused) == (whole.accepted, whole.refused)


def test_the_state_of_other_chains_is_not_used(tmp_path):
    target, scale, _ = make_target("poisson", {"n": 6}, Task("t", 0.2, 0.2, noise_std=0.1))
    settings = ChainSettings("pcn", chains=2, warmup=8, steps=16, snapshots=1)
    Chains(target, settings, scale, key=("a",), path=tmp_path / "state", meta={"data": "x"}).run(12)
    assert Chains(target, settings, scale, key=("b",), path=tmp_path / "state", meta={"data": "x"}).state.done == 0
    assert Chains(target, settings, scale, key=("a",), path=tmp_path / "state", meta={"data": "y"}).state.done == 0
    assert Chains(target, settings, scale, key=("a",), path=tmp_path / "state", meta={"data": "x"}).state.done == 12


def test_every_step_has_its_own_random_numbers():
    target, scale, _ = make_target("poisson", {"n": 6}, Task("t", noise_std=0.1))
    chains = Chains(target, ChainSettings("pcn", chains=2, warmup=8, steps=16), scale, key=("a",))
    before: Point = chains.state.point
    chains.advance()
    assert not torch.equal(before.z, chains.state.point.z)


def test_the_data_grow_to_full_size_and_stay_there():
    settings = ChainSettings("pcn", chains=2, warmup=8, steps=10**6, snapshots=1)
    factors = [settings.inverse_temperature(done) for done in (0, 1, 2, 3, 8, settings.total)]
    assert factors == [1e-3, pytest.approx(1e-3**0.5), 1.0, 1.0, 1.0, 1.0]


def test_a_chain_without_weight_is_drawn_anew():
    point = Point(
        *(torch.arange(4.0)[:, None].double(), torch.zeros(4, 1), torch.tensor([0, 0, 0, 9e9]).double(), UNIT)
    )
    moved, weights = reweigh(point._replace(gradient=point.z), torch.zeros(4).double(), 1.0, 0.5)
    assert torch.equal(weights, torch.tensor([0, 0, 0, -9e9]).double())  # three of four carry the weight: enough
    assert torch.equal(moved.z, point.z)
    heavy = point._replace(potential=torch.tensor([0, 9e9, 9e9, torch.inf]).double())
    moved, weights = reweigh(heavy, torch.zeros(4).double(), 1.0, 0.5)
    assert torch.equal(moved.z, torch.zeros(4, 1).double())
    assert not weights.any()
    with pytest.raises(UserError, match="refuses all 4 chains"):
        reweigh(heavy._replace(potential=torch.full((4,), torch.inf)), torch.zeros(4), 1.0, 0.5)


def test_bad_input_is_refused():
    target, scale, data = make_target("darcy", {"n": 8}, Task("t", 0.2, 0.2, noise_std=0.1))
    with pytest.raises(UserError, match="noise_std > 0"):
        Target(target.latent, MaskObservation(data.mask, data.values), scale)
    with pytest.raises(UserError, match="one instance, got data of 2"):
        Target(target.latent, data.subset([0, 0]), scale)
    with pytest.raises(UserError, match="level set"):
        Chains(target, ChainSettings("mala"), scale, key=())
    with pytest.raises(UserError, match="did you mean 'mala'"):
        ChainSettings("malla")
    with pytest.raises(UserError, match="chains = 1 must be"):
        ChainSettings(chains=1)
    with pytest.raises(UserError, match="beta = 0"):
        ChainSettings(beta=0.0)
    with pytest.raises(UserError, match="levels = 0 must be"):
        ChainSettings(levels=0)
    with pytest.raises(UserError, match=r"weakest = 1.0 must lie in \(0, 1\)"):
        ChainSettings(weakest=1.0)
    with pytest.raises(UserError, match="snapshots = 99"):
        ChainSettings(steps=20, snapshots=99)
    with pytest.raises(UserError, match="data: discrete"):
        make_pde("burgers", {"data": "continuous"}).latent_map()
    with pytest.raises(UserError, match="has no `state_factor`"):
        make_pde("mixture", {}).latent_map()
