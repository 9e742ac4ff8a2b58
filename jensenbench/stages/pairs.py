"""Stage ``pairs``: teacher pairs of one prior, an artefact of its own that all fits share."""

from pathlib import Path

import torch

from jensenbench.data.dataset import load_dataset
from jensenbench.experiment.config import PairsEntry, Tier
from jensenbench.io import provenance
from jensenbench.io.files import canonical_json
from jensenbench.priors.io import load_prior
from jensenbench.priors.pairs import Pairs, make_pairs
from jensenbench.runtime.devices import pick_device
from jensenbench.runtime.status import status_of
from jensenbench.runtime.timing import timed


def run(*, tier: Tier, entry: PairsEntry, seed: int, data: Path, prior_file: Path, out: Path) -> None:
    """Write the index ``out``, its shards and its timing beside it; a teacher that fails leaves the reason instead.

    Shards that a killed run has finished are kept.
    """
    torch.set_num_threads(tier.threads)
    device = pick_device(tier.device)
    with timed(out, device):
        dataset = load_dataset(data)
        settings = tier.prior_settings(entry.prior)
        prior = load_prior(prior_file, dataset.pde, data_digest=dataset.digest, settings=settings)
        parts = [prior.digest, provenance.digest_pairs(dataset.pde.name), tier.device, tier.threads]
        run = provenance.digest_text(canonical_json([*parts, provenance.environment_digest()]))
        key, folder = (seed, entry.pde), out.parent
        try:
            pairs = make_pairs(prior.on(device), entry.settings, key=key, folder=folder, run=run, device=device)
        except Exception as error:  # the reason reaches the rows of the methods that want the pairs
            status, reason = status_of(error)
            pairs = Pairs(folder, entry.settings, (), status, reason)
        pairs.write(out)
