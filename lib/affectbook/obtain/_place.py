"""The folder that a data set goes to: which it is, whether it can be filled, what comes next."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from affectbook import files
from affectbook.datasets import _folders, _registry
from affectbook.errors import DataError, DataFileError

AGAIN = "run the same command again: it goes on where it stopped"


def place(name: str, folder: Path | None = None) -> Path:
    """Return the folder that the files of a data set go to; nothing is made.

    Parameters
    ----------
    name
        The data set.
    folder
        The folder for its files, or one that holds such a folder under the set's name (in
        capitals or not). None: ``$AFFECTBOOK_DATA/<name>``, or what the variable names itself
        where that holds files of the set; ``data/<name>`` of the project where it is not set.

    Raises
    ------
    DataFileError
        If a folder may not be read.
    """
    module = _registry.module(name)
    bases = _bases() if folder is None else [Path(os.path.abspath(Path(folder).expanduser()))]
    with writing(bases[0], "the system refuses the folder of the data"):
        for base in filter(Path.is_dir, bases):
            inside = sorted(path for path in base.iterdir() if path.name.lower() == name)
            if there := [path for path in inside if path.is_dir()]:
                return there[0]
        for base in bases:
            if folder is not None or base.name.lower() == name or _holds(module, base):
                return base
    return bases[0] / name


def _bases() -> list[Path]:
    """Return the folders of all data sets that the variable may mean, else the project's."""
    value = os.environ.get(_folders.VARIABLE)
    if not value:
        return [files.project_root() / "data"]
    given = Path(value).expanduser()
    bases = [given] if given.is_absolute() else [Path.cwd() / given, files.project_root() / given]
    return [Path(os.path.normpath(base)) for base in bases]


def _holds(module: ModuleType, base: Path) -> bool:
    """Tell whether files of the set lie in a folder itself; readers take that, too."""
    try:
        return base.is_dir() and bool(module.subjects_in(base))
    except DataError:
        return False


@contextmanager
def writing(folder: Path, what: str = "the files cannot be written") -> Iterator[None]:
    """Say in one message what the system has against writing into a folder.

    Raises
    ------
    DataFileError
        For any OSError inside.
    """
    try:
        yield
    except OSError as error:
        raise DataFileError(
            what,
            file=error.filename or folder,
            field="folder",
            found=f"{type(error).__name__}: {error.strerror or error}",
            expected="a folder that can be read and written, on a disk with room",
            do=f"mend that, or choose another folder with DATA=<folder>; then {AGAIN}",
        ) from error


@contextmanager
def filling(title: str, folder: Path) -> Iterator[None]:
    """Make a folder that can be filled, by nobody else meanwhile; leave none that stayed empty.

    Raises
    ------
    DataError
        If it cannot be made or written, holds a simulated twin, or is being filled already.
    """
    new = not folder.exists()
    with writing(folder, "the folder for the data cannot be written"):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            os.close(handle)
            raise
    try:
        _lock(title, folder, handle)
        if _folders.twin_of(folder) is not None:
            raise DataError(
                f"the folder holds a simulated twin of {title}",
                file=folder / _folders.TWIN_FILE,
                field="simulated",
                found="true",
                expected="a folder for real recordings alone",
                do="choose another folder with DATA=<folder>, or delete the twin",
            )
        yield
    finally:
        os.close(handle)
        if new and not any(folder.iterdir()):
            folder.rmdir()


def _lock(title: str, folder: Path, handle: int) -> None:
    """Refuse a folder that another process fills; some file systems cannot tell."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(
            f"{title}: another process is filling this folder",
            file=folder,
            field="lock",
            found="held by another process",
            expected="one command at a time",
            do="wait until the other one is done",
        ) from None
    except OSError:
        pass


def check_room(title: str, folder: Path, needed: int) -> None:
    """Refuse to start where the disk has no room for `needed` bytes more.

    Raises
    ------
    DataFileError
        With both numbers.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataFileError(
            f"{title}: the disk has no room for it",
            file=folder,
            field="free space",
            found=shown_size(free),
            expected=f"{shown_size(needed)} for what is left to write",
            do=f"free the disk, or choose another folder with DATA=<folder>; then {AGAIN}",
        )


def shown_size(n_bytes: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.4g} {unit}"
    return f"{n_bytes} bytes"


def next_steps(name: str, folder: Path) -> list[str]:
    """Return how to check a data set that lies in a folder, and how to run it: two lines."""
    data = ""
    check = f"make check-data DATASET={name}"
    if folder.name.lower() != name:
        check = f"python -m affectbook.runs check-data {name} --root {shlex.quote(str(folder))}"
        data = f" DATA=<a folder that holds it as {name}/>"
    elif folder.parent != files.project_root() / "data":
        data = f" DATA={shlex.quote(str(folder.parent))}"
        check += data
    run = _registry.command(name, _registry.card(name).tier)
    return [f"Check it: {check}", f"Run it:   {run}{data}"]
