"""Published reference posteriors: the table of the documentation is what the files say."""

import re

from jensenbench.io.layout import POSTERIORS
from jensenbench.io.provenance import ROOT
from jensenbench.posteriors.files import ReferencePosterior


def line(path) -> str:
    """Row of the table for one file."""
    found = ReferencePosterior.load(path)
    settings, levels = found.meta["settings"], found.meta["settings"].get("levels", 1)
    sampler = f"`{settings['sampler']}`" + (f", {levels} levels" if levels > 1 else "")
    chains = f"{settings['chains']} × ({settings['warmup']} + {settings['steps']})"
    label = f"`{found.meta['pde']}` | {found.meta['task'].removesuffix('_noise0.05')} {found.meta['instance']}"
    numbers = f"{found.meta['acceptance']:.2f} | {float(found.rhat.max()):.4f} | {float(found.ess.min()):.0f}"
    return f"| {label} | {sampler} | {chains} | {numbers} | {found.status} |"


def test_the_table_of_the_documentation_is_what_the_files_say():
    files = sorted((ROOT / POSTERIORS).rglob("*.safetensors"))
    table = re.findall(r"^\| `.*-16` .*\|$", (ROOT / "docs" / "posteriors.md").read_text(), re.M)
    assert files
    assert table == [line(path) for path in files]
