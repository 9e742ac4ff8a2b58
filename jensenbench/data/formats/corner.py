"""Darcy states with corner wells from any file: order of the arrays and orientation, found by the residual."""

from pathlib import Path

import torch
from numpy.typing import NDArray

from jensenbench.data.formats.arrays import check_field, check_pair
from jensenbench.data.formats.interface import Imported, Settings
from jensenbench.data.formats.interpretations import choose
from jensenbench.errors import UserError
from jensenbench.plugins.registry import make_pde

MOST = 0.5  # largest residual over the largest term of published least-squares solutions


def read_states(
    file: Path,
    permeability: tuple[str, NDArray],
    pressure: tuple[str, NDArray],
    settings: Settings,
    *,
    transposed: bool,
) -> Imported:
    """States (N, 2, n, n), K then p, of two arrays (N, n, n) with their names.

    Args:
        transposed: whether the format stores p transposed against K.

    Raises:
        UserError: in no order and orientation do the arrays solve the equation.
    """
    first, second = ((key, check_field(file, key, array, ndim=3)) for key, array in (permeability, pressure))
    check_pair(file, first, second)
    k, p = torch.from_numpy(first[1]), torch.from_numpy(second[1])
    swapped = bool((k <= 0).any() and (p > 0).all())
    k, p = (p, k) if swapped else (k, p)
    if not (k > 0).all():
        raise UserError(
            f"{file}: neither {first[0]!r} nor {second[0]!r} is positive, as a permeability must be: check --format"
        )
    names = ("as the format says", "pressure transposed against the format")
    interpretations = dict(zip(names, (p.mT, p) if transposed else (p, p.mT), strict=True))
    pde = make_pde("darcy_corner", {"n": k.shape[-1], "data": "published", **settings})
    states = {name: torch.stack([k, oriented], 1) for name, oriented in interpretations.items()}
    chosen, findings = choose(file, pde, states, most=MOST)
    note = ": channels swapped against the format" if swapped else ""
    return Imported(pde, chosen, (f"permeability {first[0]!r}, pressure {second[0]!r}{note}", *findings))
