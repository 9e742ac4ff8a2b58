"""The five classic mistakes of residuals, planted in every module that can hold them: the check catches each one."""

import sys

import pytest
import torch

from jensenbench.checks.pde import LAWS, PDECase
from jensenbench.core.pde import PDE
from jensenbench.plugins.registry import load_pde

SCALAR = ("burgers", "darcy", "darcy_corner", "heat", "helmholtz", "navier_stokes", "poisson")
PERIODIC = ("burgers", "heat")  # by stencils; a spectral derivative has no padding


def without_spacing(base: type[PDE]) -> type[PDE]:
    class Mistaken(base):
        def terms(self, state):
            return {name: term * self.grid.spacings[-1] ** 2 for name, term in super().terms(state).items()}

    return Mistaken


def transposed(base: type[PDE]) -> type[PDE]:
    """The solution read with its axes exchanged."""

    class Mistaken(base):
        def terms(self, state):
            solution = torch.tensor([field.role != "coefficient" for field in self.fields]).reshape(-1, 1, 1)
            return super().terms(torch.where(solution, state.mT, state))

    return Mistaken


def wrong_sign(base: type[PDE]) -> type[PDE]:
    class Mistaken(base):
        def terms(self, state):
            terms = super().terms(state)
            name = next(name for name in ("source", "diffusion") if name in terms)
            return {**terms, name: -terms[name]}

    return Mistaken


def zero_padded(base: type[PDE]) -> type[PDE]:
    """A periodic axis continued by zeros."""
    module = sys.modules[base.__module__]

    def padded(stencil):
        return lambda u, spacing: stencil(torch.nn.functional.pad(u, (1, 1)), spacing)[..., 1:-1]

    class Mistaken(base):
        def terms(self, state):
            with pytest.MonkeyPatch.context() as patch:
                for name in ("periodic_first", "periodic_second"):
                    if hasattr(module, name):
                        patch.setattr(module, name, padded(getattr(module, name)))
                return super().terms(state)

    return Mistaken


def divergence(base: type[PDE]) -> type[PDE]:
    """∂_x u + ∂_y u of the scalar solution for the equation, as if it were a velocity."""

    class Mistaken(base):
        def terms(self, state):
            shape = next(iter(super().terms(state).values())).shape
            u = state[:, 1:] if len(shape) == 4 else state[:, -1]
            slopes = {
                name: torch.roll(u, -1, dim).sub(u) / self.grid.spacings[0] for name, dim in (("x", -2), ("y", -1))
            }
            return {name: slope[..., : shape[-2], : shape[-1]] for name, slope in slopes.items()}

    return Mistaken


MISTAKES = {
    without_spacing: (SCALAR, ("order",)),
    transposed: (SCALAR, ("floor", "order")),
    wrong_sign: (SCALAR, ("floor", "order")),
    zero_padded: (PERIODIC, ("floor", "order")),
    divergence: (SCALAR, ("floor", "order")),
}
PLANTED = [(mistake, name, laws) for mistake, (names, laws) in MISTAKES.items() for name in names]


@pytest.mark.parametrize(("mistake", "name", "laws"), PLANTED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_the_check_catches_it_in_every_module(mistake, name, laws):
    module = load_pde(name)
    case = PDECase(mistake(module)(module.Config(n=9)))
    passed = [law for law in laws if LAWS[law](case).passed]
    assert not passed
