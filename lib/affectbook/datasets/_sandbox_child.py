"""The process that reads files for another one: asks on its input, answers on its output."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from affectbook.datasets import _sandbox_wire
from affectbook.errors import AffectbookError, DataError

_GRACE_S = 10.0
_RECORDS = 200
log = logging.getLogger(__name__)


class _Kept(logging.Handler):
    """Keeps what is logged, as name, level and message."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[list] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.records) < _RECORDS:
            self.records.append([record.name, record.levelno, record.getMessage()[:2000]])


def serve() -> None:
    """Answer one line after the other until the input ends."""
    # What a library prints must not come between the answers.
    answers, asked = os.dup(1), os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    _no_core_files()
    kept, top = _Kept(), logging.getLogger("affectbook")
    top.addHandler(kept)
    top.setLevel(logging.DEBUG)
    top.propagate = False
    _sandbox_wire.send(answers, {"ready": True})
    for line in asked:
        kept.records.clear()
        arrays: list[np.ndarray] = []
        head = _answer(json.loads(line), arrays)
        _sandbox_wire.send(answers, {**head, "log": kept.records}, arrays)
        del head, arrays  # or they would be held until the next call has its own


def _answer(asked: dict, arrays: list[np.ndarray]) -> dict[str, object]:
    """Return the head of the answer to one line, its arrays in `arrays`."""
    try:
        os.chdir(asked["folder"])
        function = functools.reduce(
            getattr, asked["name"].split("."), importlib.import_module(asked["module"])
        )
        args = _sandbox_wire.unpack(asked["args"])
        with _no_longer(asked["seconds"]), _no_more(asked["memory"]):
            return {"answer": _sandbox_wire.pack(function(*args), arrays)}
    except MemoryError:
        arrays.clear()
        return {"fault": "memory"}
    except Exception as error:
        arrays.clear()
        log.debug("a call that failed", exc_info=True)
        return {"error": _told(error)}


def _told(error: Exception) -> dict[str, object]:
    """Return an error as a message can hold it."""
    name = type(error).__name__
    if isinstance(error, DataError):
        parts = {part: _said(getattr(error, part))
                 for part in ("file", "field", "found", "expected", "do")}  # fmt: skip
        return {"class": name, "what": error.what, "parts": parts}
    if isinstance(error, AffectbookError):
        return {"class": name, "what": str(error)}
    if isinstance(error, OSError) and error.errno is not None:
        at = None if error.filename is None else str(error.filename)
        return {"class": "OSError", "os": [error.errno, str(error.strerror), at]}
    return {"class": name, "what": " ".join(str(error).split())[:160]}


def _said(part: object) -> object:
    """Return a part of an error, as a text where it is nothing that can be sent."""
    try:
        return _sandbox_wire.pack(part, [])
    except TypeError:
        return str(part)


def _no_core_files() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def _no_longer(seconds: float) -> Iterator[None]:
    """End this process if nobody is left to end it when its time is over."""
    signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def _no_more(memory: int) -> Iterator[None]:
    """Let the system refuse to give more than so many bytes beyond what is held already.

    Where it cannot, the time is the only limit.
    """
    try:
        import resource

        before = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + memory
        known = [limit for limit in before if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min([most, *known]), before[1]))
    except (ImportError, OSError, ValueError):
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
