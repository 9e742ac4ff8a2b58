"""The three lists of packages say the same."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


def locked(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith(("#", "-r"))]
    return pins(lines)


def pins(lines: list[str]) -> dict[str, str]:
    found = [Requirement(line) for line in lines]
    return {re.sub(r"[-_.]+", "-", item.name).lower(): str(item.specifier) for item in found}


def test_environment_and_requirements_pin_the_same_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (by_pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert pins(by_pip) == locked("requirements.txt")


def test_every_package_is_pinned_to_one_version():
    for name in ("requirements.txt", "requirements-dev.txt"):
        for package, specifier in locked(name).items():
            assert re.fullmatch(r"==[^*+]+", specifier), f"{name}: {package}{specifier}"


def test_no_package_is_pinned_twice():
    assert not set(locked("requirements.txt")) & set(locked("requirements-dev.txt"))


def test_environment_runs_the_python_that_the_package_asks_for():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (python,) = [item for item in environment["dependencies"] if isinstance(item, str) and item.startswith("python=")]
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert Version(python.removeprefix("python=")) in Requirement(f"python{wanted}").specifier


def test_conda_lists_hold_what_conda_reads():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert set(environment) == {"name", "channels", "dependencies"}
    assert "pip" in environment["dependencies"]
