"""The exact toy priors reproduce recorded values, transposed Jacobians, velocities and scores."""

import pytest
import torch
from torch import Tensor

from tests.support.golden import Fixture, toy_prior

FIXTURE = "toy_denoisers"


def evaluate(fixture: Fixture, case: str, which: str) -> tuple[Tensor, Tensor]:
    prior, x = toy_prior(fixture, which), fixture[f"{case}/x"].requires_grad_()
    if case == "score":
        return x, prior.score(x, fixture["score/m"], fixture["score/var"])
    return x, prior(x, fixture["D/sigma"]) if case == "D" else prior.velocity(x, fixture["v/t"])


@pytest.mark.parametrize("which", ["A", "B"])
@pytest.mark.parametrize("case", ["D", "v", "score"])
def test_values_and_transposed_jacobians(case, which):
    fixture = Fixture(FIXTURE)
    x, value = evaluate(fixture, case, which)
    fixture.assert_close(f"{case}/{which}_value", value)
    if f"{case}/{which}_vjp" in fixture:
        (gradient,) = torch.autograd.grad(value, x, fixture[f"{case}/cotangent"])
        fixture.assert_close(f"{case}/{which}_vjp", gradient)
