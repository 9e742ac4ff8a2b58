"""Likelihood-informed subspace: Gaussian references of proposals from the Jacobian of the data, and their refit."""

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.posteriors.kernel import Reference
from jensenbench.posteriors.target import Target

WORTH = 0.1  # eigenvalue of E[JᵀJ] above which a direction counts as informed: its variance falls by a tenth
LEAST_STD = 1e-3  # of a fitted direction, so that none is lost where chains did not move


def informed(target: Target, states: Tensor, factors: Tensor) -> Reference:
    """N(mean of the states, (I + f E[JᵀJ])⁻¹) along the directions that the data inform about, the prior along others.

    f is the factor of the data potential and J the Jacobian of the misfit, in units of the noise of the data, at the
    states of level 0; a level set is replaced by its smooth surrogate. At the mode alone this would be the Laplace
    approximation; over states it is the global likelihood-informed subspace of `cui2016dimension`. States that the
    solver refuses are left out; raises UserError where it refuses all.

    Args:
        target: the posterior.
        states: noise (chains, L, k) of all levels.
        factors: (L,) of the data potential.
    """
    jacobians = [jacobian for z in states[:, 0] if (jacobian := _jacobian(target, z)) is not None]
    if not jacobians:
        raise UserError(
            f"the solver refused all {len(states)} states of the chains; this PDE has no reference posterior"
        )
    _, singular, directions = torch.linalg.svd(torch.cat(jacobians) / len(jacobians) ** 0.5, full_matrices=False)
    kept = singular.square() > WORTH
    directions, std = directions[kept].T.contiguous(), (1 + factors[:, None] * singular[kept].square()).rsqrt()
    return Reference(states.mean(0) @ directions @ directions.T, directions, std)


def refitted(reference: Reference, mean: Tensor, covariance: Tensor) -> Reference:
    """The reference with means (L, k) and covariances (L, k, k) of samples along its directions.

    The directions become the principal ones of level 0; of other levels only the variances along them are used.
    """
    inside = reference.directions.T @ covariance @ reference.directions
    vectors = torch.linalg.eigh((inside[0] + inside[0].T) / 2)[1]
    directions = reference.directions @ vectors
    variances = (vectors.T @ inside @ vectors).diagonal(dim1=1, dim2=2)
    return Reference(mean @ directions @ directions.T, directions, variances.clamp(min=LEAST_STD**2).sqrt())


def _jacobian(target: Target, z: Tensor) -> Tensor | None:
    try:
        return target.linearise(z)
    except UserError:
        return None
