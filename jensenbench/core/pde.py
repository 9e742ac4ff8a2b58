"""Interface of a PDE: grid, fields, data distribution, solver, residuals, symmetries, hard constraints."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, prod
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from jensenbench.core.constraints import Constraint
from jensenbench.errors import UnknownName, UserError

Role = Literal["coefficient", "solution", "space_time"]
AxisKind = Literal["node", "cell", "periodic", "left_closed"]
Basis = Literal["pixels", "sine", "fourier", "cosine_fourier"]
Symmetry = Callable[[Tensor], Tensor]
NEGLIGIBLE = 1e-12  # share of the largest norm below which a direction of the noise changes no field


@dataclass(frozen=True)
class Axis:
    """One axis of a grid; ``node`` axes hold both ends (h = L/(n-1)), all others have h = L/n."""

    name: str
    n: int
    extent: float = 1.0
    kind: AxisKind = "node"

    def __post_init__(self) -> None:
        if self.n < (2 if self.kind == "node" else 1):
            raise UserError(
                f"axis {self.name!r}: n = {self.n} leaves no spacing on a {self.kind} axis; use more points"
            )

    @property
    def spacing(self) -> float:
        return self.extent / (self.n - 1 if self.kind == "node" else self.n)

    @property
    def coordinates(self) -> Tensor:
        """(n,) float64 positions; cell axes hold cell centres."""
        offset = 0.5 if self.kind == "cell" else 0.0
        return (torch.arange(self.n, dtype=torch.float64) + offset) * self.spacing


@dataclass(frozen=True)
class Grid:
    """Axes of a state, in the order of its tensor dimensions after the channel."""

    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.n for axis in self.axes)

    @property
    def spacings(self) -> tuple[float, ...]:
        return tuple(axis.spacing for axis in self.axes)

    def mesh(self) -> tuple[Tensor, ...]:
        """Coordinates broadcast to the grid's shape, one tensor per axis."""
        return torch.meshgrid(*(axis.coordinates for axis in self.axes), indexing="ij")


@dataclass(frozen=True)
class Field:
    """One channel of a state: its role, its unit, the basis the codec may use, the levels of a two-valued field.

    A ``space_time`` field is coefficient in its row t = 0 and solution elsewhere.
    """

    name: str
    role: Role
    unit: str = "1"
    basis: Basis = "pixels"
    levels: tuple[float, ...] = ()


@dataclass(frozen=True)
class LatentMap:
    """States x = solve(unsolved(z F)) of white noise z ~ N(0, I_k): the distribution that the PDE generates.

    Attributes:
        factor: (k, P) F of the Gaussian field behind the coefficient, one row per direction of the noise.
        unsolved: fields (b, P) to states (b, C, *grid) with the coefficient in place.
        solve: the PDE's own solver.
        surrogate: where ``unsolved`` has no useful gradient (a level set), a smooth replacement. It is used to
            find the directions that data inform about, never to evaluate a state.
    """

    factor: Tensor
    unsolved: Callable[[Tensor], Tensor]
    solve: Callable[[Tensor], Tensor]
    surrogate: Callable[[Tensor], Tensor] | None = None

    @property
    def size(self) -> int:
        """Number k of directions."""
        return len(self.factor)

    def __call__(self, z: Tensor) -> Tensor:
        """States (b, C, *grid) of noise (b, k), float64; raises UserError where the solver refuses a state."""
        return self.solve(self.unsolved(z @ self.factor))

    def smooth(self, z: Tensor) -> Tensor:
        """The same, or the states of the smooth replacement: differentiable in z."""
        return self.solve((self.surrogate or self.unsolved)(z @ self.factor))


