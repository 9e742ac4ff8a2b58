"""JSON schema of a tier's configuration and Markdown tables of its settings, made from the dataclasses of settings."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import groupby
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter

from jensenbench.core.annotations import words, written
from jensenbench.core.settings import annotations, default, keys
from jensenbench.errors import UserError
from jensenbench.experiment.settings import (
    DataConfig,
    ImportSettings,
    PDESettings,
    TaskSettings,
    TierSettings,
    TuningConfig,
    VariantEntry,
)
from jensenbench.jensen.settings import JensenSettings
from jensenbench.priors.backbones.build import BACKBONES
from jensenbench.priors.build import EXACT_SETTINGS
from jensenbench.priors.training import TrainingSettings

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_BLOCKS = {
    "": TierSettings,
    "`data`": DataConfig,
    "`tuning`": TuningConfig,
    "`jensen`": JensenSettings,
    "an entry of `priors`, kind `network`, beside the settings of its [backbone](#backbones)": TrainingSettings,
    **{f"an entry of `priors`, kind `{kind}`": settings for kind, settings in EXACT_SETTINGS.items()},
    "an entry of `pdes`": PDESettings,
    "`import` of a PDE": ImportSettings,
    "an entry of `tasks`": TaskSettings,
    "a variant of `methods`": VariantEntry,
}
TABLES = {
    "tier": _BLOCKS,
    "backbones": {f"`{name}`": type(backbone.settings) for name, backbone in BACKBONES.items()},
}


def tier_schema() -> dict[str, Any]:
    """JSON schema of ``config/*.yaml``: types, limits, defaults and meaning of all keys of a tier.

    Editors that know it complete and check a configuration while it is written. Settings of PDEs, methods and networks
    are objects there; what they hold is checked when a tier is read.
    """
    schema = TypeAdapter(TierSettings).json_schema()
    for settings in _nested(TierSettings):
        _describe(schema if settings is TierSettings else schema["$defs"][settings.__name__], settings)
    return {"$schema": DRAFT, **schema}


def schema_text() -> str:
    """The schema as the YAML file that editors read."""
    note = "# Made by `python -m jensenbench schema` from the dataclasses of settings; change those.\n"
    return note + yaml.safe_dump(tier_schema(), sort_keys=False, width=120, allow_unicode=True)


def _nested(annotation: Any) -> Iterator[type]:
    """All dataclasses in an annotation, each once."""
    found: list[type] = []
    left = [annotation]
    while left:
        current = left.pop()
        if is_dataclass(current) and isinstance(current, type) and current not in found:
            found.append(current)
            left += [annotations(current)[own.name] for own in fields(current)]
        left += get_args(current)
    yield from found


def _describe(schema: dict[str, Any], settings: type) -> None:
    """Give the schema of a dataclass the keys and descriptions that a configuration has; refuse other keys."""
    meaning, known = descriptions(settings), keys(settings)
    properties = {key: schema["properties"][own.name] for key, own in known.items()}
    schema.pop("title")
    schema["description"] = (settings.__doc__ or "").split("\n")[0]
    schema["additionalProperties"] = False
    schema["properties"] = {
        key: {**{name: part for name, part in own.items() if name != "title"}, "description": meaning[key]}
        for key, own in properties.items()
    }
    for own in schema["properties"].values():
        if "patternProperties" in own:
            own["additionalProperties"] = False


def descriptions(settings: type) -> dict[str, str]:
    """What each key of a dataclass means, from the part ``Attributes`` of its docstring and those of its bases."""
    found: dict[str, str] = {}
    for base in reversed(settings.__mro__):
        text = (base.__doc__ or "").partition("Attributes:")[2]
        for names, meaning in re.findall(r"^ {8}(\w[\w, ]*): (.+(?:\n {12}.+)*)", text, re.M):
            plain = re.sub(r":\w+:`[~.]*(?:\w+\.)*(\w+)`", r"`\1`", " ".join(meaning.split())).replace("``", "`")
            found |= dict.fromkeys((name.removesuffix("_") for name in names.split(", ")), plain)
    return found


def settings_tables(blocks: Mapping[str, type]) -> str:
    """Markdown tables of the settings of some dataclasses, each below its name."""
    parts = []
    for title, settings in blocks.items():
        parts += [*([f"*Keys of {title}*", ""] if title else []), *_table(settings), ""]
    return "\n".join(parts)


def _table(settings: type) -> Iterator[str]:
    """Lines of a table of keys with their defaults, what they admit, what they mean."""
    meaning, types = descriptions(settings), annotations(settings)
    yield "| key and default | values | meaning |"
    yield "|---|---|---|"
    for text, group in groupby(keys(settings).items(), key=lambda item: meaning[item[0]]):
        rows = [(_written_key(key, own), words(types[own.name]).removeprefix("a ")) for key, own in group]
        values = list(dict.fromkeys(value for _, value in rows))
        shown = values if len(values) == 1 else [value for _, value in rows]
        yield f"| {', '.join(key for key, _ in rows)} | {'; '.join(shown)} | {text} |"


def _written_key(key: str, own: Field[Any]) -> str:
    """A key with its default; one that must be given or is left out by default stands alone."""
    value = default(own)
    required = own.default is MISSING and own.default_factory is MISSING
    if required or value is None or is_dataclass(value) or value == {}:
        return f"`{key}`{' (required)' if required else ''}"
    return f"`{key}: {value if isinstance(value, str) else written(value)}`"


def fill_tables(page: str) -> str:
    """A page of the documentation with the tables between its marks ``<!-- settings:NAME:begin -->`` made anew."""
    for name, blocks in TABLES.items():
        begin, end = f"<!-- settings:{name}:begin -->\n", f"<!-- settings:{name}:end -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise UserError(f"the page lacks the lines {begin.strip()} and {end}; put them around the tables")
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}{settings_tables(blocks)}{end}{rest.partition(end)[2]}"
    return page
