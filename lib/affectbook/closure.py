"""What a piece of code computes with: the files of this package that it can import."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

PACKAGE = "affectbook"
_DOTTED = re.compile(rf"{PACKAGE}(\.\w+)*\.?")
_BY_NAME = {"import_module", "iter_modules", "__import__"}


def closure(source: str, lib: Path, leave_out: Iterable[str] = ()) -> list[Path]:
    """Return every file of the package that Python code can reach through its imports, sorted.

    Imports count wherever they stand, also inside functions. A module that is imported by a name
    made while running counts with all modules beside it, and a module brings the CSV and TOML
    files that lie beside it.

    Parameters
    ----------
    source
        Python code: a script, or the code cells of a notebook.
    lib
        The folder that holds the package.
    leave_out
        Dotted modules that are not followed, with whatever only they import.
    """
    left_out = {_file(name, lib) for name in leave_out}
    todo, seen = list(_files(_names(source, PACKAGE), lib)), set()
    while todo:
        path, parent = todo.pop()
        if (path, parent) in seen or path in left_out:
            continue
        seen.add((path, parent))
        todo += _imports_of(path, parent, path.stat().st_mtime_ns, lib)
    files = {path for path, _ in seen}
    folders = {path.parent for path in files}
    tables = (folder.glob(kind) for folder in folders for kind in ("*.csv", "*.toml"))
    return sorted(files.union(*tables))


def closure_of(module: str, lib: Path, leave_out: Iterable[str] = ()) -> list[Path]:
    """Return the closure of one module, the module itself included."""
    return closure(f"import {module}", lib, leave_out)


def digest(files: Iterable[Path], root: Path, *more: str) -> str:
    """Return one SHA-256 over the names and contents of `files` and over the strings `more`."""
    total = hashlib.sha256()
    for text in more:
        total.update(hashlib.sha256(text.encode()).digest())
    for path in sorted(files):
        total.update(hashlib.sha256(path.relative_to(root).as_posix().encode()).digest())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _file(name: str, lib: Path) -> Path | None:
    path = lib.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _files(names: Iterable[str], lib: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the files of dotted names, and those of the packages around them marked as parents.

    A name that ends in a dot stands for all modules of a package.
    """
    for name in names:
        parts = name.rstrip(".").split(".")
        steps = [_file(".".join(parts[:stop]), lib) for stop in range(1, len(parts) + 1)]
        found = [path for path in steps if path]
        yield from ((path, path != found[-1]) for path in found)
        if name.endswith("."):
            yield from ((path, False) for path in sorted(lib.joinpath(*parts).rglob("*.py")))


@lru_cache(maxsize=1024)
def _imports_of(path: Path, parent: bool, changed: int, lib: Path) -> tuple[tuple[Path, bool], ...]:
    """Return the files that the module at `path` imports; `changed` keys the cache.

    A package that is only passed on the way to one of its modules does not look modules up.
    """
    package = ".".join(path.relative_to(lib).with_suffix("").parts[:-1])
    names = _names(path.read_text(encoding="utf-8"), package)
    if parent:
        names.discard(f"{package}.")
    return tuple(_files(names, lib))


def _names(source: str, package: str) -> set[str]:
    """Return the modules of this package that `source` names; the code stands in `package`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        found.update(_names_of(node, package))
    return {name for name in found if name.split(".")[0] == PACKAGE}


def _names_of(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{_base(node, package)}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and _called(node) in _BY_NAME:
        if not (node.args and isinstance(node.args[0], ast.Constant)):
            yield f"{package}."
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if _DOTTED.fullmatch(node.value):
            yield node.value


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def code_hash(path: Path) -> str:
    """Hash what a Python file does: neither comments nor docstrings nor layout count.

    Other files are hashed as they are.
    """
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [statement for statement in body if not _is_text(statement)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(statement: ast.stmt) -> bool:
    """Return whether a statement is nothing but a string, as docstrings are."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
