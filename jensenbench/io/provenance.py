"""Where a number comes from: digests of sources, settings, files and environment."""

import ast
import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from jensenbench.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jensenbench", "methods", "pdes")
LIBRARIES = ("torch", "numpy", "scipy", "pandas", "h5py")


def digest_text(text: str) -> str:
    """First 16 hex digits of SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_file(path: Path) -> str:
    """First 16 hex digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


class FileWatch:
    """Remembers a file's content; :meth:`check` refuses it once it has changed. A new date alone is no change."""

    def __init__(self, path: Path):
        self.path = path
        self._stamp = self._stat()
        self._digest = digest_file(path) if self._stamp else None

    def check(self) -> None:
        """Raise UserError if the content is no longer that of the start."""
        stamp = self._stat()
        if stamp == self._stamp:
            return
        if stamp is None or digest_file(self.path) != self._digest:
            raise UserError(
                f"{self.path} changed while it was in use: nothing is written; put it back and start again to go on, "
                "or start again as it is to begin anew"
            )
        self._stamp = stamp

    def _stat(self) -> tuple[int, int, int] | None:
        if not self.path.exists():
            return None
        found = self.path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns


def digest_sources(modules: Iterable[str]) -> str:
    """Digest of the definitions of modules and of all project modules that they import.

    It names what the code does: comments, docstrings, layout, import lines, and the names and places of modules leave
    it unchanged, so that moving or renaming a module makes nothing stale. Equal on every supported Python.
    """
    return digest_text("".join(sorted(definitions_digest(name) for name in closure(modules))))


def closure(modules: Iterable[str]) -> set[str]:
    """The modules and, transitively, the project modules they import, by statement or by a literal name."""
    found: set[str] = set()
    queue = list(modules)
    while queue:
        name = queue.pop()
        if name not in found and _path(name) is not None:
            found.add(name)
            queue.extend(_imports(name))
    return found


def public_modules(package: str) -> list[str]:
    """Names of the plug-in files of ``methods`` or ``pdes``."""
    return sorted(path.stem for path in (ROOT / package).glob("*.py") if not path.name.startswith("_"))


@cache
def environment_digest() -> str:
    """Digest of Python, of the numerical libraries and of the processor's architecture."""
    return digest_text(f"{versions()};{platform.machine()}")


@cache
def versions() -> str:
    """Versions of Python and the numerical libraries, as one line."""
    found = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    return ", ".join([f"python {platform.python_version()}", *found])


@cache
def git_commit() -> str:
    """Commit of the checkout, with ``+`` if sources differ from it; ``unknown`` outside git.

    A repository around the checkout that is not its own says nothing about it.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return "unknown"
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *PACKAGES)
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    if path is None:
        raise FileNotFoundError(module)
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def definitions_digest(module: str) -> str:
    """Digest of a module's statements without imports, docstrings and comments."""
    statements = [node for node in _tree(module).body if not isinstance(node, ast.Import | ast.ImportFrom)]
    return digest_text("".join(f"{canonical(node)};" for node in without_docstring(statements)))


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


@cache
def _imports(module: str) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            names.update(str(given.value) for given in node.args if isinstance(given, ast.Constant))
    return frozenset(name for name in names if name.split(".")[0] in PACKAGES)
