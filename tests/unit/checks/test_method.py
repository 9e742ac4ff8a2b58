"""The conformance check of methods notices each kind of misbehaviour."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from jensenbench.checks.method import LAWS, check_method
from jensenbench.checks.method_bench import MethodCase
from jensenbench.core.method import Capabilities, Method


@dataclass(frozen=True)
class Settings:
    zeta: float = 1.0


class Sound(Method):
    """Denoises one latent; pulls towards the data."""

    name = "sound"
    Config = Settings
    variants = {"only": Settings()}
    capabilities = Capabilities()

    def sample(self, prior, problem, noise, *, fitted=None):
        with torch.no_grad():
            x = prior(80 * noise(prior.shape), 80.0)
            return x if problem.observation is None else x - 1e-3 * problem.encode(problem.misfit(x))


class GlobalRandom(Sound):
    def sample(self, prior, problem, noise, **options):
        return super().sample(prior, problem, noise) + 0 * torch.rand(())


class GlobalNumpy(Sound):
    def sample(self, prior, problem, noise, **options):
        return super().sample(prior, problem, noise) + 0 * float(np.random.rand())  # noqa: NPY002


class Unrepeatable(Sound):
    calls = 0

    def sample(self, prior, problem, noise, **options):
        type(self).calls += 1
        return super().sample(prior, problem, noise) + self.calls


class Coupled(Sound):
    def sample(self, prior, problem, noise, **options):
        x = super().sample(prior, problem, noise)
        return x + x.mean()


class FalselyCoupled(Sound):
    capabilities = Capabilities(couples_batch=True)


class Blind(Sound):
    def sample(self, prior, problem, noise, **options):
        return prior(80 * noise(prior.shape), 80.0).detach()


class Destructive(Sound):
    def sample(self, prior, problem, noise, **options):
        x = super().sample(prior, problem, noise)
        if problem.observation is not None:
            problem.observation.values.zero_()
        return x


class Trainer(Sound):
    def sample(self, prior, problem, noise, **options):
        prior(noise(prior.shape), 1.0).square().sum().backward() if prior.module is not None else None
        return super().sample(prior, problem, noise)


class Attached(Sound):
    def sample(self, prior, problem, noise, **options):
        return super().sample(prior, problem, noise).requires_grad_()


class Failing(Sound):
    def sample(self, prior, problem, noise, **options):
        raise ZeroDivisionError("sigma = 0")


class Single(Sound):
    def sample(self, prior, problem, noise, **options):
        return super().sample(prior, problem, noise).float()


class Unmetered(Sound):
    def sample(self, prior, problem, noise, **options):
        return super().sample(prior._prior, problem, noise)


class NotExact(Sound):
    capabilities = Capabilities(exact_observations=True)


class NotSolved(Sound):
    capabilities = Capabilities(exact_residual=True)

    def sample(self, prior, problem, noise, **options):
        x = super().sample(prior, problem, noise)
        return x + noise(prior.shape)


class NotDeterministic(NotSolved):
    capabilities = Capabilities(deterministic=True)


class NotReducing(Sound):
    reduces_to = "edm"


class Refusing(Sound):
    def skip(self, problem):
        return ""


FAULTS = {  # law of the check, name of its finding
    GlobalRandom: ("global generators", "global generators"),
    GlobalNumpy: ("global generators", "global generators"),
    Unrepeatable: ("same keys, same bytes", "same keys, same bytes"),
    Coupled: ("rows alone", "rows alone"),
    FalselyCoupled: ("rows alone", "rows alone"),
    Blind: ("observations", "observations"),
    Destructive: ("observations", "observations"),
    Trainer: ("network's parameters", "network's parameters"),
    Attached: ("form", "form"),
    Failing: ("form", "form"),
    Single: ("form", "form"),
    Unmetered: ("budget", "budget"),
    NotExact: ("claims", "exact observations"),
    NotSolved: ("claims", "exact residual"),
    NotDeterministic: ("claims", "deterministic"),
    NotReducing: ("reductions", "reduces to edm"),
    Refusing: ("tasks", "tasks"),
}


def failing(checks):
    return [check.name.removeprefix("only: ") for check in checks if not check.passed]


def test_sound_method_passes():
    report = check_method(Sound)
    assert report.passed, str(report)
    names = [check.name for check in report.checks]
    assert names == ["tasks", *(f"only: {law}" for law in LAWS if law not in ("tasks", "fit", "claims", "reductions"))]


@pytest.mark.parametrize(("method", "law", "name"), [(method, *names) for method, names in FAULTS.items()])
def test_fault_is_noticed(method, law, name):
    assert name in failing(LAWS[law](MethodCase(method)))
