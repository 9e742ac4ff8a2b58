"""Digests of sources: the definitions of modules and of all project modules that they import.

A digest names what code does: comments, docstrings, layout, import lines, and the names and places of modules leave it
unchanged, so that moving or renaming a module makes nothing stale. It is equal on every supported Python.
"""

import ast
import hashlib
import json
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from jensenbench.io.provenance import PACKAGES, ROOT, digest_file, digest_text

Facts = tuple[str, list[str]]  # digest of a module's definitions, project modules that it may import


def digest_sources(modules: Iterable[str]) -> str:
    """Digest of the definitions of modules and of all project modules that they import."""
    return digest_text("".join(sorted(module_facts(name)[0] for name in closure(modules))))


def public_modules(package: str) -> list[str]:
    """Names of the plug-in files of ``methods`` or ``pdes``."""
    return sorted(path.stem for path in (ROOT / package).glob("*.py") if not path.name.startswith("_"))


def closure(modules: Iterable[str]) -> set[str]:
    """The modules and, transitively, the project modules they import, by statement or by a literal name."""
    found: set[str] = set()
    queue = list(modules)
    while queue:
        name = queue.pop()
        if name not in found and module_path(name) is not None:
            found.add(name)
            queue.extend(module_facts(name)[1])
    return found


@cache
def module_path(module: str) -> Path | None:
    """The file of a module of the project."""
    base = ROOT.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def module_facts(module: str) -> Facts:
    """What the digests need to know of a module; kept by content, for parsing all sources takes seconds."""
    path = module_path(module)
    if path is None:
        raise FileNotFoundError(module)
    content = path.read_bytes()
    kept = facts_folder() / f"{hashlib.sha256(content).hexdigest()}.json"
    with suppress(OSError, ValueError):
        definitions, imported = json.loads(kept.read_text(encoding="utf-8"))
        return definitions, imported
    facts = read_facts(ast.parse(content, filename=str(path)))
    with suppress(OSError):  # a home that cannot be written costs time, no more
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(facts), encoding="utf-8")
        temporary.replace(kept)
    return facts


@cache
def facts_folder() -> Path:
    """Where facts are kept for all checkouts of this user, apart for each version of the rules and of Python."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "jensenbench", f"sources-{digest_file(Path(__file__))}-{platform.python_version()}")


def read_facts(tree: ast.Module) -> Facts:
    """Digest of a module's statements without imports, docstrings and comments; the project modules in it."""
    statements = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    definitions = "".join(f"{canonical(node)};" for node in without_docstring(statements))
    return digest_text(definitions), imported_modules(tree)


def canonical(node: object) -> str:
    """Text of a syntax tree that does not depend on the version of Python: fields by name, empty ones left out."""
    if isinstance(node, list):
        return f"[{','.join(map(canonical, node))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        fields["body"] = without_docstring(node.body)
    given = {name: value for name, value in sorted(fields.items()) if value not in (None, [])}
    # a constant's value may be None itself; its kind only tells how a string was written
    if isinstance(node, ast.Constant):
        given = {"value": node.value}
    inside = ",".join(f"{name}={canonical(value)}" for name, value in given.items())
    return f"{type(node).__name__}({inside})"


def without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements of a module, class or function after its docstring."""
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
    return body


def imported_modules(tree: ast.Module) -> list[str]:
    """Project modules that a module imports, and names that may be such, in alphabetical order."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            names.update(str(given.value) for given in node.args if isinstance(given, ast.Constant))
    return sorted(name for name in names if name.split(".")[0] in PACKAGES)
