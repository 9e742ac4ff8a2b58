"""Base class of scalar conservation laws u_t + F_x = 0 in finite volumes over space and time (weak-form residual)."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from scipy.special import ndtr
from torch import Tensor

from jensenbench.core.constraints import Constraint, Implicit
from jensenbench.core.pde import PDE, Axis, Field, Grid
from pdes._grf import draw_normals


class FiniteVolume(PDE):
    """u_t + F_x = 0 for x in [0, 1], t in [0, ``horizon``], in one channel u(t, x) on n × n nodes.

    The cell of an inner node is the interval of width h around it. The interior residual is the balance of a cell over
    a time step, divided by h·dt: a weak form, which shocks and fronts meet. The strong form has no meaning there.
    Part ``mass``: the balance of all cells together since t = 0; ``boundary``: what is prescribed at both ends.

    Each state has one latent parameter, which a state does not store; the residual and :meth:`solve` fit it to the
    state (:meth:`fitted`). ``discrete`` data are advanced by the scheme; ``continuous`` data are the entropy or weak
    solution in closed form.
    """

    order: ClassVar[int | None] = 1
    floor: ClassVar[float] = 1e-11
    latent = True
    transport: ClassVar[str]  # name of the term F_x

    def __init__(self, config: Any = None, *, horizon: float = 1.0):
        super().__init__(config)
        self.fields = (Field("u", "space_time"),)
        self.grid = Grid((Axis("t", self.config.n, horizon), Axis("x", self.config.n)))

    @property
    @abstractmethod
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Limits of the parameters, which are uniform between them; the last one is the latent parameter."""

    @abstractmethod
    def profile(self, parameters: Tensor) -> Tensor:
        """Rows (b, n) at t = 0 from parameters (b, k)."""

    @abstractmethod
    def closed_form(self, parameters: Tensor) -> Tensor:
        """Solutions (b, n, n) of the continuous equation from parameters (b, k)."""

    @abstractmethod
    def fitted(self, u: Tensor) -> Tensor:
        """Latent parameters (b,) of u (b, n, n), within their range; exact for what :meth:`march` returns."""

    @abstractmethod
    def fluxes(self, u: Tensor) -> Tensor:
        """F on the faces between nodes during each time step, (b, n-1, n-1), from u (b, n, n)."""

    @abstractmethod
    def march(self, row: Tensor, latent: Tensor) -> Tensor:
        """Solutions (b, n, n) of the discrete equation from rows (b, n) and latent parameters (b,)."""

    @abstractmethod
    def boundary(self, u: Tensor) -> Tensor:
        """(b, m) departure of u (b, n, n) from what is prescribed at both ends for t > 0."""

    def parameters(self, indices: Sequence[int], *, seed: int) -> Tensor:
        """(b, k) random parameters, uniform in :attr:`ranges`."""
        share = torch.from_numpy(ndtr(draw_normals(indices, (len(self.ranges),), seed=seed)))
        low, high = torch.tensor(self.ranges, dtype=torch.float64).T
        return low + (high - low) * share

    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        state = torch.zeros(len(indices), *self.shape, dtype=torch.float64)
        state[:, 0, 0] = self.profile(self.parameters(indices, seed=seed))
        return state

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        drawn = self.parameters(indices, seed=seed)
        discrete = self.data == "discrete"
        return (self.march(self.profile(drawn), drawn[:, -1]) if discrete else self.closed_form(drawn))[:, None]

    def solve(self, state: Tensor) -> Tensor:
        u = state[:, 0].double()
        later = self.march(u[:, 0], self.fitted(u))[:, None, 1:].to(state)
        return torch.cat([state[:, :, :1], later], 2)

    def _resimulated(self, state: Tensor, indices: Sequence[int], seed: int) -> Tensor:
        """The last parameter is drawn anew: the first row does not determine it."""
        return self.march(state[:, 0, 0], self.parameters(indices, seed=seed)[:, -1])[:, None]

    def terms(self, state: Tensor) -> dict[str, Tensor]:
        u, (dt, dx) = state[:, 0], self.grid.spacings
        return {"u_t": u[..., 1:-1].diff(dim=1) / dt, self.transport: self.fluxes(u).diff(dim=2) / dx}

    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        return {"mass": self.mass(state), "boundary": self.boundary(state[:, 0])}

    def mass(self, state: Tensor) -> Tensor:
        """(b, n-1) growth of the mass in all cells since t = 0, minus the inflow: 0 for discrete solutions."""
        u, (dt, dx) = state[:, 0], self.grid.spacings
        mass, flux = dx * u[..., 1:-1].sum(2), self.fluxes(u)
        return mass[:, 1:] - mass[:, :1] + dt * (flux[..., -1] - flux[..., 0]).cumsum(1)

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        """The mass balance, which continuous data meet only up to the error of its quadrature."""
        return (Implicit("mass", self.mass),) if self.data == "discrete" else ()

    def affine(self) -> bool:
        return False
