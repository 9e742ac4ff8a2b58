"""The plan as a file: made in a process of its own and kept until the configuration or the sources change.

Reading it needs no torch, so that the workflow starts quickly.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jensenbench.errors import UserError
from jensenbench.io.files import canonical_json, write_text
from jensenbench.io.provenance import PACKAGES, ROOT, digest_file, digest_text

FOLDER = Path("results/.plan")


def load_plan(config: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of a configuration, made anew when the configuration or a source file has changed.

    Raises UserError with the one line that the process printed when the configuration is wrong.
    """
    text = canonical_json(dict(config))
    settings = FOLDER / f"config-{digest_text(text)}.json"
    path = FOLDER / f"plan-{digest_text(text + all_files())}.json"
    if not path.exists():
        if not settings.exists():
            write_text(settings, text)
        command = [sys.executable, "-m", "jensenbench", "plan", "--tier", str(settings), "--out", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["the plan could not be made"])[-1]
            raise UserError(last.removeprefix("jensenbench plan: "))
    return json.loads(path.read_text(encoding="utf-8"))


def all_files() -> str:
    """Digests of all sources and of the tuned settings, by name; parsing them would cost more than a new plan."""
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    files = sorted([*sources, *(ROOT / "config" / "methods").glob("*.yaml")])
    return "".join(f"{path.relative_to(ROOT)}={digest_file(path)};" for path in files)
