"""Files of DiffusionPDE (arXiv 2406.17763): ``.mat`` of versions 5 and 7.3, and its merged ``.npy`` training states.

Arrays are (N, n, n) by MATLAB's axes, Burgers (N, times, points), the solution of Navier–Stokes (N, n, n, times), the
last time being the one that is used. Merged files hold one state each, (n, n, C), scaled for the diffusion model.
Poisson, Helmholtz: nodes, solving the discrete equation. Darcy: cell centres, spline interpolated, u transposed.
Repository: jhhuangchloe/DiffusionPDE.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from numpy.typing import NDArray

from jensenbench.data.formats import darcy
from jensenbench.data.formats.arrays import Arrays, Source, numbered, read_mat, read_npy, read_series
from jensenbench.data.formats.elliptic import read_states as read_elliptic
from jensenbench.data.formats.evolution import read_burgers, read_end_points
from jensenbench.data.formats.interface import Imported, Reader, Settings
from jensenbench.errors import UnknownName, UserError

KEYS: Mapping[str, tuple[str, ...]] = {
    "two_valued": ("thresh_a_data", "thresh_p_data"),
    "lognormal": ("lognorm_a_data", "lognorm_p_data"),
    "poisson": ("f_data", "phi_data"),
    "helmholtz": ("f_data", "psi_data"),
    "navier_stokes": ("a", "u"),
    "burgers": ("output",),
}
SCALES: Mapping[str, tuple[tuple[float, float], ...]] = {  # merged = factor x field + shift, by channel
    "darcy": ((0.2, -1.5), (115.0, -0.9)),
    "poisson": ((1 / 2.15, 0.0), (36.5, 0.0)),
    "helmholtz": ((1 / 2.15, 0.0), (1 / 0.028, 0.0)),
    "navier_stokes": ((1 / 1.6, 0.0), (1 / 1.6, 0.0)),
    "burgers": ((1 / 1.415, 0.0),),
}
MERGED_ROUNDING = 1e-6  # relative error that single precision and scaling leave in merged states
HORIZON = 10.0  # last time of the Navier-Stokes states


def read_darcy(source: Source, settings: Settings) -> Imported:
    """Darcy states (N, 2, n, n); the setting ``law`` is ``two_valued`` by default."""
    law = settings.get("law", "two_valued")
    if law not in darcy.LAWS:
        raise UnknownName("darcy law", law, darcy.LAWS)
    rounding = MERGED_ROUNDING if source.path.suffix == ".npy" else 0.0
    format = darcy.Format(law=law, source=1.0, transposed=True, grid="cell", rounding=rounding)
    return darcy.read_states(source.path, _arrays(source, "darcy", law), settings, format)


def read_square(source: Source, settings: Settings, *, pde: str) -> Imported:
    """States (N, 2, n, n) of Poisson's or Helmholtz' equation."""
    return read_elliptic(source.path, pde, _arrays(source, pde, pde), settings)


def read_navier_stokes(source: Source, settings: Settings) -> Imported:
    """First and last vorticity (N, 2, n, n), at the times 0 and ``horizon``, 10 by default."""
    arrays = _arrays(source, "navier_stokes", "navier_stokes")
    if arrays["u"].ndim == 4:
        arrays["u"] = arrays["u"][..., -1]
    return read_end_points(source.path, arrays, {"horizon": HORIZON, **settings})


def read_space_time(source: Source, settings: Settings) -> Imported:
    """Burgers states (N, 1, times, n)."""
    return read_burgers(source.path, _arrays(source, "burgers", "burgers")["output"], settings)


def _read(source: Source, settings: Settings, *, reader: Reader) -> Imported:
    """What a reader returns, with all files where the states are merged ones."""
    found = reader(source, settings)
    single = source.path.suffix == ".npy" and read_npy(source).ndim < 4
    return replace(found, files=tuple(numbered(source.path))) if single else found


READERS: Mapping[str, Reader] = {
    "burgers": partial(_read, reader=read_space_time),
    "darcy": partial(_read, reader=read_darcy),
    "helmholtz": partial(_read, reader=partial(read_square, pde="helmholtz")),
    "navier_stokes": partial(_read, reader=read_navier_stokes),
    "poisson": partial(_read, reader=partial(read_square, pde="poisson")),
}


def _arrays(source: Source, pde: str, name: str) -> Arrays:
    """The arrays of a ``.mat`` file, or those of the merged states beside an ``.npy`` file, scaled back."""
    keys = KEYS[name]
    if source.path.suffix != ".npy":
        return read_mat(source, keys)
    merged = _merged(source)
    if merged.shape[-1] != len(keys):
        raise UserError(
            f"{source.path}: states {merged.shape[1:]}, {pde} has {len(keys)} channels on the last axis: check --pde"
        )
    fields = [(merged[..., i] - shift) / factor for i, (factor, shift) in enumerate(SCALES[pde])]
    return dict(zip(keys, fields, strict=True))


def _merged(source: Source) -> NDArray:
    """(N, n, n, C) of one file if it holds several states, else of the series that it belongs to."""
    stored = read_npy(source)
    if stored.dtype.kind not in "biuf" or stored.ndim not in (2, 3, 4):
        raise UserError(
            f"{source.path}: {stored.dtype} of shape {stored.shape}, expected real numbers (n, n, C) or (N, n, n, C): "
            "check --format"
        )
    if stored.ndim < 4:
        stored = read_series(numbered(source.path)[: source.most], source)
    return stored[..., None] if stored.ndim == 3 else stored
