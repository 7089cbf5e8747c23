"""Where data lie: the places searched, the mark of a twin, and how a folder is named on a page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from affectbook.datasets import _registry
from affectbook.errors import DataFileError, DataNotFoundError
from affectbook.files import project_root, write_text

TWIN_FILE = "TWIN.json"
VARIABLE = "AFFECTBOOK_DATA"


@contextmanager
def readable(name: str, folder: Path) -> Iterator[None]:
    """Say in one message what the system has against a file, such as that it may not be read.

    Raises
    ------
    DataFileError
        For any OSError inside.
    """
    try:
        yield
    except OSError as error:
        raise DataFileError(
            f"{_registry.card(name).title}: the system refuses a file",
            file=error.filename or folder,
            found=f"{type(error).__name__}: {error.strerror or error}",
            expected="files and folders that may be read, on a disk with room for what is kept",
            do="change the permissions or free the disk, or get the file again",
        ) from error


def find_root(name: str, root: str | Path | None = None) -> Path:
    """Return the folder that holds the files of a data set.

    Parameters
    ----------
    name
        The data set.
    root
        The folder with its files, or one that holds it under the set's name (in capitals or
        not). Where it is given nothing else is searched; else ``$AFFECTBOOK_DATA/<name>``, then
        ``data/<name>`` of the project. A relative ``$AFFECTBOOK_DATA`` is taken from the
        working folder, then from the project's, so that a notebook finds the same data.

    Raises
    ------
    DataNotFoundError
        With the places searched and how to get the data or their twin.
    DataFileError
        If a place may not be read.
    """
    bases = _bases() if root is None else [Path(root).expanduser()]
    with readable(name, bases[0]):
        searched = [folder for base in bases for folder in _named(base, name)]
        searched = searched if root is None else [*bases, *searched]
        for folder in searched:
            if folder.is_dir() and _registry.module(name).subjects_in(folder):
                return folder
    places = ", ".join(str(folder) for folder in searched)
    hint = "" if os.environ.get(VARIABLE) else f" (${VARIABLE} is not set)"
    raise DataNotFoundError(
        f"no files of {_registry.card(name).title} were found{hint}",
        found=f"nothing in {places}",
        expected=f"its files in one of them; ${VARIABLE} names the folder of all data sets",
        do=_advice(name),
    )


def _bases() -> list[Path]:
    """Return the folders that hold data sets under their names."""
    bases = []
    if value := os.environ.get(VARIABLE):
        given = Path(value).expanduser()
        bases += [given if given.is_absolute() else Path.cwd() / given]
        bases += [] if given.is_absolute() else [project_root() / given]
    return list(dict.fromkeys(Path(os.path.normpath(b)) for b in [*bases, project_root() / "data"]))


def _named(base: Path, name: str) -> list[Path]:
    """Return the folders of `base` called `name` in whatever case, or the one that would be."""
    there = sorted(base.iterdir()) if base.is_dir() else []
    return [path for path in there if path.name.lower() == name] or [base / name]


def _advice(name: str) -> str:
    """Return what a reader without the data can do."""
    target = _registry.card(name).label_rules[0].target
    target = "" if target == "condition" else f" -p target {target}"
    # The chapter that there is reads ECG; a set without one is at least there for Python.
    twin = (
        f'make run PAPER=hcmnet ARGS="-p dataset {name} -p tier simulated{target}"'
        if "ecg" in _registry.module(name).CHANNELS
        else f"affectbook.datasets.prepare({name!r}, 'simulated')"
    )
    return f"{_registry.card(name).obtain}; or run on its simulated twin: {twin}"


def mark_twin(folder: Path, subjects: Iterable[str], **dials: float) -> Path:
    """Write the mark of a simulated twin: its subjects, and the dials it was made with."""
    mark = {"simulated": True, **dials, "subjects": list(subjects)}
    return write_text(Path(folder) / TWIN_FILE, json.dumps(mark, indent=1) + "\n")


def twin_of(folder: Path) -> dict | None:
    """Return what the mark of a simulated twin says, or None where the data are real.

    Raises
    ------
    DataFileError
        If the mark cannot be read.
    """
    mark = folder / TWIN_FILE
    if not mark.exists():
        return None
    try:
        content = json.loads(mark.read_text(encoding="utf-8"))
        if content["simulated"] is not True:
            raise ValueError("the folder is marked, but not as simulated")
        subjects = content["subjects"]
        if not (isinstance(subjects, list) and all(isinstance(s, str) for s in subjects)):
            raise ValueError("subjects are not a list of names")
        return {key: content[key] for key in ("effect", "fingerprint", "seed", "subjects")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFileError(
            "the mark of a simulated twin cannot be read",
            file=mark,
            found=f"{type(error).__name__}: {error}",
            expected="simulated, subjects, effect, fingerprint and seed",
            do="delete the folder; the twin is made again",
        ) from error


def shown(name: str, folder: Path) -> str:
    """Return a folder as a page may show it, without the paths of this machine."""
    folder = Path(os.path.normpath(Path.cwd() / folder))
    if folder.is_relative_to(project_root()):
        return folder.relative_to(project_root()).as_posix()
    if os.environ.get(VARIABLE) and any(folder.is_relative_to(base) for base in _bases()):
        return f"${VARIABLE}/{name}"
    return "/".join(folder.parts[-2:])
