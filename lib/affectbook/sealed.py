"""Recorded tables and their sums: what was edited by hand is refused, not shown.

The sums stand in the provenance beside the tables, with one over the provenance itself. They tell
an edit from a record; against somebody who computes them anew there is the history of the files.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from affectbook import locks
from affectbook.errors import DataFileError
from affectbook.files import sha256, write_text

PROVENANCE = "provenance.json"
_KINDS = (".csv", ".csv.gz")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def folders(folder: Path) -> list[Path]:
    """Return the folders of records below `folder`, sorted: what holds tables or a provenance."""
    there = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
    return [
        path
        for path in there
        if path.is_dir() and path.name[0] != "." and (_tables(path) or (path / PROVENANCE).exists())
    ]


def seal(folder: Path, told: Mapping[str, object]) -> Path:
    """Write a provenance with the sums of the tables beside it, and one over itself.

    Parameters
    ----------
    folder
        Holds the tables, ``*.csv`` and ``*.csv.gz``, whole.
    told
        The provenance; JSON can hold it.
    """
    own = {name: value for name, value in told.items() if name not in ("files", "seal")}
    own["files"] = {name: sha256(Path(folder) / name) for name in _tables(Path(folder))}
    own = json.loads(json.dumps(own))  # as it will be read
    text = json.dumps(own | {"seal": _sum(own)}, indent=1)
    return write_text(Path(folder) / PROVENANCE, text + "\n")


def require(folder: Path, do: str = "") -> dict:
    """Return the provenance of a record, if the record is what was recorded.

    Parameters
    ----------
    folder
        Of the record.
    do
        What the reader can do otherwise.

    Raises
    ------
    DataFileError
        If it has no seal, a table or the provenance was changed, or a table is missing or new.
    """
    folder = Path(folder)
    do = do or (
        f"take the committed file back: git checkout -- {_where(folder)}, or record the run again "
        "with make record"
    )
    told = _read(folder, do)
    if not isinstance(told.get("files"), dict) or "seal" not in told:
        raise DataFileError(
            "a record has no seal", file=folder / PROVENANCE, field="files, seal",
            found="no sums of its tables", expected="those that make record writes", do=do,
        )  # fmt: skip
    own = {name: value for name, value in told.items() if name != "seal"}
    if told["seal"] != _sum(own):
        raise DataFileError(
            "the provenance of a record is not what was recorded", file=folder / PROVENANCE,
            field="seal", found=_sum(own), expected=told["seal"], do=do,
        )  # fmt: skip
    for name in sorted({*told["files"], *_tables(folder)}):
        require_sum(folder / name, told["files"].get(name), do)
    return told


def glance(folder: Path) -> dict:
    """Return the provenance of a record whether it is whole or not; empty if there is none."""
    try:
        told = json.loads((Path(folder) / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def check(path: Path, do: str = "") -> None:
    """Check one table of a run against the provenance beside it, if there is one with sums.

    Raises
    ------
    DataFileError
        If the table is not the one that the run wrote.
    """
    path = Path(path)
    beside = path.with_name(PROVENANCE)
    do = do or "run it again with --force; tables of a run are not edited"
    told = _read(path.parent, do) if beside.is_file() else {}
    if isinstance(told.get("files"), dict):
        require_sum(path, told["files"].get(path.name), do)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change the record in ``results/recorded/<name>``.

    What a process left that was killed meanwhile is undone first.
    """
    folder = Path(folder).absolute()
    lock = folder.parents[2] / "build" / "records" / f".{folder.name}.lock"
    with locks.alone(lock, f"the record {folder.name}"):
        put_back(folder)
        yield


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Give an empty folder whose content takes the place of `folder`: all of it or nothing.

    A process that is killed meanwhile leaves `folder` as it was, at the latest after `put_back`.
    """
    folder = Path(folder)
    fresh, before = _beside(folder)
    put_back(folder)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if not folder.exists():
            fresh.replace(folder)
        elif not _exchanged(fresh, folder):
            folder.replace(before)
            fresh.replace(folder)
    finally:
        put_back(folder)


def put_back(folder: Path) -> None:
    """Undo what a process left that was killed while it replaced `folder`."""
    fresh, before = _beside(Path(folder))
    if before.is_dir() and not Path(folder).exists():
        before.replace(folder)
    for path in (fresh, before):
        shutil.rmtree(path, ignore_errors=True)


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".fresh-{folder.name}"), folder.with_name(f".before-{folder.name}")


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places in one step, where the system can; return whether it could."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    paths = [os.fsencode(path.absolute()) for path in (one, other)]
    return rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0


def _tables(folder: Path) -> list[str]:
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted(name for name in names if name.endswith(_KINDS) and name[0] != ".")


def _read(folder: Path, do: str) -> dict:
    path = folder / PROVENANCE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = "no such file"
    except ValueError as error:
        found = f"no JSON: {error}"
    else:
        if isinstance(told, dict):
            return told
        found = type(told).__name__
    raise DataFileError(
        "the provenance of a record cannot be read", file=path, field=PROVENANCE, found=found,
        expected="a JSON object with the sums of the tables", do=do,
    )  # fmt: skip


def require_sum(path: Path, expected: object, do: str) -> None:
    """Refuse a table whose SHA-256 is not the expected one; None: there should be no such table.

    Raises
    ------
    DataFileError
        With what the reader can `do`.
    """
    found = sha256(path) if path.is_file() else "no such file"
    if expected is None:
        found, expected = f"a table with the sum {found}", "no such table: it was not recorded"
    if found != expected:
        raise DataFileError(
            "a table of scores is not what was recorded", file=path, field="SHA-256", found=found,
            expected=expected, do=do,
        )  # fmt: skip


def _sum(told: Mapping[str, object]) -> str:
    """Return a sum over a provenance that does not hang on its layout."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _where(folder: Path) -> str:
    return "/".join(folder.parts[-3:])
