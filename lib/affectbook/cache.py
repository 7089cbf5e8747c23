"""What is made once and kept: folders keyed by what they were made from, and sums of files."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from affectbook import files

MANIFEST = "MANIFEST.json"
# A file changed again within one tick of the file system's clock would look unchanged.
_TICK_NS = 2_000_000_000
log = logging.getLogger(__name__)


def key(told: object) -> str:
    """Return 16 hexadecimal digits for anything that JSON can say."""
    text = json.dumps(told, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder(kind: str, told: object, make: Callable[[Path], None]) -> Path:
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

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    place = files.build_dir(*kind.split("/")) / key(told)
    if is_whole(place):
        return place
    if place.exists():
        log.warning("build/%s/%s is damaged; it is made again", kind, place.name)
    made = Path(tempfile.mkdtemp(dir=place.parent, prefix=".making-"))
    try:
        make(made)
        names = sorted(path for path in made.rglob("*") if path.is_file())
        sums = {path.relative_to(made).as_posix(): [path.stat().st_size, files.sha256(path)]
                for path in names}  # fmt: skip
        files.write_text(made / MANIFEST, json.dumps({"from": told, "files": sums}, indent=1))
        made.chmod(0o755)
        # Another process may have finished the same folder in the meantime.
        if not is_whole(place):
            shutil.rmtree(place, ignore_errors=True)
            made.rename(place)
    except OSError:
        if not is_whole(place):
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place


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
    except OSError:
        log.debug("the sum of a file could not be kept beside the cache")
    return digest
