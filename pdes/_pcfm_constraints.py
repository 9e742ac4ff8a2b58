"""Hard constraints of PCFM as its public code states them: initial values, boundary values, balances of mass.

Source: arXiv 2506.04171, repository cpfpengfei/PCFM at eb9266c, ``pcfm/constraints.py``. Fields are (b, *points,
times), residuals (b, m). The states of its own data do not meet all of them: the quadrature of a flux in time is not
that of the scheme that made the data, and it weighs the end points differently.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import pad

from jensenbench.core.constraints import Implicit
from jensenbench.core.pde import PDE
from jensenbench.errors import UnknownName


@dataclass(frozen=True)
class Balances:
    """Parameters of the published constraints.

    Attributes:
        initial: (*points, times) field whose values at t = 0 are prescribed.
        spacings: grid spacings of the points.
        dt: time step.
        rho, nu: reaction rate and diffusivity of the reaction-diffusion problem; published: 0.01 and 0.005.
        left: prescribed value at the left end of Burgers' equation.
        start: index of the first time at which boundary values are prescribed.
        steps: number of Godunov steps that are prescribed, from t = 0.
    """

    initial: Tensor
    spacings: tuple[float, ...]
    dt: float
    rho: float = 0.01
    nu: float = 0.005
    left: float = 0.0
    start: int = 1
    steps: int = 5

    def constraint(self, name: str) -> Implicit:
        """The published constraint ``name``, a key of `PARTS`, on fields (b, 1, *points, times)."""
        if name not in PARTS:
            raise UnknownName("published constraint", name, PARTS)
        parts = PARTS[name]
        return Implicit(name, lambda fields: torch.cat([part(self, fields[:, 0]) for part in parts], 1))

    def initial_values(self, u: Tensor) -> Tensor:
        """u(0) minus the prescribed initial values."""
        return (u[..., 0] - self.initial[..., 0].to(u)).flatten(1)

    def mass(self, u: Tensor) -> Tensor:
        """(b, times): the sum over the points times the cell volume."""
        return u.flatten(1, -2).sum(1) * prod(self.spacings)

    def mass_change(self, u: Tensor) -> Tensor:
        """Mass minus its value at t = 0, at all later times; zero where mass is a conserved quantity."""
        return _change(self.mass(u))[:, 1:]

    def reacting_mass(self, u: Tensor) -> Tensor:
        """Mass minus its value at t = 0, the integrated reaction rho u (1 - u) and the diffusive inflow, all times."""
        (dx,) = self.spacings
        reaction = self.rho * self.mass(u * (1 - u))
        flux = -self.nu * (_slope(u, dx) + _slope(u.flip(1), dx))
        return _change(self.mass(u)) - self._integral(reaction + flux)

    def convected_mass(self, u: Tensor) -> Tensor:
        """Mass minus its value at t = 0, plus the time integral of the outflow u²/2 at both ends, all times."""
        outflow = (u[:, -1].square() - u[:, 0].square()) / 2
        return _change(self.mass(u)) + self._integral(outflow)

    def ends(self, u: Tensor) -> Tensor:
        """Departures from the prescribed left value and from a zero gradient on the right."""
        later = u[..., self.start :]
        return torch.cat([later[:, 0] - self.left, later[:, -1] - later[:, -2]], 1)

    def first_steps(self, u: Tensor) -> Tensor:
        """Defects of the first Godunov steps of the inviscid Burgers equation at the inner points."""
        (dx,) = self.spacings
        flux = published_flux(u[:, :-1], u[:, 1:])
        step = u[:, 1:-1, 1:] - u[:, 1:-1, :-1] + self.dt / dx * flux.diff(dim=1)[..., :-1]
        return step[..., : self.steps].transpose(1, 2).flatten(1)

    def _integral(self, rate: Tensor) -> Tensor:
        """Cumulative trapezoidal integral in time, 0 at t = 0."""
        steps = (rate[:, 1:] + rate[:, :-1]) / 2 * self.dt
        return pad(steps.cumsum(1), (1, 0))


PARTS: Mapping[str, tuple[Callable[[Balances, Tensor], Tensor], ...]] = {
    "initial": (Balances.initial_values,),
    "heat_mass": (Balances.mass_change,),
    "heat_full": (Balances.initial_values, Balances.mass_change),
    "rd_mass": (Balances.reacting_mass,),
    "rd_full": (Balances.initial_values, lambda self, u: self.reacting_mass(u)[:, 1:]),
    "burgers_bc": (Balances.ends,),
    "burgers_mass": (Balances.convected_mass,),
    "burgers_local": (Balances.first_steps,),
    "burgers_ic_full": (Balances.initial_values, Balances.first_steps, lambda self, u: self.convected_mass(u)[:, 1:]),
    "burgers_bc_full": (Balances.ends, lambda self, u: self.convected_mass(u)[:, 1:]),
}


def burgers(pde: PDE, state: Tensor) -> dict[str, Tensor]:
    """PCFM's residual of inviscid Burgers states u(t, x): ``interior`` (b, times - 1, points - 2) and ``mass``.

    ``interior`` holds the defects of all Godunov steps, in the unit of u.
    """
    u, (dt, dx) = state[:, 0].mT, pde.grid.spacings
    balances = Balances(u[0], (dx,), dt, steps=u.shape[-1] - 1)
    interior = balances.first_steps(u).reshape(len(u), u.shape[-1] - 1, -1)
    return {"interior": interior, "mass": balances.convected_mass(u)}


def published_flux(left: Tensor, right: Tensor) -> Tensor:
    """PCFM's numerical flux of u²/2 between two states: that of the upwind state at a shock, else the smaller one.

    It differs from Godunov's where left < 0 < right: there Godunov's flux is 0, since u = 0 inside the rarefaction.
    """
    here, there = left.square() / 2, right.square() / 2
    shock = torch.where(left + right > 0, here, there)
    return torch.where(left > right, shock, torch.minimum(here, there))


def _change(mass: Tensor) -> Tensor:
    return mass - mass[:, :1]


def _slope(u: Tensor, dx: float) -> Tensor:
    """Fourth-order one-sided derivative at the first point, away from the end, (b, times)."""
    weights = torch.tensor([-25.0, 48, -36, 16, -3], dtype=u.dtype, device=u.device)
    return torch.einsum("k,bkt->bt", weights, u[:, :5]) / (12 * dx)
