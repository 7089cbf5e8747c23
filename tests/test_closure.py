"""The closure of code is every file of the package that it can import, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectbook.closure import closure, closure_of, code_hash, digest

FILES = {
    "__init__.py": "",
    "leaf.py": "X = 1",
    "lazy.py": "def f():\n    from affectbook import leaf\n    return leaf",
    "data/__init__.py": "import importlib\nfrom affectbook.data import card\n"
    "def get(name):\n    return importlib.import_module(f'{__name__}.{name}')",
    "data/card.py": "",
    "data/one.py": "from affectbook.leaf import X",
    "data/two.py": "",
    "data/table.csv": "a,b\n",
    "other.py": "import affectbook.lazy",
}


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "affectbook" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def names(paths: list[Path], lib: Path) -> set[str]:
    found = {path.relative_to(lib / "affectbook").as_posix() for path in paths}
    return found - {"__init__.py"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import numpy", set()),
        ("from affectbook import leaf", {"leaf.py"}),
        ("import affectbook.lazy", {"lazy.py", "leaf.py"}),
        ("from affectbook.other import anything", {"other.py", "lazy.py", "leaf.py"}),
        (
            "from affectbook.data import two",
            {"data/__init__.py", "data/card.py", "data/two.py", "data/table.csv"},
        ),
        (
            "from affectbook.data import get",
            {f"data/{name}" for name in ("__init__.py", "card.py", "one.py", "two.py", "table.csv")}
            | {"leaf.py"},
        ),
        ("import importlib\nimportlib.import_module('affectbook.leaf')", {"leaf.py"}),
    ],
)
def test_closure(lib: Path, source: str, found: set[str]) -> None:
    assert names(closure(source, lib), lib) == found


def test_what_is_left_out_takes_along_what_only_it_imports(lib: Path) -> None:
    without = closure_of("affectbook.other", lib, leave_out=["affectbook.lazy"])
    assert names(without, lib) == {"other.py"}


def test_the_digest_follows_content_and_name_and_nothing_else(lib: Path) -> None:
    files = closure("import affectbook.lazy", lib)
    before = digest(files, lib)
    files[-1].touch()
    assert digest(list(reversed(files)), lib) == before
    assert digest(files, lib, "more") != before
    files[-1].write_text("changed = True")
    assert digest(files, lib) != before


def test_what_a_file_does_is_hashed_not_how_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('"""Doc."""\n\n\ndef f(x):\n    """Say."""\n    return x + 1  # why\n')
    before = code_hash(path)
    path.write_text("def f(x):\n\n    return (x +\n            1)\n")
    assert code_hash(path) == before
    path.write_text("def f(x):\n    return x + 2\n")
    assert code_hash(path) != before


def test_a_table_is_hashed_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    before = code_hash(path)
    path.write_text("a,b\n1,3\n")
    assert code_hash(path) != before
