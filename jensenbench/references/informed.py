"""Gaussian references that know in which directions of the noise the data inform, and how much."""

import torch
from torch import Tensor

from jensenbench.errors import UserError
from jensenbench.references.kernel import Reference
from jensenbench.references.target import Target

WORTH = 0.1  # eigenvalue of E[JᵀJ] above which a direction counts as informed: its variance falls by a tenth
LEAST_STD = 1e-3  # of a fitted direction, so that none is lost to chains that stood still


def informed(target: Target, states: Tensor) -> Reference:
    """N(mean of the states, (I + E[JᵀJ])⁻¹) along the directions that the data inform about, the prior along others.

    J is the Jacobian of the defects at noise ``states`` (b, k), of the smooth stand-in where the law has one. At the
    mode alone this would be the Laplace approximation; over states it is the global likelihood-informed subspace of
    `cui2016dimension`. States that the solver refuses are left out.
    """
    jacobians = [jacobian for row in states if (jacobian := _jacobian(target, row)) is not None]
    if not jacobians:
        raise UserError(
            f"the solver refused all {len(states)} states of the chains; this law has no reference posterior"
        )
    _, singular, directions = torch.linalg.svd(torch.cat(jacobians) / len(jacobians) ** 0.5, full_matrices=False)
    kept = singular.square() > WORTH
    directions, std = directions[kept].T.contiguous(), (1 + singular[kept].square()).rsqrt()
    return Reference(directions @ (directions.T @ states.mean(0)), directions, std)


def refitted(reference: Reference, mean: Tensor, covariance: Tensor) -> Reference:
    """The reference with mean (k,) and covariance (k, k) of samples along its directions."""
    inside = reference.directions.T @ covariance @ reference.directions
    values, vectors = torch.linalg.eigh((inside + inside.T) / 2)
    directions = reference.directions @ vectors
    return Reference(directions @ (directions.T @ mean), directions, values.clamp(min=LEAST_STD**2).sqrt())


def _jacobian(target: Target, z: Tensor) -> Tensor | None:
    try:
        return target.linearise(z)
    except UserError:
        return None
