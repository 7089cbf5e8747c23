"""What a refusal must look like, in Python and on the command line."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_project import ROOT

from affectbook import datasets, files, windows
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError

PARTS = ("file", "field", "found", "expected", "do")
LONGEST = 800
"""Characters of a message without the paths in it: six lines of a terminal, and no wall of text."""


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def heard() -> Iterator[list[logging.LogRecord]]:
    """Collect what the package logs."""
    records: list[logging.LogRecord] = []
    handler, package = logging.Handler(), logging.getLogger("affectbook")
    handler.emit = records.append
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield records
    finally:
        package.removeHandler(handler)
        package.setLevel(level)


def refused(
    act: Callable[[], object],
    *words: str,
    folder: Path | None = None,
    names: str | None = None,
    parts: tuple[str, ...] = PARTS,
) -> DataError:
    """Check that an act ends in one good message and leaves nothing behind; return the error.

    Parameters
    ----------
    act
        What is to be refused.
    words
        What the message must say.
    folder
        The data: not a file in it may be new or changed afterwards.
    names
        What the part `file` must have in it.
    parts
        Which parts must be there.
    """
    before = contents(folder) if folder else {}
    with heard() as records, pytest.raises(DataError) as caught:
        act()
    error, text = caught.value, str(caught.value)
    missing = [part for part in parts if not str(getattr(error, part) or "").strip()]
    assert not missing, f"the message does not say {missing}: {text}"
    assert text.isprintable(), f"more than one plain line: {text!r}"
    assert len(text.replace(str(folder), "")) <= LONGEST, f"{len(text)} characters: {text}"
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    if names is not None:
        assert names in str(error.file), f"it names {error.file}, not {names}"
    said = [record for record in records if record.levelno >= logging.ERROR or record.exc_info]
    assert not said, [record.getMessage() for record in said]
    assert not any("Traceback" in record.getMessage() for record in records)
    if folder:
        assert contents(folder) == before, "files of the data folder are new or changed"
    nothing_half_made()
    return error


def nothing_half_made() -> None:
    """Check that no temporary file or folder is left where results are kept."""
    build = files.project_root() / "build"
    left = [path for path in build.rglob("*") if path.name.startswith(".") or "tmp" in path.name]
    assert not left, left


def read(
    name: str, folder: Path, subjects: list[str] | None = None, **options: object
) -> list[Recording]:
    """Return all recordings, as a user gets them."""
    return list(datasets.load(name, folder, subjects, **options))


def cut(
    name: str, folder: Path, subjects: list[str] | None = None, **options: object
) -> windows.Windows:
    """Return windows of 1 s at 64 Hz of a set's first kind of channels and first label rule."""
    rule = datasets.card(name).label_rules[0].name
    recordings = datasets.load(name, folder, subjects)
    return windows.make_windows(recordings, 1.0, 0.0, 64.0, label_rule=rule, **options)


def hash_of(made: windows.Windows) -> str:
    """Return one sum over windows, labels and where they lie."""
    total = hashlib.sha256(made.X.tobytes())
    total.update(made.y.tobytes())
    total.update(made.meta.to_csv(index=False).encode())
    return total.hexdigest()


def warnings_of(records: list[logging.LogRecord]) -> list[str]:
    """Return the lines that were logged as warnings."""
    return [record.getMessage() for record in records if record.levelno >= logging.WARNING]


def command(
    *argv: object, data: Path | None = None, accept: str = ""
) -> subprocess.CompletedProcess:
    """Run ``python -m affectbook.runs`` as a user does."""
    drop = ("AFFECTBOOK_DATA", "AFFECTBOOK_ACCEPT_LICENCE")
    environment = {key: value for key, value in os.environ.items() if key not in drop}
    environment |= {"OMP_NUM_THREADS": "1"}
    environment |= {"AFFECTBOOK_DATA": str(data)} if data else {}
    environment |= {"AFFECTBOOK_ACCEPT_LICENCE": accept} if accept else {}
    return subprocess.run(
        [sys.executable, "-m", "affectbook.runs", *map(str, argv)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def printed(*argv: object, words: tuple[str, ...] = (), **where: object) -> str:
    """Check that a command ends with status 2 and one message, and no traceback; return it."""
    done = command(*argv, **where)
    everything = done.stdout + done.stderr
    assert "Traceback" not in everything, everything
    assert done.returncode == 2, f"status {done.returncode}: {everything}"
    messages = [line for line in done.stderr.splitlines() if "do: " in line or "[" in line]
    assert len(messages) == 1, done.stderr
    for word in words:
        assert word in messages[0], f"{word!r} is not in: {messages[0]}"
    for success in ("Page:", "Scores:", "complete", "as published"):
        assert success not in done.stdout, done.stdout
    return messages[0]
