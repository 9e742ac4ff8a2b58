"""Priors built from data: the exact one of the distribution behind them, or of the states; or a trained network."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le

from jensenbench.core.codec import Codec, Power
from jensenbench.core.pde import PDE
from jensenbench.core.settings import configure
from jensenbench.data.dataset import Dataset
from jensenbench.errors import UnknownName, UserError
from jensenbench.priors.empirical import EmpiricalPrior
from jensenbench.priors.gaussian import GaussianPrior
from jensenbench.priors.io import BuiltPrior
from jensenbench.priors.mixture import MixturePrior
from jensenbench.priors.training import Quality, Trainer, TrainingData, check_network, parse_settings


@dataclass(frozen=True)
class GaussianSettings:
    """The exact prior of a Gaussian distribution that an affine PDE maps.

    Attributes:
        power: of the codec.
    """

    power: Power = 1


@dataclass(frozen=True)
class MixtureSettings:
    """The exact prior of a Gaussian mixture.

    Attributes:
        power: of the codec; 0 keeps the components isotropic.
    """

    power: Annotated[int, Ge(0), Le(0)] = 0


@dataclass(frozen=True)
class EmpiricalSettings:
    """The exact prior of the training states themselves.

    Attributes:
        power: of the codec.
    """

    power: Power = 1


EXACT_SETTINGS = {"gaussian": GaussianSettings, "mixture": MixtureSettings, "empirical": EmpiricalSettings}


def check_prior(label: str, entry: Mapping[str, Any], pde: PDE, *, imported: bool = False) -> None:
    """Refuse an entry of the config with which no prior of a PDE can be built; builds no weights.

    Args:
        label: of the prior.
        entry: its settings, ``kind`` among them.
        imported: the PDE's data come from a file, so that their distribution is not known.
    """
    settings = {key: value for key, value in entry.items() if key != "kind"}
    if entry["kind"] == "network":
        power = check_network(label, settings, pde)
    else:
        power = configure(f"setting of prior {label!r}", EXACT_SETTINGS[entry["kind"]](), settings).power
        known = None if imported else pde.exact_prior()
        if entry["kind"] not in (known, "empirical"):
            has = f"the distribution of its data has {f'a {known} one' if known else 'none'}"
            raise UserError(
                f"{pde.label} has no exact {entry['kind']} prior (prior {label!r}): {has}; or train a network"
            )
        if entry["kind"] == "gaussian" and type(pde).state_factor is PDE.state_factor:
            pde.state_factor()  # says what to write
    Codec(pde, shift=[0.0] * pde.shape[0], scale=[1.0] * pde.shape[0], power=power)


def build_prior(
    kind: str,
    settings: Mapping[str, Any],
    dataset: Dataset,
    *,
    seed: int,
    state_dir: Path,
    device: torch.device | str = "cpu",
    label: str = "prior",
    quality: Quality | None = None,
    guard: Callable[[], None] | None = None,
) -> tuple[BuiltPrior, Trainer | None]:
    """Build or train a prior of a data file's PDE.

    Args:
        kind: ``gaussian``, ``mixture``, ``empirical`` or ``network``.
        settings: entry of the config, with or without ``kind``.
        state_dir: folder of resumable training state.
        quality, guard: see :class:`Trainer`.

    Returns:
        The prior and, where it was trained, the trainer that holds the resumable state.

    Raises:
        UnknownName: a kind or setting is unknown.
        UserError: imported states have no exact prior of this kind.
    """
    settings = {key: value for key, value in settings.items() if key != "kind"}
    if kind in EXACT_SETTINGS:
        return _build_exact(kind, settings, dataset), None
    if kind == "network":
        trainer = _make_trainer(
            settings, dataset, seed=seed, state_dir=state_dir, device=torch.device(device), label=label,
            quality=quality, guard=guard,
        )  # fmt: skip
        prior = trainer.run()
        chosen = {
            **asdict(trainer.settings),
            "backbone_settings": asdict(trainer.backbone),
            "precision": prior.precision,
            "sigma_data": prior.sigma_data,
        }
        return BuiltPrior(prior, trainer.data.codec, chosen), trainer
    raise UnknownName("kind of prior that is built from data", kind, (*EXACT_SETTINGS, "network"))


def _build_exact(kind: str, settings: Mapping[str, Any], dataset: Dataset) -> BuiltPrior:
    chosen = configure(f"{kind} prior setting", EXACT_SETTINGS[kind](), settings)
    if dataset.source != "generated" and kind != "empirical":
        raise UserError(
            f"{dataset.label}: the distribution of imported states is not known exactly; train a network prior"
        )
    denoiser, codec = _BUILDERS[kind](dataset, chosen)
    return BuiltPrior(denoiser, codec, asdict(chosen))


def _build_gaussian(dataset: Dataset, chosen: GaussianSettings) -> tuple[GaussianPrior, Codec]:
    codec = Codec.fit(dataset.pde, dataset.split("train"), power=chosen.power)
    return GaussianPrior.of_pde(dataset.pde, codec), codec


def _build_mixture(dataset: Dataset, chosen: MixtureSettings) -> tuple[MixturePrior, Codec]:
    fitted = Codec.fit(dataset.pde, dataset.split("train"), power=chosen.power)
    one_scale = [max(fitted.scale)] * len(fitted.scale)
    codec = Codec(dataset.pde, shift=fitted.shift, scale=one_scale, power=chosen.power)
    return MixturePrior.of_pde(dataset.pde, codec), codec


def _build_empirical(dataset: Dataset, chosen: EmpiricalSettings) -> tuple[EmpiricalPrior, Codec]:
    states = dataset.split("train")
    codec = Codec.fit(dataset.pde, states, power=chosen.power)
    return EmpiricalPrior(codec.encode(states.double())), codec


_BUILDERS: Mapping[str, Callable[..., tuple[GaussianPrior | MixturePrior | EmpiricalPrior, Codec]]] = {
    "gaussian": _build_gaussian,
    "mixture": _build_mixture,
    "empirical": _build_empirical,
}


def _make_trainer(settings: Mapping[str, Any], dataset: Dataset, **options: Any) -> Trainer:
    training, backbone = parse_settings(settings)
    states = dataset.split("train")
    codec = Codec.fit(dataset.pde, states, power=training.power)
    data = TrainingData(dataset.pde, codec, states, dataset.split("validation"), dataset.digest)
    return Trainer(training, backbone, data, **options)
