"""Run what parses a file in another process, so that a bad file can end that one only.

A damaged MATLAB file can crash SciPy, and a file made to do harm can ask for all memory or for
ever. So `call` has one process of its own do the parsing, within bounds of memory and time; what
goes wrong there is one message about the file. The process is started once, with the first file,
and again after each fault. It is no wall against code that runs in it: none of what a file says is
run there either.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from affectbook import errors
from affectbook.datasets import _sandbox_wire
from affectbook.errors import DataError, DataFileError

START_S = 120.0
"""Seconds that starting the process may take; it takes about 0.2."""
_GONE_S = 5.0
AGAIN = "get the file again from the publisher and compare its size"
_PACKAGES = ("affectbook",)
_PIPE_SIZE = 1031, 2**20  # F_SETPIPE_SZ of Linux: fewer turns between the two processes
log = logging.getLogger(__name__)


def call(function: Callable, *args: object, memory: int, seconds: float, file: Path) -> object:
    """Return what a function of this package returns, called in another process.

    Parameters
    ----------
    function
        A function at the top of a module.
    args
        Numbers, texts, paths, None, lists and tuples of them.
    memory
        Bytes that the call may take beyond what the process holds already, and that the arrays of
        its answer may have. Where the system sets no such limit, only the latter holds.
    seconds
        How long it may take.
    file
        The file that an error is about.

    Raises
    ------
    DataError
        As `function` raises it, with all its parts.
    DataFileError
        If it takes more memory or time, crashes, or fails in a way that it does not know.
    OSError
        As `function` raises it.
    """
    name = function.__qualname__
    if function.__module__.partition(".")[0] not in _PACKAGES or not name.isidentifier():
        raise ValueError(f"{function.__module__}.{name} is no function of this package")
    arrays: list[np.ndarray] = []
    asked = {"module": function.__module__, "name": name, "folder": _folder()}
    asked |= {"args": _sandbox_wire.pack(list(args), arrays), "memory": memory, "seconds": seconds}
    if arrays:
        raise TypeError("an array cannot be sent to the process, only from it")
    line = json.dumps(asked).encode("ascii") + b"\n"
    with _lock:
        try:
            head, arrays = _ask(line, memory, seconds, Path(file))
            if head.get("fault"):
                raise _too_large(memory, file)
            error, answer = _result(head, arrays, Path(file))
        except BaseException:  # an interrupt, too: an answer to come would be taken for the next
            stop()
            raise
    if error is not None:
        raise error
    return answer


def stop() -> None:
    """End the process, if there is one; the next call starts another."""
    global _child
    child, _child = _child, None
    if child is not None:
        for stream in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for a disk that is gone
            child.wait(_GONE_S)


def _after_fork() -> None:
    """Leave the process to the one that started it; holding its input would keep it alive."""
    global _child, _lock
    child, _child, _lock = _child, None, threading.RLock()
    if child is not None:
        for stream in (child.stdin, child.stdout):
            stream.close()
        child.returncode = 0  # nothing to wait for here


_child: subprocess.Popen | None = None
_lock = threading.RLock()
atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return os.sep


def _ask(line: bytes, memory: int, seconds: float, file: Path) -> tuple[dict, list[np.ndarray]]:
    """Return head and arrays of the answer to a line."""
    for last in (False, True):
        child = _started(file)
        try:
            _sandbox_wire.write(child.stdin.fileno(), line)
            break
        except BrokenPipeError:  # it was ended from outside while it had nothing to do
            stop()
            if last:
                raise _ended(child, file) from None
    return _received(child, memory, seconds, file)


def _started(file: Path) -> subprocess.Popen:
    """Return the process, started now unless it runs."""
    global _child
    if _child is not None and _child.poll() is None:
        return _child
    stop()
    paths = [os.path.normpath(os.path.join(_folder(), path)) for path in sys.path]
    own = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1",
           "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # fmt: skip
    try:
        _child = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # such as what the C library says of a crash
            bufsize=0,
            env=os.environ | own,
            process_group=0,  # an interrupt of the keyboard is for this process
        )
    except (OSError, ValueError) as error:
        raise _unstarted(file, f"{type(error).__name__}: {error}") from error
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.fcntl(_child.stdout, *_PIPE_SIZE)
    try:
        head, _ = _received(_child, 0, START_S, file)
    except DataFileError as error:
        raise _unstarted(file, error.found) from error
    if head.get("ready") is not True:
        raise _unstarted(file, "it sends no sign that it is ready")
    return _child


def _received(
    child: subprocess.Popen, memory: int, seconds: float, file: Path
) -> tuple[dict, list[np.ndarray]]:
    """Return head and arrays of a message of the process."""
    handle, until, poll = child.stdout.fileno(), time.monotonic() + seconds, select.poll()
    poll.register(handle, select.POLLIN)

    def fill(view: memoryview) -> None:
        while view:
            # What has come counts also if it is late: this process may have been stopped.
            if not poll.poll(max(0.0, 1000 * (until - time.monotonic()))):
                raise TimeoutError
            count = os.readv(handle, [view])
            if not count:
                raise EOFError
            view = view[count:]

    try:
        return _sandbox_wire.receive(fill, memory)
    except TimeoutError:
        raise _too_slow(seconds, file) from None
    except EOFError:
        raise _ended(child, file) from None
    except MemoryError:
        raise _too_large(memory, file) from None
    except Exception as error:  # a process gone wrong may send anything
        raise _failed(file, f"an answer that is none: {str(error)[:160]}") from error


def _result(head: dict, arrays: list[np.ndarray], file: Path) -> tuple[Exception | None, object]:
    """Return the error or the answer that a head holds; log what was logged."""
    try:
        for name, level, message in head["log"]:
            logger = logging.getLogger(name)
            if logger.isEnabledFor(level):
                logger.handle(logger.makeRecord(name, level, name, 0, message, (), None))
        if "error" in head:
            return _error(head["error"], file), None
        return None, _sandbox_wire.unpack(head["answer"], arrays)
    except Exception as wrong:  # a process gone wrong may send anything
        raise _failed(file, f"an answer that is none: {str(wrong)[:160]}") from wrong


def _error(told: dict, file: Path) -> Exception:
    """Return the error that a head tells of."""
    if "os" in told:
        number, text, name = told["os"]
        return OSError(number, text, name)
    kind = getattr(errors, told["class"], None)
    if isinstance(kind, type) and issubclass(kind, DataError):
        parts = {part: _sandbox_wire.unpack(value) for part, value in told["parts"].items()}
        return kind(told["what"], **parts)
    if isinstance(kind, type) and issubclass(kind, errors.AffectbookError):
        return kind(told["what"])
    return _failed(file, f"{told['class']}: {told['what']}")


def _fault(file: Path, what: str, found: str, expected: str, do: str = AGAIN) -> DataFileError:
    return DataFileError(
        what, file=file, field="the whole file", found=found, expected=expected, do=do
    )


def _too_large(memory: int, file: Path) -> DataFileError:
    most = f"{memory / 1e6:.0f} MB"
    return _fault(
        file,
        "reading the file takes more memory than a file of its size and kind can need",
        f"more than {most} asked for",
        f"at most {most}",
    )


def _too_slow(seconds: float, file: Path) -> DataFileError:
    return _fault(
        file,
        "reading the file takes too long",
        f"no end after {seconds:.0f} s",
        "less time than that, for a file of its size",
        f"{AGAIN}; where the disk is slow, copy it to another one first",
    )


def _ended(child: subprocess.Popen, file: Path) -> DataFileError:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_GONE_S)
    code = child.returncode
    how, do = f"exit status {code}", AGAIN
    if code is not None and code < 0:
        how = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if how == "SIGKILL":
        how += ", with which a system ends what takes the last of its memory"
        do = f"close other programs and run again, or {AGAIN}"
    return _fault(
        file,
        "the file made the process that reads it crash",
        f"an end with {how}",
        "a whole file that can be read",
        do,
    )


def _unstarted(file: Path, found: str) -> DataFileError:
    return DataFileError(
        "the file was not read, since the process that reads files did not start",
        file=file,
        field="the process",
        found=found,
        expected="one that imports this package",
        do=f"see what `{sys.executable} -P -m {__name__}` says; make the environment again",
    )


def _failed(file: Path, found: str) -> DataFileError:
    return _fault(file, "the file could not be read", found, "a whole file of the set's layout")


if __name__ == "__main__":
    from affectbook.datasets import _sandbox_child

    _sandbox_child.serve()
