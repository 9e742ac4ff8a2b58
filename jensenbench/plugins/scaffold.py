"""Scaffolding of ``new method NAME`` and ``new pde NAME``: a runnable template that passes its conformance checks."""

import keyword
import re
from pathlib import Path
from string import Template

from jensenbench.errors import UnknownName, UserError
from jensenbench.io.files import write_text
from jensenbench.io.provenance import ROOT
from jensenbench.io.sources import public_modules

FOLDERS = {"method": "methods", "pde": "pdes"}
RESERVED = ("control",)  # label of the controls in every table
_TEMPLATES = Path(__file__).parent / "templates"


def run(kind: str, name: str) -> None:
    """Write ``methods/{name}.py`` or ``pdes/{name}.py`` and print what to do next."""
    path = write_stub(kind, name)
    print(f"wrote {path.relative_to(ROOT)}")
    print(f"check it      python -m jensenbench check {kind} {name}")
    if kind == "method":
        print("see it run    snakemake --cores all --configfile config/micro.yaml (runs every method found)")
        print(f"compare it    name {name!r} under `methods:` in config/default.yaml, then make reproduce")
    else:
        print(
            f"compare it    add {{pde: {name}, settings: {{n: 16}}, priors: [...]}} under `pdes:` in a file of config/"
        )


def write_stub(kind: str, name: str) -> Path:
    """Write the template of a method or PDE; returns its path.

    Raises:
        UnknownName: ``kind`` is neither ``method`` nor ``pde``.
        UserError: the name is taken, reserved, or cannot be a module's.
    """
    if kind not in FOLDERS:
        raise UnknownName("kind of plug-in", kind, FOLDERS)
    _check_name(kind, name)
    path = ROOT / FOLDERS[kind] / f"{name}.py"
    template = Template((_TEMPLATES / f"{kind}.py.in").read_text(encoding="utf-8"))
    write_text(path, template.substitute(name=name, title=name.title().replace("_", "")))
    return path


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or name in RESERVED:
        raise UserError(
            f"{name!r} cannot name a {kind}: use lower-case letters, digits and _, a letter first, no reserved word"
        )
    if name in public_modules(FOLDERS[kind]) or (ROOT / FOLDERS[kind] / name).exists():
        raise UserError(f"{FOLDERS[kind]}/{name}.py exists already: choose another name, or edit it")
