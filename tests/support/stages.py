"""The first stages of a tier, by hand."""

from pathlib import Path

from jensenbench.experiment.expand import Jobs
from jensenbench.io.layout import Layout
from jensenbench.stages import generate, observe, train


def prepare(jobs: Jobs, root: Path) -> Layout:
    """Data, observations and priors of all jobs below ``root``."""
    layout = Layout(root)
    for label, job in jobs.generate.items():
        generate.run(job=job, out=layout.data(label))
    for label, job in jobs.observe.items():
        observe.run(job=job, data=layout.data(label), out=layout.observations(label))
    for key, job in jobs.train.items():
        parts = key.split("/")
        train.run(job=job, data=layout.data(job.pde), out=layout.prior(*parts), state_dir=layout.training(*parts))
    return layout
