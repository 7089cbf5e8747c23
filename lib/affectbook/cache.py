"""What is made once and kept: folders keyed by what they were made from, and sums of files."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from affectbook import files
from affectbook.errors import CacheError

MANIFEST = "MANIFEST.json"
# A file changed again within one tick of the file system's clock would look unchanged.
_TICK_NS = 2_000_000_000
log = logging.getLogger(__name__)


def key(told: object) -> str:
    """Return 16 hexadecimal digits for anything that JSON can say."""
    text = json.dumps(told, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder(kind: str, told: object, make: Callable[[Path], None], *, room: int = 0) -> Path:
    """Return a folder under ``build/``, made now unless it is there undamaged.

    It is made whole or not at all: `make` fills a folder beside it, which is then renamed.

    Parameters
    ----------
    kind
        Path below ``build/``, such as ``"cache/windows"``.
    told
        All that the content depends on, as JSON can say it; its `key` names the folder.
    make
        Called with an empty folder.
    room
        Bytes that it will take at least, where that is known: a disk without them is refused
        before `make` is called.

    Raises
    ------
    CacheError
        If the folder cannot be written: what the system said, and what room there is.
    """
    place = files.project_root().joinpath("build", *kind.split("/"), key(told))
    if is_whole(place):
        return place
    with _in_words(place, room):
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() or place.is_symlink():
            log.warning("build/%s/%s is damaged; it is made again", kind, place.name)
        _check_room(place, room)
        made = Path(tempfile.mkdtemp(dir=place.parent, prefix=".making-"))
        try:
            make(made)
            _finish(made, place, told)
        except OSError:
            # Another process may have finished the same folder in the meantime.
            if not is_whole(place):
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return place


def _finish(made: Path, place: Path, told: object) -> None:
    """List what is in a folder, and give it its name."""
    names = sorted(path for path in made.rglob("*") if path.is_file())
    sums = {path.relative_to(made).as_posix(): [path.stat().st_size, files.sha256(path)]
            for path in names}  # fmt: skip
    files.write_text(made / MANIFEST, json.dumps({"from": told, "files": sums}, indent=1))
    made.chmod(0o755)
    if is_whole(place):
        return
    if place.is_symlink() or place.is_file():
        place.unlink()
    shutil.rmtree(place, ignore_errors=True)
    made.rename(place)


@contextmanager
def _in_words(place: Path, room: int) -> Iterator[None]:
    """Say in one message what the system has against a folder under ``build/``.

    An error that names a file elsewhere is left alone.
    """
    try:
        yield
    except CacheError:
        raise
    except OSError as error:
        told = error.filename
        if isinstance(told, str) and not Path(told).is_relative_to(files.project_root() / "build"):
            raise  # it is about something that is read
        # NumPy tells of a full disk in words alone.
        said = error.strerror or " ".join(str(error).split())[:160] or type(error).__name__
        raise _unusable(place, said, room) from error


def _check_room(place: Path, room: int) -> None:
    if room and shutil.disk_usage(place.parent).free < room:
        raise _unusable(place, "too little room", room)


def _unusable(place: Path, said: str, room: int) -> CacheError:
    base = next(path for path in place.parents if path.is_dir())
    try:
        free = f"{shutil.disk_usage(base).free / 1e6:,.0f} MB are free"
    except OSError:
        free = "how much is free is not known"
    wanted = f" with {room / 1e6:,.0f} MB of room" if room else " with room on its disk"
    return CacheError(
        "what is made once and kept under build/ could not be written",
        file=place.parent,
        field="the folder",
        found=f"{said}; {free}",
        expected=f"a folder that may be written{wanted}",
        do="free the disk or change the permissions, then run again; build may be a link to a "
        "folder on another disk",
    )


def is_whole(place: Path) -> bool:
    """Tell whether a folder holds every byte that its manifest lists."""
    try:
        listed = json.loads((place / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(
            (place / name).stat().st_size == size and sha256(place / name) == digest
            for name, (size, digest) in listed.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read again only if its size or time of change differ."""
    path = Path(os.path.abspath(path))
    stat = path.stat()
    seen = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    note = files.project_root() / "build" / "cache" / "sums" / f"{key(str(path))}.json"
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
        if kept["seen"] == seen:
            return kept["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digest = files.sha256(path)
    if time.time_ns() - stat.st_mtime_ns < _TICK_NS:
        return digest
    try:
        files.write_text(note, json.dumps({"seen": seen, "sha256": digest}))
    except OSError as error:
        _say_unkept(str(note.parent), error.strerror or type(error).__name__)
    return digest


@functools.cache
def _say_unkept(place: str, said: str) -> None:
    """Log, once for a folder and reason, that sums are not kept."""
    log.warning("sums of files could not be kept in %s (%s): each is read anew", place, said)
