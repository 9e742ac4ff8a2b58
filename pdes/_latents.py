"""White noise behind the coefficient laws: the coordinates in which reference posteriors are sampled."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from jensenbench.core.pde import PDE
from jensenbench.errors import UserError
from jensenbench.posteriors.latent import Latent
from pdes._grf import grf_coefficients, grf_field, periodic_profile
from pdes.burgers import Burgers
from pdes.darcy import Darcy
from pdes.darcy_corner import DarcyCorner

SILENT = 1e-12  # share of the largest direction's norm below which a direction of the noise changes no field
WIDTH = 0.5  # of the smooth step that stands for a level set, in units of the Gaussian field's std


def latent_of(pde: PDE) -> Latent:
    """The noise behind the states of a PDE with ``discrete`` data; directions that change nothing are left out."""
    if pde.data != "discrete":
        raise UserError(
            f"{pde.label}: its {pde.data} data are not what its solver makes of their coefficient; use data: discrete"
        )
    if isinstance(pde, Darcy):
        return _darcy(pde)
    if isinstance(pde, DarcyCorner) and pde.config.law == "pidm":
        modes = torch.from_numpy(pde.expansion.field(np.eye(pde.config.modes)))
        return Latent(modes.flatten(1), _coefficients(pde, torch.exp), pde.solve)
    if isinstance(pde, Burgers):
        return Latent(_heard(_profiles(pde.config.n)), _first_rows(pde), pde.solve)
    states = pde.state_factor()
    return Latent(_heard(states.flatten(1)), lambda flat: flat.reshape(-1, *pde.shape), pde.solve)


def _darcy(pde: Darcy) -> Latent:
    n = pde.config.n
    noise = np.eye(n * n).reshape(-1, n, n)
    factor = _heard(torch.from_numpy(grf_field(grf_coefficients(noise, alpha=2.0, tau=3.0))).flatten(1))
    if pde.config.law == "lognormal":
        return Latent(factor, _coefficients(pde, pde.coefficient), pde.solve)
    width = WIDTH * float(factor.square().sum(0).mean().sqrt())

    def softened(field: Tensor) -> Tensor:
        return pde.config.low + (pde.config.high - pde.config.low) * torch.sigmoid(field / width)

    return Latent(factor, _coefficients(pde, pde.coefficient), pde.solve, _coefficients(pde, softened))


def _coefficients(pde: PDE, law: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Flat Gaussian fields to states (coefficient, zeros)."""

    def unsolved(flat: Tensor) -> Tensor:
        a = law(flat.reshape(-1, *pde.grid.shape))
        return torch.stack([a, torch.zeros_like(a)], 1)

    return unsolved


def _first_rows(pde: PDE) -> Callable[[Tensor], Tensor]:
    """Profiles to space-time states that hold them in their row t = 0."""

    def unsolved(profiles: Tensor) -> Tensor:
        later = profiles.new_zeros(len(profiles), pde.grid.shape[0] - 1, profiles.shape[-1])
        return torch.cat([profiles[:, None], later], 1)[:, None]

    return unsolved


def _profiles(n: int) -> Tensor:
    """(2 (n // 2), n) profiles of unit amplitudes: cosines, then sines."""
    modes = n // 2
    noise = np.eye(2 * modes)
    return torch.from_numpy(periodic_profile(noise[:, :modes], noise[:, modes:], np.arange(n) / n))


def _heard(factor: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(factor, dim=1)
    return factor[norms > SILENT * norms.max()].contiguous()
