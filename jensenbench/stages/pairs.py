"""Stage ``pairs``: teacher pairs of one prior, an artefact of its own that all fits share."""

from pathlib import Path

import torch

from jensenbench.core.settings import configure
from jensenbench.data.dataset import load_dataset
from jensenbench.experiment.digests import stage_digest
from jensenbench.experiment.jobs import PairsJob
from jensenbench.io import provenance
from jensenbench.io.files import canonical_json
from jensenbench.priors.io import load_prior
from jensenbench.priors.pairs import Pairs, PairSettings, make_pairs
from jensenbench.runtime.devices import pick_device
from jensenbench.runtime.status import status_of
from jensenbench.runtime.timing import timed


def run(*, job: PairsJob, data: Path, prior_file: Path, out: Path) -> None:
    """Write the index ``out``, its shards and its timing beside it; a teacher that fails leaves the reason instead.

    Shards that a killed run has finished are kept.
    """
    torch.set_num_threads(job.threads)
    device = pick_device(job.device)
    with timed(out, device):
        dataset = load_dataset(data)
        prior = load_prior(prior_file, dataset.pde, data_digest=dataset.digest, settings=job.prior_settings)
        parts = [prior.digest, stage_digest("pairs", pde=dataset.pde.name), job.device, job.threads]
        run = provenance.digest_text(canonical_json([*parts, provenance.environment_digest()]))
        settings = configure("pairs setting", PairSettings(), job.settings)
        key, folder = (job.seed, job.pde), out.parent
        try:
            pairs = make_pairs(prior.on(device), settings, key=key, folder=folder, run=run, device=device)
        except Exception as error:  # the reason reaches the rows of the methods that want the pairs
            status, reason = status_of(error)
            pairs = Pairs(folder, settings, (), status, reason)
        pairs.write(out)
