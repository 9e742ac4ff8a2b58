"""Base class of degenerate diffusion u_t = Φ(u)_xx with a free front, backward Euler in finite volumes."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from jensenbench.core.constraints import Constraint, FixedEntries
from jensenbench.errors import UserError
from pdes._finite_volume import FiniteVolume
from pdes._tridiagonal import solve_cyclic

NEWTON_STEPS = 50
NEWTON_TOLERANCE = 1e-9  # of the last correction: the error left is its square


class NonlinearDiffusion(FiniteVolume):
    """u_t = Φ(u)_xx, Φ' >= 0, on [0, 1] with u = 0 at t = 0 and at x = 1, and an inflow value at x = 0.

    Where Φ' = 0 nothing diffuses: a front of finite speed separates u > 0 from u = 0. The scheme is implicit, monotone
    and conservative, so that it finds the front without tracking it.
    """

    transport: ClassVar[str] = "diffusion"

    @abstractmethod
    def potential(self, u: Tensor, latent: Tensor) -> Tensor:
        """Φ(u) from u (b, ...) and latent parameters that broadcast against it."""

    @abstractmethod
    def slope(self, u: Tensor, latent: Tensor) -> Tensor:
        """Φ'(u)."""

    @abstractmethod
    def inflow(self, latent: Tensor) -> Tensor:
        """(b, n-1) values at x = 0 at all times after t = 0, from latent parameters (b,)."""

    def truncation_floor(self) -> float:
        """Of the order of the terms themselves on every grid, since the front lies between nodes."""
        return 1.5

    def fluxes(self, u: Tensor) -> Tensor:
        return -self.potential(u[:, 1:], self.fitted(u)[:, None, None]).diff(dim=2) / self.grid.spacings[1]

    def boundary(self, u: Tensor) -> Tensor:
        return torch.cat([u[:, 1:, 0] - self.inflow(self.fitted(u)), u[:, 1:, -1]], 1)

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        """``mass``, ``boundary``, and ``initial``: u at t = 0 without the inflow node, which must vanish."""
        return {**super().conditions(state), "initial": state[:, 0, 0, 1:]}

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        mask = torch.zeros(1, *self.shape, dtype=torch.bool)
        mask[:, :, 0, 1:] = mask[..., -1] = True
        return (*super().constraints(state), FixedEntries("dry", mask, state.new_zeros(())))

    def march(self, row: Tensor, latent: Tensor) -> Tensor:
        rows, inflow = [row], self.inflow(latent)
        for value in inflow.split(1, dim=1):
            rows.append(self._advance(rows[-1], value, latent[:, None]))
        return torch.stack(rows, 1)

    def _advance(self, before: Tensor, inflow: Tensor, latent: Tensor) -> Tensor:
        """The next row after ``before`` (b, n), with inflow (b, 1) at x = 0, by Newton's method."""
        (dt, dx), wrong = self.grid.spacings, torch.ones(len(before), dtype=torch.bool, device=before.device)
        u = torch.cat([inflow, before[:, 1:-1], torch.zeros_like(inflow)], 1)
        for _ in range(NEWTON_STEPS):
            phi, slope = self.potential(u, latent), dt / dx**2 * self.slope(u, latent)
            defect = u[:, 1:-1] - before[:, 1:-1] - dt / dx**2 * phi.diff(n=2, dim=1)
            inner = torch.nn.functional.pad(slope[:, 1:-1], (1, 1))  # the ends do not change
            change = solve_cyclic(-inner[:, :-2], 1 + 2 * inner[:, 1:-1], -inner[:, 2:], defect)
            u = torch.cat([u[:, :1], u[:, 1:-1] - change, u[:, -1:]], 1)
            wrong = ~(change.abs().amax(1) <= NEWTON_TOLERANCE * (1 + u.abs().amax(1)))
            if not wrong.any():
                return u
        row = int(wrong.nonzero()[0])
        raise UserError(
            f"{self.name}: Newton's method did not converge for sample {row} (largest |u| = "
            f"{float(before[row].abs().max()):.3g}, n = {self.config.n}); use a finer grid or drop the sample"
        )
