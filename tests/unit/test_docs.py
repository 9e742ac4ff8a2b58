"""The documentation names what exists: commands, links, tiers, tasks, metrics, plug-ins, references."""

import re

import pytest

from jensenbench.cli import parser
from jensenbench.core.settings import keys
from jensenbench.core.tasks import TASKS
from jensenbench.evaluation.metrics import METRICS, POST_PROCESSING
from jensenbench.experiment import config
from jensenbench.experiment.schema import fill_tables
from jensenbench.experiment.settings import TierSettings
from jensenbench.io.provenance import ROOT
from jensenbench.io.schema import RUN_COLUMNS, RUN_KEYS
from jensenbench.io.sources import public_modules
from jensenbench.plugins import registry

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCS = {page.name: page.read_text() for page in PAGES}


def bibliography() -> tuple[list[str], set[str]]:
    text = (ROOT / "references.bib").read_text()
    return re.findall(r"^@\w+\{([^,]+),", text, re.M), set(re.findall(r"eprint = \{([^}]+)\}", text))


def test_references_of_plug_ins_stand_in_the_bibliography():
    keys, preprints = bibliography()
    assert len(keys) == len(set(keys))
    catalog = registry.catalog()
    for name, plug_in in {**catalog["methods"], **catalog["pdes"]}.items():
        for reference in plug_in["references"]:
            assert reference in keys or reference.removeprefix("arXiv:") in preprints, (name, reference)


def test_references_of_the_documentation_stand_in_the_bibliography():
    keys, _ = bibliography()
    cited = set(re.findall(r"`([a-z]+\d{4}[a-z]+)`", "".join(DOCS.values())))
    assert cited
    assert cited <= set(keys)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page):
    commands = re.findall(r"^python -m jensenbench ([^\n#]*)", page.read_text(), re.M)
    for command in (command for command in commands if "…" not in command):
        words = [word for word in command.split() if not word.startswith(("[", "<"))]
        parser().parse_args([word.rstrip("]") for word in words if word != "FILE]"])


def test_every_target_and_tier_that_is_named_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    text = "".join(DOCS.values())
    used = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M))
    tiers = set(re.findall(r"(?i)tier=(\w+)", text))
    assert used
    assert tiers
    assert used <= targets
    assert tiers <= {path.stem for path in (ROOT / "config").glob("*.yaml")}


def named(page: str, names: list[str]) -> list[str]:
    return [name for name in names if f"`{name}" not in DOCS[page] and f"`@{name}" not in DOCS[page]]


def test_every_tier_reads_and_is_named():
    tiers = sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))
    assert not named("README.md", tiers)
    for tier in tiers:
        assert config.read_tier(ROOT / "config" / f"{tier}.yaml").name == tier


def test_plug_ins_tasks_metrics_and_columns_are_described():
    assert not named("methods.md", public_modules("methods"))
    for method in registry.catalog()["methods"].values():
        assert not named("methods.md", list(method["variants"]))
    assert not named("pdes.md", public_modules("pdes"))
    assert not named("evaluation.md", [*TASKS, *POST_PROCESSING])
    internal = {"points"}  # the number of pixels behind a rate
    assert not named("evaluation.md", [name for name in METRICS if name not in internal])
    assert not named("data.md", [c for c in RUN_COLUMNS if c not in (*RUN_KEYS, "schema_version")])


def test_every_key_of_a_tier_is_described():
    assert not named("design.md", list(keys(TierSettings)))


def test_tables_of_settings_are_what_the_declarations_say():
    assert fill_tables(DOCS["design.md"]) == DOCS["design.md"], "run python -m jensenbench schema"


def test_readme_has_room_for_the_times():
    text = DOCS["README.md"]
    assert text.count("<!-- times:begin -->") == text.count("<!-- times:end -->") == 1
    assert text.index("<!-- times:begin -->") < text.index("<!-- times:end -->")
