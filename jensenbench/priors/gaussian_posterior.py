"""Exact posterior of a Gaussian prior given linear observations, noisy or noise-free."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from jensenbench.core.noise import Noise
from jensenbench.core.observations import LinearObservation, MaskObservation
from jensenbench.core.problem import Problem
from jensenbench.errors import UserError

RANK_TOLERANCE = 1e-12  # observed combinations weaker than this share of the strongest carry no information


@dataclass(frozen=True)
class _Conditioner:
    """SVD of the observation operator on the whitened latent, shared by batch elements with equal masks."""

    offset: Tensor  # (m,) operator on the mean, in units of ``unit``
    unit: Tensor  # (m,) physical unit of each datum
    entries: Tensor | None  # (m,) flat indices of the observed entries of a mask
    gain: Tensor  # (k, m) data to latent mean
    seen: Tensor  # (k, q) latent directions that the data inform about
    shrink: Tensor  # (q,) posterior standard deviation of the latent along them


class GaussianPosterior:
    """Posterior of physical fields = decode(mean + F z), z ~ N(0, I), given linear data of each batch element.

    ``mean`` and ``std`` are (b, C, *grid) in physical units, float64. Noise-free data (noise_std = 0)
    are met exactly; without an observation the posterior is the prior, with batch size one.
    """

    note: str = ""

    def __init__(self, problem: Problem, mean: Tensor, factor: Tensor):
        self._shape, self._problem = tuple(mean.shape), problem
        self._centre = problem.decode(mean[None]).flatten()
        columns = factor.T.reshape(-1, *self._shape)
        self._factor = (problem.decode(mean + columns).flatten(1) - self._centre).T.contiguous()
        self._known: dict[str, _Conditioner] = {}
        self._conditioned = [self._condition(index) for index in range(self._batch())]

    @property
    def mean(self) -> Tensor:
        """Posterior mean of the fields."""
        return self._fields(torch.stack([latent for _, latent in self._conditioned]))

    @property
    def std(self) -> Tensor:
        """Posterior standard deviation of every entry of the fields."""
        prior = self._factor.square().sum(1)
        known: dict[int, Tensor] = {}
        for conditioner, _ in self._conditioned:
            if id(conditioner) not in known:
                lost = (self._factor @ conditioner.seen).square() @ (1 - conditioner.shrink.square())
                known[id(conditioner)] = (prior - lost).clamp(min=0).sqrt().reshape(self._shape)
        return torch.stack([known[id(conditioner)] for conditioner, _ in self._conditioned])

    def sample(self, noise: Noise) -> Tensor:
        """One exact draw per batch element, (b, C, *grid) in physical units."""
        latents = noise((self._factor.shape[1],)).double()
        for i, (conditioner, mean) in enumerate(self._conditioned):
            along = conditioner.seen.T @ latents[i]
            latents[i] += mean + conditioner.seen @ ((conditioner.shrink - 1) * along)
        return self._fields(latents)

    def _batch(self) -> int:
        data = self._problem.observation
        return 1 if data is None else len(data.values)

    def _fields(self, latents: Tensor) -> Tensor:
        return (self._centre + latents @ self._factor.T).reshape(-1, *self._shape)

    def _condition(self, index: int) -> tuple[_Conditioner, Tensor]:
        """Conditioner of a batch element, and its posterior mean in the latent."""
        data = self._problem.observation
        key = _mask_key(data.mask[index]) if isinstance(data, MaskObservation) else ""
        if key not in self._known:
            self._known[key] = self._build(index)
        shared = self._known[key]
        if data is None:
            return shared, torch.zeros(self._factor.shape[1], dtype=torch.float64)
        values = data.values[index].double().flatten()
        values = values if shared.entries is None else values[shared.entries]
        return shared, shared.gain @ (values / shared.unit - shared.offset)

    def _build(self, index: int) -> _Conditioner:
        data, scale = self._problem.observation, self._problem.scale.double()
        unit = scale.repeat_interleave(len(self._centre) // len(scale))
        noise_std, entries = 0.0 if data is None else data.noise_std, None
        if isinstance(data, MaskObservation):
            entries = data.mask[index].flatten().nonzero().flatten()
            unit, operator, offset = unit[entries], self._factor[entries], self._centre[entries]
        elif isinstance(data, LinearObservation):
            # The unit of a datum is the std that noise of one field std in every entry gives it.
            matrix = data.matrix.double()
            unit = (matrix.square() @ unit.square()).sqrt()
            operator, offset = matrix @ self._factor, matrix @ self._centre
        elif data is None:
            unit, operator, offset = unit[:0], self._factor[:0], self._centre[:0]
        else:
            raise UserError(f"no exact posterior for observations of type {type(data).__name__}: they are not linear")
        gain, seen, shrink = whitened_update(operator / unit[:, None], noise_std)
        return _Conditioner(offset / unit, unit, entries, gain, seen, shrink)


def whitened_update(operator: Tensor, noise_std: float) -> tuple[Tensor, Tensor, Tensor]:
    """Posterior of z ~ N(0, I_k) given operator (m, k) z + noise_std*eps.

    Returns the gain (k, m), the informed directions Q (k, q) and the posterior std along them (q,), so
    that mean = gain @ data and covariance = I - Q diag(1 - std²) Qᵀ.
    """
    left, singular, right = torch.linalg.svd(operator, full_matrices=False)
    keep = singular > RANK_TOLERANCE * singular.max() if len(singular) else singular > 0
    left, singular, right = left[:, keep], singular[keep], right[keep]
    total = singular.square() + noise_std**2
    gain = (right.T * (singular / total)) @ left.T
    return gain, right.T.contiguous(), noise_std / total.sqrt() if noise_std else torch.zeros_like(singular)


def _mask_key(mask: Tensor) -> str:
    return hashlib.sha256(mask.cpu().numpy().tobytes()).hexdigest()