class PDE(ABC):
    """An equation, the distribution of its data, its solver and its residuals, in physical units.

    States are (b, C, *grid), coefficient first; float64 in evaluation, the input's dtype is kept.
    Subclasses set the class attributes, ``fields`` and ``grid``, and declare settings in a frozen
    ``Config`` dataclass (every PDE has ``n``, the number of grid points along an axis).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    Config: ClassVar[type]
    order: ClassVar[int | None] = 2  # of accuracy; None where the residual is pointwise, hence exact
    least_n: ClassVar[int] = 4
    floor: ClassVar[float] = 1e-9  # largest rms of the own residual on what `solve` returns, over its largest term
    references: ClassVar[tuple[str, ...]] = ()
    data_kinds: ClassVar[tuple[str, ...]] = ("discrete", "continuous")
    latent: bool = False  # whether states have parameters that they do not store
    published: ClassVar[Mapping[str, Callable[["PDE", Tensor], dict[str, Tensor]]]] = {}

    fields: tuple[Field, ...]
    grid: Grid

    def __init__(self, config: Any = None):
        self.config = self.Config() if config is None else config
        for name, value in vars(self.config).items():
            if isinstance(value, float) and not isfinite(value):
                raise UserError(f"{self.name}: {name} = {value} is no finite number; give one")
        if self.config.n < self.least_n:
            raise UserError(f"{self.name}: n = {self.config.n} is too small for the stencil; use n >= {self.least_n}")
        if self.data not in self.data_kinds:
            raise UnknownName(f"data of {self.name}", self.data, self.data_kinds)

    @property
    def label(self) -> str:
        """Name used in tables and paths, for instance ``darcy-two_valued-32``: distinguishing settings, n last."""
        values = {f.name: getattr(self.config, f.name) for f in dataclasses.fields(self.config)}
        size = values.pop("n")
        return "-".join([self.name, *self.label_parts(values), str(size)])

    def label_parts(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """Settings as they appear in the label: those that differ from the default; numbers carry their name."""
        defaults = {f.name: f.default for f in dataclasses.fields(self.config)}
        changed = {k: v for k, v in settings.items() if v != defaults[k]}
        return [v if isinstance(v, str) else f"{k}{v:g}" for k, v in changed.items()]

    @property
    def linear_settings(self) -> Mapping[str, int]:
        """Settings, with powers, in which the interior residual is affine: an import fits what a file leaves open."""
        return {}

    @property
    def data(self) -> str:
        """What generated states solve; a setting ``data`` where the PDE offers several kinds.

        ``discrete``: the same discrete equation that the own residual checks, as :meth:`solve` does.
        ``continuous``: the continuous equation, finely and sampled on the grid; the coefficients are the same.
        ``published``: as the published code of the data set solves it.
        """
        return getattr(self.config, "data", "discrete")

    @property
    def data_floor(self) -> float:
        """Largest rms of the own residual on the generated data, relative to the equation's largest term."""
        return self.floor if self.data == "discrete" else self.truncation_floor()

    def truncation_floor(self) -> float:
        """:attr:`data_floor` of other than discrete data: what they leave of the own residual, a measured bound."""
        raise UserError(f"{self.label} offers no {self.data} data")

    @property
    def schemes(self) -> tuple[str, ...]:
        """Names of the discretisations that :meth:`residual` knows."""
        return ("own", *self.published)

    @property
    def evolves(self) -> bool:
        """Whether a state is an evolution in time: a ``space_time`` field, or snapshots as channels."""
        return any(field.role == "space_time" for field in self.fields)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.fields), *self.grid.shape)

    def check(self, state: Tensor) -> Tensor:
        """Return ``state`` if it is (b, C, *grid) and finite; raises UserError otherwise."""
        if tuple(state.shape[1:]) != self.shape:
            raise UserError(
                f"{self.label}: expected states (b, {', '.join(map(str, self.shape))}), got {tuple(state.shape)}"
            )
        if not torch.isfinite(state).all():
            raise UserError(f"{self.label}: the state holds NaN or infinite values; drop or regenerate it")
        return state

    def generate(self, indices: Sequence[int], *, seed: int) -> Tensor:
        """Float64 states (len(indices), C, *grid); sample i depends on (seed, i) alone."""
        return self.solve(self.draw(indices, seed=seed))

    @abstractmethod
    def draw(self, indices: Sequence[int], *, seed: int) -> Tensor:
        """States (len(indices), C, *grid) with a random coefficient and the solution part zero."""

    @abstractmethod
    def solve(self, state: Tensor) -> Tensor:
        """Full states (b, C, *grid) that solve the discrete equation for the coefficient part, whatever ``data`` is."""

    def resimulate(self, state: Tensor, indices: Sequence[int], *, seed: int) -> Tensor:
        """States with the coefficients of ``state`` (b, C, *grid) and new draws of the latent parameters.

        Element i depends on (seed, indices[i]) and on its own state alone. Without latent parameters there is one such
        state, the solution. Only of discrete data.
        """
        if self.data != "discrete":
            raise UserError(
                f"{self.label}: {self.data} data cannot be computed from their coefficient; use data: discrete"
            )
        return self._resimulated(state, indices, seed)

    def _resimulated(self, state: Tensor, indices: Sequence[int], seed: int) -> Tensor:
        return self.solve(state)

    @abstractmethod
    def terms(self, state: Tensor) -> dict[str, Tensor]:
        """Signed terms (b, *interior) of left-hand side minus right-hand side; their sum is the residual."""

    @abstractmethod
    def conditions(self, state: Tensor) -> dict[str, Tensor]:
        """Residuals (b, m) of boundary, initial and integral conditions, by name."""

    def residual(self, state: Tensor, scheme: str = "own") -> dict[str, Tensor]:
        """Signed pointwise residual in physical units: ``interior`` and the conditions' parts."""
        if scheme == "own":
            return {"interior": sum_terms(self.terms(state)), **self.conditions(state)}
        if scheme not in self.published:
            raise UnknownName(f"residual scheme of {self.name}", scheme, self.schemes)
        return self.published[scheme](self, state)

    @abstractmethod
    def affine(self) -> bool:
        """Whether the own residual is affine in the state."""

    def exact_prior(self) -> str | None:
        """Kind of exact prior that the distribution of generated states has: ``gaussian``, ``mixture`` or None."""
        return "gaussian" if self.affine() else None

    @abstractmethod
    def manufactured(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Smooth states and their exact continuous residual on the residual's points (order check)."""

    def refined(self, n: int) -> Self:
        """The same problem with ``n`` points along an axis; time steps that are no grid axis shrink in proportion."""
        return type(self)(replace(self.config, n=n))

    def symmetries(self) -> tuple[Symmetry, ...]:
        """Maps of states that leave the data distribution invariant, identity included (for augmentation)."""
        return (lambda state: state,)

    def state_factor(self) -> Tensor:
        """States (k, C, *grid) as generated from each unit vector of the white noise behind the coefficient.

        Only where states are linear in that noise, hence Gaussian with mean zero.
        """
        raise UserError(
            f"{self.label} has no `state_factor`, which exact priors and reference posteriors take: write the method "
            f"in pdes/{self.name}.py if states are linear in Gaussian noise, or `latent_map` if they are not; or use a "
            "network prior"
        )

    def latent_map(self) -> LatentMap:
        """The white noise behind generated states, in which posteriors are sampled; directions without effect left out.

        By default that of :meth:`state_factor`. Only of discrete data: others are not what the solver makes of their
        coefficient.
        """
        if self.data != "discrete":
            raise UserError(
                f"{self.label}: its {self.data} data are not what its solver makes of their coefficient; "
                "use data: discrete"
            )
        return self._latent_map()

    def _latent_map(self) -> LatentMap:
        factor = effective_directions(self.state_factor().flatten(1))
        return LatentMap(factor, lambda flat: flat.reshape(-1, *self.shape), self.solve)

    def mixture(self) -> tuple[Tensor, Tensor, float]:
        """Means (K, C, *grid), weights (K,) and standard deviation of the Gaussian mixture of generated states."""
        raise UserError(f"{self.label} is not generated by a Gaussian mixture: it has no exact mixture prior")

    def constraints(self, state: Tensor) -> tuple[Constraint, ...]:
        """Hard constraints that all states with the coefficient part of ``state`` (b, C, *grid) meet."""
        return ()

    def two_valued(self, state: Tensor) -> Tensor:
        """State with two-valued coefficients thresholded at the middle of their levels."""
        out = state.clone()
        for channel, field in enumerate(self.fields):
            if field.levels:
                low, high = min(field.levels), max(field.levels)
                is_high = state[:, channel] >= (low + high) / 2
                out[:, channel] = torch.where(is_high, state.new_tensor(high), state.new_tensor(low))
        return out

    def role_mask(self, role: Role) -> Tensor:
        """(C, *grid) bool: the entries that are coefficient or solution."""
        mask = torch.zeros(self.shape, dtype=torch.bool)
        for channel, field in enumerate(self.fields):
            if field.role == "space_time":
                mask[channel, 0] = role == "coefficient"
                mask[channel, 1:] = role == "solution"
            else:
                mask[channel] = field.role == role
        return mask

    @cached_property
    def n_points(self) -> int:
        return prod(self.grid.shape)


def effective_directions(factor: Tensor) -> Tensor:
    """Those directions of a factor (k, P) that change a field: norms above 1e-12 of the largest one."""
    norms = torch.linalg.vector_norm(factor, dim=1)
    return factor[norms > NEGLIGIBLE * norms.max()].contiguous()


def sum_terms(terms: Mapping[str, Tensor]) -> Tensor:
    """Sum of the terms of an equation: its residual."""
    return torch.stack(list(terms.values())).sum(0)
