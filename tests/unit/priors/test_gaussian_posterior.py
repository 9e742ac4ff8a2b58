"""The Gaussian posterior against brute-force conditioning of the full covariance."""

import pytest
import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.noise import KeyedNoise
from jensenbench.core.observations import LinearObservation, MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.core.tasks import Task
from jensenbench.plugins.registry import make_pde
from jensenbench.priors.gaussian import GaussianPrior

N = 6
PDE = make_pde("poisson", {"n": N})
SIZE = 2 * N * N
DATA = PDE.generate(range(300), seed=0)
SCALE = DATA.transpose(0, 1).flatten(1).std(1)
CODEC = Codec.fit(PDE, DATA, power=1)
PRIOR = GaussianPrior.of_pde(PDE, CODEC)


def make_problem(observation: MaskObservation | LinearObservation | None) -> Problem:
    return Problem(PDE, "t", CODEC, observation=observation, scale=SCALE)


def observe(task: Task, count: int = 2) -> MaskObservation:
    rows = [task.observe(DATA[i], PDE, SCALE, seed=0, index=i) for i in range(count)]
    return MaskObservation(torch.cat([r.mask for r in rows]), torch.cat([r.values for r in rows]), task.noise_std)


def physical_law() -> tuple[Tensor, Tensor]:
    """Mean and covariance of the flattened fields, by pushing unit vectors of the state through the codec."""
    mean = CODEC.decode(PRIOR.mean[None]).flatten()
    columns = CODEC.decode(PRIOR.mean + PRIOR.factor().T.reshape(-1, *PDE.shape)).flatten(1) - mean
    return mean, columns.T @ columns


def condition(operator: Tensor, values: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance given operator @ fields + noise, by the textbook formula with a pseudo-inverse."""
    mean, covariance = physical_law()
    total = operator @ covariance @ operator.T + noise.square().diag()
    unit = torch.where(total.diag() > 0, total.diag().sqrt(), torch.ones_like(noise))
    inverse = torch.linalg.pinv(total / unit[:, None] / unit, rtol=1e-11, hermitian=True) / unit[:, None] / unit
    gain = covariance @ operator.T @ inverse
    return mean + gain @ (values - operator @ mean), covariance - gain @ operator @ covariance


@pytest.mark.parametrize("noise_std", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("task", ["sparse", "forward", "inverse"])
def test_masks(task, noise_std):
    shares = {"sparse": (0.2, 0.2), "forward": (1.0, 0.0), "inverse": (0.0, 1.0)}[task]
    data = observe(Task("t", *shares, noise_std=noise_std))
    posterior = PRIOR.posterior(make_problem(data))
    units = SCALE.repeat_interleave(N * N)
    for i in range(2):
        entries = data.mask[i].flatten().nonzero().flatten()
        operator = torch.eye(SIZE, dtype=torch.float64)[entries]
        mean, covariance = condition(operator, data.values[i].flatten()[entries], noise_std * units[entries])
        assert torch.allclose(posterior.mean[i].flatten() / units, mean / units, atol=1e-5)
        std = covariance.diag().clamp(min=0).sqrt()
        assert torch.allclose(posterior.std[i].flatten() / units, std / units, atol=1e-4)


def test_dense_operator_with_noise():
    matrix = torch.randn(5, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    posterior = PRIOR.posterior(make_problem(LinearObservation(matrix, DATA[:2].flatten(1) @ matrix.T, 0.1)))
    units = SCALE.repeat_interleave(N * N)
    noise = 0.1 * (matrix * units).square().sum(1).sqrt()
    mean, covariance = condition(matrix, DATA[0].flatten() @ matrix.T, noise)
    assert torch.allclose(posterior.mean[0].flatten() / units, mean / units, atol=1e-8)
    assert torch.allclose(posterior.std[0].flatten() / units, covariance.diag().sqrt() / units, atol=1e-6)


def test_draws_have_the_posterior_mean_and_covariance():
    data = observe(Task("t", 0.2, 0.2, noise_std=0.1), 1)
    many = make_problem(data).subset([0] * 4000)
    posterior = PRIOR.posterior(many)
    draws = posterior.sample(KeyedNoise([(i,) for i in range(4000)]))
    spread = posterior.std[0] + 1e-3 * SCALE[:, None, None]
    assert float(((draws.mean(0) - posterior.mean[0]) / spread).abs().max()) < 5 / 4000**0.5
    assert torch.allclose(draws.std(0) / spread, posterior.std[0] / spread, atol=0.08)


def test_draws_meet_exact_data_and_the_equation():
    data = observe(Task("t", 0.3, 0.3))
    draws = PRIOR.posterior(make_problem(data)).sample(KeyedNoise([(0,), (1,)]))
    misfit = (draws - data.values)[data.mask].abs().max()
    assert float(misfit) < 1e-7
    assert float(PDE.residual(draws)["interior"].abs().max()) < 1e-9


def test_without_data_the_posterior_is_the_prior():
    posterior = PRIOR.posterior(make_problem(None))
    mean, covariance = physical_law()
    assert torch.allclose(posterior.mean[0].flatten(), mean)
    assert torch.allclose(posterior.std[0].flatten(), covariance.diag().clamp(min=0).sqrt())
