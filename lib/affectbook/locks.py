"""One process at a time: a lock that names who holds it, and that no dead process keeps."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from affectbook.errors import CacheError


@contextmanager
def alone(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock `path`; while another process holds it, say who and wait.

    The system takes the lock off a process that ends, in whatever way: what the file then still
    says of its holder is stale, and told as such.

    Parameters
    ----------
    path
        Its folder is made if it is missing.
    what
        What is locked, for the messages: "run 0123456789ab".

    Yields
    ------
    bool
        Whether this process had to wait: somebody else may have done the work meanwhile.

    Raises
    ------
    CacheError
        If the lock cannot be made, as in a folder that may not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock, waited = _locked(path, what)
    except OSError as error:
        raise CacheError(
            f"{what} could not be locked",
            file=path,
            found=error.strerror or type(error).__name__,
            expected="a folder that may be written, on a disk that knows locks",
            do="change its permissions or free its disk; build may be a link to another folder",
        ) from error
    try:
        _write(lock, {"pid": os.getpid(), "host": platform.node(),
                      "since": datetime.now(UTC).isoformat(timespec="seconds")})  # fmt: skip
        yield waited
    finally:
        # Whoever came after the file was removed by hand has a lock of the same name.
        if _is_at(path, lock):
            path.unlink(missing_ok=True)
        lock.close()


def _locked(path: Path, what: str) -> tuple[FileIO, bool]:
    """Return the open file that carries the lock, and whether there was somebody to wait for."""
    waited = False
    while True:
        # Without a buffer: what a full disk refuses would be written again when it is closed.
        lock = path.open("a+b", buffering=0)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            print(f"Waiting for {holder(path) or 'a process'}, which is making {what} ...",
                  flush=True)  # fmt: skip
            fcntl.flock(lock, fcntl.LOCK_EX)
        else:
            if not waited and holder(path):
                print(f"{holder(path)} ended before {what} was finished; going on from there.",
                      flush=True)  # fmt: skip
        if _is_at(path, lock):
            return lock, waited
        # The process before let the lock go with its file: this one is nobody's lock any more.
        lock.close()


def _is_at(path: Path, lock: FileIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False


def holder(path: Path) -> str:
    """Return who holds a lock, or held it and ended without letting it go; "" if nobody."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return f"process {told['pid']} on {told['host']} (since {told['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _write(lock: FileIO, told: dict[str, object]) -> None:
    """Replace what the file of a lock says, in place: another file would be another lock."""
    try:
        lock.truncate(0)
        lock.write(json.dumps(told).encode())
    except OSError:
        pass  # a full disk: the lock holds without a name
