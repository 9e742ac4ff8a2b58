"""Time per state of the batched solvers against one sparse LU solve per state with scipy.

Both solve equal coefficients, in pairs, on one thread. Times are processor times, which a busy machine changes little.

python benchmarks/data.py [--states 64] [--repeats 3] [--sizes 32 64 128] [--pdes poisson helmholtz darcy burgers]
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jensenbench.core.pde import PDE
from jensenbench.plugins.registry import make_pde

SIZES = (32, 64, 128)
PROBLEMS = (
    ("poisson", {}),
    ("helmholtz", {}),
    ("darcy", {"law": "two_valued"}),
    ("darcy", {"law": "lognormal"}),
    ("burgers", {}),
)


def difference(n: int, spacing: float) -> Any:
    """(n-1, n) sparse matrix of forward differences of nodes."""
    first = np.arange(n - 1)
    entries, columns = np.repeat([-1 / spacing, 1 / spacing], n - 1), np.concatenate([first, first + 1])
    return sparse.csr_array((entries, (np.tile(first, 2), columns)), shape=(n - 1, n))


def elliptic(pde: PDE, coefficient: np.ndarray) -> np.ndarray:
    """u (n, n) of Poisson, Helmholtz or Darcy by one sparse LU."""
    n, h = pde.config.n, pde.grid.spacings[0]
    step, inner = difference(n, h), np.arange(1, n - 1)
    kept = sparse.csr_array(sparse.eye_array(n))[1:-1]
    rows, columns = sparse.kron(step, kept, format="csr"), sparse.kron(kept, step, format="csr")
    darcy = pde.name == "darcy"
    a = coefficient if darcy else np.ones((n, n))
    vertical, horizontal = (a[1:] + a[:-1])[:, 1:-1] / 2, (a[:, 1:] + a[:, :-1])[1:-1] / 2
    matrix: Any = rows.T @ (vertical.reshape(-1, 1) * rows) + columns.T @ (horizontal.reshape(-1, 1) * columns)
    points = (inner[:, None] * n + inner).ravel()
    matrix = sparse.csc_array(matrix)[points][:, points]
    shift = getattr(pde, "shift", 0.0)
    rhs = np.full(len(points), pde.config.source) if darcy else -coefficient.ravel()[points]
    u = np.zeros(n * n)
    u[points] = np.asarray(spsolve(sparse.csc_array(matrix - shift * sparse.eye_array(len(points))), rhs))
    return u.reshape(n, n)


def burgers(pde: PDE, start: np.ndarray) -> np.ndarray:
    """u (n, n) from one initial state by the implicit midpoint rule, with one sparse LU solve per Newton correction."""
    (dt, dx), nu, n = pde.grid.spacings, pde.config.nu, pde.config.n
    ahead = sparse.csr_array((np.ones(n), (np.arange(n), (np.arange(n) + 1) % n)), shape=(n, n))
    first, second = (ahead - ahead.T) / (2 * dx), (ahead + ahead.T - 2 * sparse.eye_array(n)) / dx**2
    rows = [start]
    for _ in range(n - 1):
        u = v = rows[-1]
        for _ in range(20):
            middle = (u + v) / 2
            defect = (v - u) / dt + first @ (middle**2 / 2) - nu * (second @ middle)
            jacobian = sparse.eye_array(n) / dt + (first * middle - nu * second) / 2
            change = spsolve(sparse.csc_array(jacobian), defect)
            v = v - change
            if np.abs(change).max() < 1e-9:
                break
        rows.append(v)
    return np.stack(rows)


def reference(pde: PDE, drawn: Tensor) -> Tensor:
    """Solution channel (b, n, n) of drawn states, one state at a time."""
    solve, entry = (burgers, (0, 0)) if pde.name == "burgers" else (elliptic, (0,))
    return torch.from_numpy(np.stack([solve(pde, state[entry].numpy()) for state in drawn]))


def seconds(call: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Processor time of a call, and its result."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def compare(pde: PDE, states: int, repeats: int) -> str:
    """One line of the table: median times per state, paired ratios with their range, and the largest difference."""
    drawn = pde.draw(range(states), seed=0)
    pde.solve(drawn[:1])
    pairs = [(seconds(lambda: pde.solve(drawn)), seconds(lambda: reference(pde, drawn))) for _ in range(repeats)]
    (_, mine), (_, theirs) = pairs[0]
    deviation = float((mine[:, -1] - theirs).abs().max() / theirs.abs().max())
    batched, single = (np.array([pair[side][0] for pair in pairs]) / states for side in (0, 1))
    ratios = single / batched
    return (
        f"{pde.label:24} {np.median(batched) * 1e3:10.3f} {np.median(single) * 1e3:12.3f} "
        f"{np.median(ratios):8.1f} ({ratios.min():.1f} to {ratios.max():.1f}) {deviation:12.1e}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--pdes", nargs="+", default=[name for name, _ in PROBLEMS])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'problem':24} {'batched ms':>10} {'sparse LU ms':>12} {'ratio':>8} {'':14} {'difference':>10}")
    for name, settings in (problem for problem in PROBLEMS if problem[0] in options.pdes):
        for n in options.sizes:
            print(compare(make_pde(name, {"n": n, **settings}), options.states, options.repeats), flush=True)


if __name__ == "__main__":
    main()
