"""Where data lie: the places searched, the mark of a twin, and how a folder is named on a page."""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from affectbook.datasets import _registry
from affectbook.errors import CacheError, DataError, DataFileError, DataNotFoundError
from affectbook.files import project_root, write_text

TWIN_FILE = "TWIN.json"
VARIABLE = "AFFECTBOOK_DATA"
# What may lie in any folder of any set, and at the top of one.
_ANYWHERE = ("readme*", "licen[cs]e*", "*sha256sums*", "*md5sums*", "citation*")
_AT_TOP = ("twin.json", "mapping.toml", "manifest.json")
_ALL_BELOW = "**"
# What systems add to the name of a second copy, in lower case.
_SECOND = re.compile(r"^copy of | - copy(?=\.|$)| ?\(\d+\)(?=\.|$)")
# What systems leave behind; like hidden files they are of no set, whatever its patterns are.
_LEFT_BEHIND = ("__macosx", "thumbs.db", "desktop.ini")


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
    except CacheError:  # an OSError, too, but it is in words already
        raise
    except OSError as error:
        raise DataFileError(
            f"{_registry.card(name).title}: the system refuses a file",
            file=error.filename or folder,
            field="access",
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
        the folder that ``$AFFECTBOOK_DATA`` names itself, then ``data/<name>`` of the project. A
        relative ``$AFFECTBOOK_DATA`` is taken from the working folder, then from the project's,
        so that a notebook finds the same data.

    Raises
    ------
    DataNotFoundError
        With the places searched and how to get the data or their twin.
    DataFileError
        If a place may not be read.
    """
    bases = [*_given(), _own()] if root is None else [Path(root).expanduser()]
    with readable(name, bases[0]):
        searched = [] if root is None else bases[:1]
        for base in bases:
            searched += _named(base, name)
            if root is None and base != _own() and not _of_another(base, name):
                searched.append(base)
        for folder in searched:
            if folder.is_dir() and _registry.module(name).subjects_in(folder):
                return folder
    places = ", ".join(str(folder) for folder in searched)
    hint = "" if os.environ.get(VARIABLE) else f" (${VARIABLE} is not set)"
    raise DataNotFoundError(
        f"no files of {_registry.card(name).title} were found{hint}",
        file=searched[0],
        field="folder",
        found=f"nothing in {places}",
        expected=f"its files in one of them; ${VARIABLE} names the folder of all data sets, or "
        "that of this one",
        do=_advice(name),
    )


def _of_another(base: Path, name: str) -> bool:
    """Tell whether a folder has the name of another data set."""
    return base.name.lower() in _registry.names() and base.name.lower() != name


def _given() -> list[Path]:
    """Return the folders that ``$AFFECTBOOK_DATA`` may mean."""
    if not (value := os.environ.get(VARIABLE)):
        return []
    given = Path(value).expanduser()
    bases = [given] if given.is_absolute() else [Path.cwd() / given, project_root() / given]
    return list(dict.fromkeys(Path(os.path.normpath(base)) for base in bases))


def _own() -> Path:
    """Return the project's own folder of data sets."""
    return Path(os.path.normpath(project_root() / "data"))


def _named(base: Path, name: str) -> list[Path]:
    """Return the folders of `base` called `name` in whatever case, or the one that would be."""
    there = sorted(base.iterdir()) if base.is_dir() else []
    return [path for path in there if path.name.lower() == name] or [base / name]


def _advice(name: str) -> str:
    """Return what a reader without the data can do."""
    obtain, twin = _registry.card(name).obtain, _registry.command(name, "simulated")
    return f"{obtain}; or run on its simulated twin: {twin}"


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
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataFileError(
            "the mark of a simulated twin cannot be read",
            file=mark,
            field="the whole file",
            found=f"{type(error).__name__}: {error}",
            expected="simulated, subjects, effect, fingerprint and seed",
            do="delete the folder; the twin is made again",
        ) from error


def shown(name: str, folder: Path) -> str:
    """Return a folder as a page may show it, without the paths of this machine."""
    folder = Path(os.path.normpath(Path.cwd() / folder))
    if folder.is_relative_to(project_root()):
        return folder.relative_to(project_root()).as_posix()
    if folder in _given():
        return f"${VARIABLE}"
    if any(folder.is_relative_to(base) for base in _given()):
        return f"${VARIABLE}/{name}"
    return "/".join(folder.parts[-2:])


def strays(name: str, folder: Path) -> list[str]:
    """Return the files in a folder that are no part of a data set, by their names inside it.

    They are neither read, nor named by ``ALSO`` of the set's module, nor such as a README. A
    folder with nothing of the set in it is named alone, with a slash at its end.

    Raises
    ------
    DataFileError
        If a place may not be read.
    """
    module, folder = _registry.module(name), Path(folder)
    read: set[str] = set()
    with readable(name, folder):
        for subject in dict.fromkeys([*module.CARD.subjects, *module.subjects_in(folder)]):
            try:
                read |= {path.relative_to(folder).as_posix()
                         for path in module.files_of(folder, subject)}  # fmt: skip
            except DataError:  # of a subject that is not there
                continue
        patterns = [tuple(pattern.lower().split("/")) for pattern in module.ALSO]
        return sorted(_strays(folder, (), read, patterns))


def _strays(
    folder: Path, above: tuple[str, ...], read: set[str], patterns: Sequence[tuple[str, ...]]
) -> Iterator[str]:
    """Yield the strays of `folder`, which is `above` in the data set, and of those below it.

    No folder is entered but those where something of the set may lie: so a large tree beside the
    data is not walked through.
    """
    with os.scandir(folder) as entries:
        there = list(entries)
    for entry in there:
        parts = (*above, entry.name)
        path, lower = "/".join(parts), tuple(part.lower() for part in parts)
        if path in read:
            continue
        if _is_second(entry.name, above, read):
            yield path
            continue
        if not entry.is_dir():
            usual = _ANYWHERE if above else (*_ANYWHERE, *_AT_TOP)
            ours = any(_fit(lower, pattern) for pattern in patterns if len(pattern) == len(lower))
            if not (ours or any(_fit(lower[-1:], (one,)) for one in usual)):
                yield path
        elif any(pattern[-1] == _ALL_BELOW and _fit(lower, pattern[:-1]) for pattern in patterns):
            continue
        elif any(one.startswith(f"{path}/") for one in read) or any(
            len(pattern) > len(lower) and _fit(lower, pattern[: len(lower)]) for pattern in patterns
        ):
            yield from _strays(Path(entry.path), parts, read, patterns)
        else:
            yield f"{path}/"


def _is_second(name: str, above: tuple[str, ...], read: set[str]) -> bool:
    """Tell whether a file has the name of one that is read, as of a second download."""
    first = _SECOND.sub("", name.lower())
    if first == name.lower():
        return False
    return "/".join((*above, first)).lower() in {path.lower() for path in read}


def _fit(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Tell whether a path is of a pattern; hidden files are of none."""
    return len(parts) == len(pattern) and all(
        fnmatch.fnmatchcase(part, one) and not part.startswith(".") and part not in _LEFT_BEHIND
        for part, one in zip(parts, pattern, strict=True)
    )
