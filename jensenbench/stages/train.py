"""Stage ``train``: build or train one prior of one PDE."""

from contextlib import nullcontext
from pathlib import Path

import torch

from jensenbench.data.dataset import load_dataset
from jensenbench.evaluation.prior_quality import PriorQuality
from jensenbench.experiment.jobs import TrainJob
from jensenbench.io import provenance
from jensenbench.io.files import write_text
from jensenbench.priors import parallel
from jensenbench.priors.build import build_prior
from jensenbench.priors.io import save_prior
from jensenbench.priors.log import write_log
from jensenbench.priors.training import parse_settings
from jensenbench.runtime.devices import pick_device
from jensenbench.runtime.timing import Spent, timed


def run(*, job: TrainJob, data: Path, out: Path, state_dir: Path) -> None:
    """Write the prior file ``out`` and, beside it, the training log ``<seed>.log.csv`` and ``<seed>.timing.json``.

    A killed run leaves its state in ``state_dir`` and goes on from there when it is started again. A network
    whose settings ask for several processes is trained by a group of them, of which the first one writes.
    """
    device, processes = pick_device(job.device), job.prior_settings.get("processes", 1)
    if processes != 1 and not parallel.is_joined():
        parse_settings({key: value for key, value in job.prior_settings.items() if key != "kind"})
        arguments = {"job": job, "data": data, "out": out, "state_dir": state_dir}
        parallel.launch(run, arguments, processes=processes, device=job.device)
        return
    torch.set_num_threads(job.threads)
    clock = timed(out, device) if parallel.leads() else nullcontext(Spent())
    with clock as spent:
        watch = provenance.FileWatch(data)
        dataset = load_dataset(data)
        states = job.prior_settings.get("quality", 0)
        built, trainer = build_prior(
            job.prior_settings["kind"], job.prior_settings, dataset, seed=job.seed, state_dir=state_dir, device=device,
            label=f"train {dataset.label}/{job.prior}/{job.seed}", guard=watch.check,
            quality=PriorQuality(dataset, states=states) if states else None,
        )  # fmt: skip
        if not parallel.leads():
            return
        watch.check()
        write_text(out.with_suffix(".log.csv"), write_log(trainer.loop.progress.rows if trainer else []))
        save_prior(out, built, pde=dataset.pde, label=job.prior, seed=job.seed, data_digest=dataset.digest)
        if trainer:
            trainer.loop.finish()
            spent.earlier = trainer.loop.seconds_before
            spent.entries["states_per_second"] = trainer.loop.states_per_second
