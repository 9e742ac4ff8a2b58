"""Jensen gap of two-dimensional toy problems (points near the unit circle): curves, pictures, biases and bounds."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jensenbench.core.codec import Codec
from jensenbench.core.pde import PDE
from jensenbench.jensen.bounds import regularised_optimum, theorem_one
from jensenbench.jensen.curves import SPOT_CLEAN, Subject, check_rows, empirical_rows, prior_rows
from jensenbench.jensen.estimate import Row
from jensenbench.jensen.estimators.analytic import posterior
from jensenbench.jensen.estimators.monte_carlo import posterior_draws
from jensenbench.jensen.settings import JensenSettings
from jensenbench.priors.mixture import MixturePrior

SETTINGS = JensenSettings(
    levels=12, lowest=0.02, highest=5.0, states=64, probed_states=64, drawn_states=64, draws=32, every=2, probes=32,
    steps=40, directions=2,
)  # fmt: skip
STATES = 4000
SHOWN_SIGMA, SHOWN_DRAWS = 0.7, 200
WEIGHTS = (0.1, 1.0)  # of the residual term of a regularised loss
NOISES = (0.05, 0.2, 1.0)  # std of an observed coordinate


@dataclass(frozen=True)
class Picture:
    """One noisy point (2,), draws (K, 2) of its posterior, their exact mean (2,), and the residual at that mean."""

    noisy: Tensor
    draws: Tensor
    mean: Tensor
    residual: float


def subject(pde: PDE) -> Subject:
    """A toy problem in its own coordinates, residuals in units of 1."""
    codec = Codec(pde, shift=[0.0, 0.0], scale=[1.0, 1.0])
    train, clean = (pde.generate(range(first, first + n), seed=0) for first, n in ((0, STATES), (SPOT_CLEAN, 64)))
    return Subject(pde, codec, 1.0, train, clean)


def curves(pde: PDE) -> list[Row]:
    """Rows of every estimator that applies to a toy problem."""
    toy = subject(pde)
    if pde.exact_prior() != "mixture":
        fewer = replace(SETTINGS, drawn_states=24, draws=16)  # draws from an empirical prior of many states cost more
        return [*empirical_rows(toy, SETTINGS), *check_rows(toy, fewer)]
    prior = MixturePrior.of_pde(pde, toy.codec)
    return [*empirical_rows(toy, SETTINGS), *prior_rows(toy, SETTINGS, prior)]


def picture(pde: PDE) -> Picture:
    """A point between two components of the mixture, with its posterior."""
    toy = subject(pde)
    prior = MixturePrior.of_pde(pde, toy.codec)
    means = prior.means.flatten(1)
    noisy = (0.55 * (means[0] + means[1])).reshape(1, 2, 1)
    mean = prior(noisy, SHOWN_SIGMA)
    draws = posterior_draws(prior, noisy, SHOWN_SIGMA, [("toy", "picture")], draws=SHOWN_DRAWS, steps=60)
    return Picture(noisy.flatten(), draws.flatten(0, 1).flatten(1), mean.flatten(), float(toy.residual(mean)))


def biases(pde: PDE) -> list[Row]:
    """rms distance of the regularised optimum from E[x0|x_t], and its residual, by level and weight."""
    toy, rows = subject(pde), []
    prior = MixturePrior.of_pde(pde, toy.codec)
    for sigma in SETTINGS.sigmas():
        mean = prior(toy.noisy(sigma, SETTINGS), sigma)
        for weight in WEIGHTS:
            optimum = regularised_optimum(toy.residual, mean, weight)
            moved = (optimum - mean).flatten(1).square().sum(1).mean().sqrt()
            first = weight * _residual_gradient(toy, mean).flatten(1).square().sum(1).mean().sqrt()
            rows.append({"sigma": sigma, "weight": weight, "bias": float(moved), "first_order": float(first)})
    return rows


def bounds(pde: PDE) -> list[Row]:
    """Largest ratio over all levels of the likelihood's gap to its two bounds, by noise of the first coordinate."""
    toy, rows = subject(pde), []
    prior = MixturePrior.of_pde(pde, toy.codec)
    settings = replace(SETTINGS, states=32)
    for std in NOISES:
        found = []
        for sigma in settings.sigmas():
            at = posterior(prior, toy.noisy(sigma, settings), sigma)
            values = toy.codec.encode(toy.clean[: settings.states])[:, 0]
            found.append(theorem_one(at, lambda x: x[:, 0], values, std))
        ratios = {
            name: max(float((one.gap / getattr(one, name)).max()) for one in found) for name in ("printed", "lipschitz")
        }
        rows.append({"noise": std, **ratios})
    return rows


def _residual_gradient(toy: Subject, x: Tensor) -> Tensor:
    """(∇R)ᵀ R (b, C, *grid) at states x."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(toy.residual(leaf).square().sum() / 2, leaf)[0]
