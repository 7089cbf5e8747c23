"""Faults inside the processes of a run, made from outside: Python reads this file as it starts.

The environment says what happens: `FAULT_AT` names a point, `FAULT` a signal or what else happens
there, `FAULT_TO` whether this process or the other one of driver and kernel gets the signal,
`FAULT_STAY` for how many seconds this one then stays where it is, and `FAULT_UNTIL` which file it
waits for. It happens once: `FAULT_MARK` is then made, and holds the process at the point.
`FAULT_ORPHAN` keeps a kernel from ending with its driver; `FAULT_ROOM` is what a disk is said to
have. No code of the project knows of this.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import pathlib
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

AT, MARK = os.environ.get("FAULT_AT", ""), os.environ.get("FAULT_MARK", "")
KERNEL = bool({"ipykernel_launcher", "--multiprocessing-fork"} & set(sys.orig_argv))
"""Whether this process trains: a kernel, or a worker of a sweep."""
FIRST, LATER = 1, 5


def happen() -> None:
    """Let the fault happen, unless it has before."""
    try:
        handle = os.open(MARK, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return
    os.write(handle, str(os.getpid()).encode())
    os.close(handle)
    what = os.environ["FAULT"]
    if what.startswith("SIG"):
        other = os.environ.get("FAULT_TO") == "other"
        os.kill(os.getppid() if other else os.getpid(), getattr(signal, what))
    else:
        HAPPENS[what]()
    time.sleep(float(os.environ.get("FAULT_STAY", "0")))
    until = os.environ.get("FAULT_UNTIL")
    while until and not os.path.exists(until):
        time.sleep(0.05)


def fill() -> None:
    """Fill the disk that build lies on."""
    with open("../build/ballast" if KERNEL else "build/ballast", "wb", buffering=0) as ballast:
        with contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))


def take_memory() -> None:
    """Ask for more memory than this process may have."""
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    bytearray(2**31)


def talk() -> None:
    """Write to this process's own outputs, and as it ends, when it aborts as a library may."""

    def end() -> None:
        with open(MARK, "a") as mark:
            mark.write(" ended")
        os.write(2, b"Assertion failed: at its end\n")
        os.abort()

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for own in (1, 2):
        os.write(own, b"Assertion failed: while it works\n")
    atexit.register(end)


HAPPENS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "exit": lambda: os._exit(9),
    "memory": take_memory,
    "error": lambda: 1 / 0,
    "full": fill,
    "talk": talk,
    "no room in a file": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)),
}


def after(module: object, name: str, nth: int = 1, *, before: bool = True) -> None:
    """Let it happen at the `nth` call of a function."""
    original, calls = getattr(module, name), []

    def wrapped(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == nth and before:
            happen()
        done = original(*args, **kwargs)
        if len(calls) == nth and not before:
            happen()
        return done

    setattr(module, name, wrapped)


def half_written(files: object, wanted: Callable[[pathlib.Path], bool], nth: int = 1) -> None:
    """Let it happen when half of a file is written under its temporary name."""
    original, calls = files.write_atomic, []

    def write_atomic(path: pathlib.Path, write: Callable) -> pathlib.Path:
        def half(temporary: pathlib.Path) -> None:
            write(temporary)
            calls.append(1)
            if len(calls) == nth:
                whole = temporary.read_bytes()
                temporary.write_bytes(whole[: len(whole) // 2])
                happen()
                temporary.write_bytes(whole)

        return original(path, half if wanted(pathlib.Path(path)) else write)

    files.write_atomic = write_atomic


def written(files: object, wanted: Callable[[pathlib.Path], bool], nth: int = 1) -> None:
    """Let it happen as soon as a file has its name."""
    original, calls = files.write_atomic, []

    def write_atomic(path: pathlib.Path, write: Callable) -> pathlib.Path:
        done = original(path, write)
        if wanted(pathlib.Path(path)):
            calls.append(1)
            if len(calls) == nth:
                happen()
        return done

    files.write_atomic = write_atomic


def renamed(*, before: bool) -> None:
    """Let it happen when a run gets its name."""
    original = pathlib.Path.replace

    def replace(path: pathlib.Path, target: object) -> object:
        own = path.name.startswith(".unfinished-")
        if own and before:
            happen()
        done = original(path, target)
        if own and not before:
            happen()
        return done

    pathlib.Path.replace = replace


def is_fold(path: pathlib.Path) -> bool:
    return path.parent.parent.name == "folds"


POINTS = {
    "before the kernel runs anything": (
        True, "ipykernel.kernelapp", lambda app: after(app.IPKernelApp, "start")),
    "in the first fold": (
        True, "affectbook.guess", lambda guess: after(guess.Guess, "learn", FIRST)),
    "in a later fold": (
        True, "affectbook.guess", lambda guess: after(guess.Guess, "learn", LATER)),
    "a fold half written": (
        True, "affectbook.files", lambda files: half_written(files, is_fold, 2)),
    "before a fold is written": (
        True, "affectbook.folds", lambda folds: after(folds, "write_text", 2)),
    "a fold written": (True, "affectbook.files", lambda files: written(files, is_fold, 2)),
    "scores half written": (
        True, "affectbook.files",
        lambda files: half_written(files, lambda path: path.name == "scores.csv")),
    "provenance half written": (
        False, "affectbook.files",
        lambda files: half_written(files, lambda path: path.name == "provenance.json")),
    "the page half rendered": (False, "affectbook.runpage", lambda page: after(page, "plain")),
    "before the run has its name": (False, "affectbook.attempt", lambda _: renamed(before=True)),
    "when the run has its name": (False, "affectbook.attempt", lambda _: renamed(before=False)),
}  # fmt: skip


class Finder:
    """Changes one module when it is imported."""

    def __init__(self, wanted: str, change: Callable[[object], object]) -> None:
        self.wanted, self.change = wanted, change

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """Return the spec of that module, which changes it once it is loaded."""
        if name != self.wanted:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load, change = spec.loader.exec_module, self.change

        def exec_module(module: object) -> None:
            load(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


if MARK:  # else a test has imported this
    if not KERNEL and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # Whoever runs the tests in the background has an interrupt ignored, and so would this.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # No paper here has a layer to scan: what would do it is asked for its name, and takes torch.
    sys.modules["affectbook.models.scans"] = SimpleNamespace(fused=SimpleNamespace(name=str))
    if AT and POINTS[AT][0] == KERNEL:
        sys.meta_path.insert(0, Finder(*POINTS[AT][1:]))
    if os.environ.get("FAULT_ORPHAN"):
        sys.meta_path.insert(0, Finder(
            "ipykernel.parentpoller",
            lambda poller: setattr(poller.ParentPollerUnix, "run", lambda self: None)))  # fmt: skip
    if os.environ.get("FAULT_ROOM"):
        shutil.disk_usage = lambda path: SimpleNamespace(free=int(os.environ["FAULT_ROOM"]))
