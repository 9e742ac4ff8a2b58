"""Stage ``import``: other people's states become a data file, with the convention found and the floor measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from jensenbench.data.dataset import Dataset, load_dataset, write_dataset
from jensenbench.data.formats.interface import Imported
from jensenbench.data.formats.reader import read
from jensenbench.errors import UnknownName, UserError
from jensenbench.experiment.jobs import GenerateJob
from jensenbench.io.provenance import digest_file, digest_text
from jensenbench.io.schema import SPLITS
from jensenbench.runtime.timing import timed

MEANINGLESS = "residuals of these data are meaningless: compare by rel. L2, mean MSE, std MSE; use a prior of power 0"
SHARES = {"train": 0.6, "validation": 0.05, "test": 0.05, "reference": 0.3}  # of the file, where no sizes are given


def run(*, job: GenerateJob, out: Path, unpickle: bool = False) -> None:
    """Read the file of a job's ``source``, say what was found, and write ``out``.

    The job's settings of the PDE are known ones; the others are found from the data. Its label is
    ``{pde}-{format}-{n}`` where it is empty; without sizes, the splits are fixed shares of the file.

    Args:
        unpickle: let pickled objects in the file run their code.
    """
    file, format = Path(job.source["file"]), job.source["format"]
    with timed(out):
        most = sum(job.sizes.values()) or None
        found = read(file, format, job.pde, job.settings, unpickle=unpickle, most=most)
        parts = split_ranges(found.states, job.sizes)
        name = job.label or f"{job.pde}-{format}-{found.pde.config.n}"
        source = f"{file.name} sha256:{_digest(found.files or (file,))}"
        write_dataset(out, found.pde, parts, seed=job.seed, label=name, source=source)
    print("\n".join(_summary(file, found, load_dataset(out), parts)))


def split_ranges(states: Tensor, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Disjoint consecutive ranges of the states, in the order of ``SPLITS``."""
    counts = dict(sizes) or {name: int(share * len(states)) for name, share in SHARES.items()}
    for name in counts:
        if name not in SPLITS:
            raise UnknownName("split", name, SPLITS)
    wanted = [counts.get(name, 0) for name in SPLITS]
    if min(wanted) < 1 or sum(wanted) > len(states):
        request = ", ".join(f"{name} {count}" for name, count in zip(SPLITS, wanted, strict=True))
        raise UserError(f"the file holds {len(states)} states, the splits ask for {request}; change `data:`")
    return dict(zip(SPLITS, states[: sum(wanted)].split(wanted), strict=True))


def _digest(files: Sequence[Path]) -> str:
    """Digest of a file, or of those of several."""
    digests = [digest_file(path) for path in files]
    return digests[0] if len(digests) == 1 else digest_text("".join(digests))


def _summary(file: Path, found: Imported, data: Dataset, parts: Mapping[str, Tensor]) -> list[str]:
    ranges = ", ".join(f"{name} {len(states)}" for name, states in parts.items())
    findings = [*found.findings, f"floor: residual rms {data.floor:.3g} x the largest term of the equation"]
    if data.floor > found.pde.floor:
        findings.append(f"{MEANINGLESS} (states that solve the equation have at most {found.pde.floor:.0e})")
    size = " x ".join(map(str, found.pde.grid.shape))
    head = f"{file.name}: {len(found.states)} states of {size}"
    return [head, *(f"  {line}" for line in findings), f"{data.path}: {data.label}, {ranges}"]
