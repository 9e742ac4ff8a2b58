"""Public conformance checks of methods, PDEs and priors."""

from dataclasses import replace
from pathlib import Path

from jensenbench.checks.report import Report
from jensenbench.errors import UserError
from jensenbench.plugins.registry import load_method, load_pde


def check_plugin(kind: str, subject: str, *, data: Path | None = None) -> Report:
    """Conformance of a method or PDE by name, or of a prior by its file and its PDE's data file."""
    if kind == "method":
        from jensenbench.checks.method import check_method

        return check_method(load_method(subject))
    if kind == "pde":
        from jensenbench.checks.certificate import certify

        return certify(load_pde(subject)())
    if data is None:
        raise UserError("checking a prior needs --data, the data file of its PDE")
    return _check_prior_file(Path(subject), data)


def _check_prior_file(path: Path, data: Path) -> Report:
    from jensenbench.checks.prior import check_prior
    from jensenbench.data.dataset import load_dataset
    from jensenbench.experiment.config import EXACT_KINDS
    from jensenbench.priors.empirical import EmpiricalPrior
    from jensenbench.priors.io import load_prior

    dataset = load_dataset(data)
    prior = load_prior(path, dataset.pde)
    law = prior.denoiser
    states = law.states if isinstance(law, EmpiricalPrior) else prior.codec.encode(dataset.split("validation"))
    report = check_prior(law, states, exact=prior.kind in EXACT_KINDS)
    labels = {"PDE": dataset.label, "prior": prior.label, "seed": prior.meta["seed"], "kind": prior.kind}
    labels |= {"power": prior.codec.power, "backbone": prior.meta["settings"].get("backbone", "")}
    return replace(report, subject=" ".join(str(labels[key]) for key in ("PDE", "prior", "seed")), labels=labels)
