"""The prior's own samplers: settings and unconditional distributions."""

import pytest
import torch

from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.errors import Diverged, UserError
from jensenbench.plugins.registry import load_method, make_pde, method_config
from jensenbench.priors.gaussian import GaussianPrior

PDE = make_pde("poisson", {"n": 6})
PRIOR = GaussianPrior.isotropic(PDE.shape, 0.5)
CODEC = Codec(PDE, shift=[0, 0], scale=[1, 1])
NOISE = [(row,) for row in range(50)]


def sample(name, variant, **overrides):
    method = load_method(name)
    config = method_config(method, variant, overrides)
    return method(config).sample(PRIOR, Problem(PDE, "unconditional", CODEC), KeyedNoise(NOISE))


@pytest.mark.parametrize(
    ("name", "variant", "overrides"),
    [
        ("edm", "heun", {"steps": 40}),
        ("edm", "churned", {"churn_inflation": 1}),
        ("ddpm", "ancestral", {"steps": 300}),
        ("ddpm", "published", {}),
    ],
)
def test_spread_is_that_of_the_prior(name, variant, overrides):
    x = sample(name, variant, **overrides)
    assert float(x.std()) == pytest.approx(0.5, rel=0.05)  # 4 standard errors of 3600 entries


def test_heun_is_the_exact_flow_in_the_limit():
    z = KeyedNoise(NOISE)(PDE.shape)
    exact = PRIOR.transport(80 * z / (80**2 + 0.25) ** 0.5, 0.0)
    assert torch.allclose(sample("edm", "heun", steps=200), exact, rtol=1e-3)


@pytest.mark.parametrize("name", ["edm", "ddpm"])
def test_observed_tasks_are_skipped_with_a_reason(name):
    empty = torch.zeros(1, *PDE.shape)
    problem = Problem(PDE, "forward", CODEC, observation=MaskObservation(empty.bool(), empty))
    assert load_method(name)().skip(problem) == "cannot use observations"


@pytest.mark.parametrize(
    ("name", "variant", "overrides", "named"),
    [
        ("edm", "heun", {"step": 20}, "did you mean 'steps'"),
        ("edm", "heun", {"steps": 0}, "steps = 0"),
        ("edm", "heun", {"sigma_min": 90.0}, "sigma_min = 90"),
        ("edm", "churned", {"churn": -1}, "churn = -1"),
        ("edm", "heum", {}, "did you mean 'heun'"),
        ("ddpm", "ancestral", {"schedule_steps": 10}, "schedule_steps = 10"),
        ("dps", "published", {"zeta": -1.0}, "zeta = -1"),
        ("dps", "corrected", {"zeta": float("nan")}, "zeta = nan"),
        ("dps", "inversebench", {"schedule": "pv"}, "did you mean 'vp'"),
        ("diffusionpde", "published", {"zeta_obs": [1.0, -2.0]}, "zeta_obs"),
        ("diffusionpde", "published", {"pde_normaliser": 0}, "normalisers"),
    ],
)
def test_bad_settings_are_refused(name, variant, overrides, named):
    with pytest.raises(UserError, match=named):
        method_config(load_method(name), variant, overrides)


def test_an_infinite_final_state_is_a_divergence():
    class Broken(load_method("edm")):
        def steps(self, prior, problem, noise):
            yield noise(prior.shape) * float("inf")

    with pytest.raises(Diverged, match="edm"):
        Broken().sample(PRIOR, Problem(PDE, "unconditional", CODEC), KeyedNoise(NOISE))
