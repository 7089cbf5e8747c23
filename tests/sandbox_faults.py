"""What goes wrong in the process that reads files, on purpose; the tests have it called there."""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import logging
import os
import signal
import stat
import sys
import time
from pathlib import Path

import numpy as np

from affectbook import errors


def given(*args: object) -> object:
    """Return what was given, and who returns it."""
    return list(args), os.getpid()


def array(dtype: str, shape: list[int], order: str) -> np.ndarray:
    """Return numbers in some layout."""
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape) % 97
    return np.asarray(numbers.astype(dtype), order=order)


def answers() -> dict[str, object]:
    """Return everything that an answer may hold."""
    return {
        "none": None, "list": [1, 2.5, float("nan"), float("inf"), True, "\u00e9\ud800\n"],
        "tuple": (np.arange(3), (np.float32(0.5), Path("a"))), 7: {"deep": {"er": []}},
        "empty": np.empty((0, 3), np.int16), "many": [np.full(2, n) for n in range(300)],
    }  # fmt: skip


def objects() -> np.ndarray:
    return np.array([{}], dtype=object)


def hold(n_bytes: int) -> int:
    """Take memory and give it back."""
    return len(np.ones(n_bytes, np.uint8))


def crash(how: str) -> None:
    """End the process in a way that no `except` sees."""
    if how == "address":
        ctypes.string_at(0)
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), getattr(signal, how))


def sleep() -> None:
    time.sleep(600)


def spin() -> None:
    while True:
        pass


def garbage(text: str) -> None:
    """Write into every pipe that there is, that of the answers included, and end."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if int(name) > 2 and stat.S_ISFIFO(os.fstat(int(name)).st_mode):
                os.write(int(name), text.encode("latin1"))
    os._exit(0)


def talk() -> int:
    """Print as libraries do, to what they take for the output, and read from the input."""
    print("from Python", flush=True)
    print("an error", file=sys.stderr, flush=True)
    os.write(1, b"from C\n")
    os.system("echo from a program")  # noqa: S605, S607
    return len(sys.stdin.read())


def fail(kind: str) -> None:
    if kind == "OSError":
        raise OSError(28, "No space left on device", "a.npz")
    raise getattr(errors, kind, getattr(builtins, kind, None))("two\nlines")


def wrong(kind: str, path: Path) -> None:
    """Raise an error of data with all parts, one of them no text."""
    raise getattr(errors, kind)(
        "it is wrong", file=path, field=("a", 1), found=[1, "two"], expected=b"raw", do="mend it"
    )


def log(name: str) -> None:
    logger = logging.getLogger(name)
    logger.warning("seen %d of %s", 3, "S2")
    logger.info("an aside")


def relative() -> str:
    return Path("note").read_text(encoding="utf-8")
