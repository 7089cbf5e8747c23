"""One attempt at a run: its folder while it is unfinished, what it says, time and memory."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from affectbook import execute, progress
from affectbook.errors import CacheError
from affectbook.files import write_text

KEY, QUIET = "AFFECTBOOK_RUN_KEY", "AFFECTBOOK_QUIET"
ATTEMPTS = "attempts.json"
_EVERY_S, _STEPS_EVERY_S = 0.5, 15.0
# A kernel learns from the environment of this process which run it belongs to.
_ONE_AT_A_TIME = threading.Lock()


@dataclass
class Attempt:
    """A run that is being made in a folder.

    Attributes
    ----------
    folder : pathlib.Path
        The unfinished run.
    before : list of dict
        Attempts that were interrupted: when they started, how long they lasted at least.
    """

    folder: Path
    before: list[dict[str, object]]
    _started: float
    _cpu: float

    @property
    def seconds(self) -> float:
        """Wall time of all attempts so far."""
        return sum(one["seconds"] for one in self.before) + time.monotonic() - self._started

    def usage(self) -> dict[str, object]:
        """Return CPU time of this attempt, the highest memory of a process, and all attempts.

        The memory is the highest of all processes that this one has started and seen the end of.
        """
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        now = {"seconds": round(time.monotonic() - self._started, 1)}
        return {
            "cpu_seconds": round(_children_s() - self._cpu, 1),
            # In kilobytes on Linux, in bytes on macOS.
            "peak_memory_mb": round(peak / (1e6 if sys.platform == "darwin" else 1e3)),
            "attempts": [*self.before, now],
        }

    def execute(
        self,
        source: Path,
        output: Path,
        failed: Path,
        parameters: Mapping[str, object] | None = None,
        timeout: int | None = None,
    ) -> Path:
        """Execute a notebook as `execute.execute` does, and show what it says meanwhile.

        Raises
        ------
        NotebookFailed
            With the fold it was in, and how to go on.
        """
        with _shown(self.folder):
            return execute.execute(source, output, failed, parameters, timeout, self._where)

    def _where(self) -> str:
        """Return to which fold the run had come, and that it can go on, or nothing."""
        step = progress.last_step(self.folder)
        if step is None:
            return ""
        return f"It had come to {step}. The same command goes on there."


@contextmanager
def attempt(folder: Path, key: str | None = None, *, forced: bool = False) -> Iterator[Attempt]:
    """Let a run be made in `folder`, whose finished folds of earlier attempts are used.

    What fails before a fold was finished leaves nothing.

    Parameters
    ----------
    folder
        Of the unfinished run.
    key
        Of the run; the book's own run has none, since no page can lead to its folder.
    forced
        Made again from the start: attempts before that were not are forgotten.

    Raises
    ------
    CacheError
        If what belongs to the run cannot be written, as on a full disk; finished folds are kept.
    """
    environment = {progress.DIR: str(folder)} | ({KEY: key} if key else {})
    with _ONE_AT_A_TIME:
        try:
            with one_message(folder):
                before = _begin(folder, forced)
                os.environ.update(environment)
                yield Attempt(folder, before, time.monotonic(), _children_s())
        finally:
            for name in environment:
                os.environ.pop(name, None)
            if folder.is_dir() and not (folder / progress.FOLDS).is_dir():
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def one_message(folder: Path) -> Iterator[None]:
    """Turn what a disk says into the message of a run whose results could not be kept.

    Raises
    ------
    CacheError
        Instead of an OSError.
    """
    try:
        yield
    except CacheError:
        raise
    except OSError as error:
        raise CacheError(
            "the results of a run could not be kept",
            file=error.filename or folder,
            found=error.strerror or type(error).__name__,
            expected="a folder that may be written, with room on its disk",
            do="free the disk and run the same command again: it goes on where it was",
        ) from error


def _begin(folder: Path, forced: bool) -> list[dict[str, object]]:
    """Make the folder ready and return the attempts before: of these, only folds are taken over."""
    before = _interrupted(folder)
    if forced and not (before and all(one.get("forced") for one in before)):
        shutil.rmtree(folder, ignore_errors=True)
        before = []
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder)
    done = len(list((folder / progress.FOLDS).glob("*/*.json")))
    if done:
        print(f"Going on: {done} folds were finished before it was interrupted.", flush=True)
    now = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": 0.0}
    now |= {"forced": True} if forced else {}
    write_text(folder / ATTEMPTS, json.dumps([*before, now]))
    return before


def clear(folder: Path) -> None:
    """Leave of attempts before what they list and finished folds.

    Their tables could pass for those of this one, and what a killed process had not given its name
    yet would stay.
    """
    for path in [*folder.iterdir(), *folder.rglob(".*")]:
        if path.is_file() and path.name != ATTEMPTS:
            path.unlink(missing_ok=True)


def finish(unfinished: Path, folder: Path) -> None:
    """Give a finished run its name; what was only for resuming goes."""
    old = _old(folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    unfinished.replace(folder)
    tidy(folder)


def tidy(folder: Path) -> None:
    """Remove what a finished run needs no more: `finish` may have been killed at any point."""
    for path in (_old(folder), folder / progress.FOLDS):
        shutil.rmtree(path, ignore_errors=True)
    for name in (progress.LOG, ATTEMPTS):
        (folder / name).unlink(missing_ok=True)


def _old(folder: Path) -> Path:
    return folder.with_name(f".old-{folder.name}")


def _interrupted(folder: Path) -> list[dict[str, object]]:
    """Return the attempts before this one; the last ended when a file was last changed."""
    try:
        told = json.loads((folder / ATTEMPTS).read_text(encoding="utf-8"))
        last = max(path.stat().st_mtime for path in folder.rglob("*") if path.is_file())
        begun = datetime.fromisoformat(told[-1]["started"]).timestamp()
        told[-1]["seconds"] = round(max(0.0, last - begun), 1)
        return [dict(one) for one in told]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return []


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _shown(folder: Path) -> Iterator[None]:
    """Print what a run says while it works, and now and then the fold it is in."""
    if os.environ.get(QUIET):
        yield
        return
    done = threading.Event()

    def follow() -> None:
        position, told_at = 0, time.monotonic()
        while True:
            ending = done.wait(_EVERY_S)
            found, position = progress.lines(folder, position)
            for shown, text in found:
                now = time.monotonic()
                if shown or now - told_at > _STEPS_EVERY_S:
                    tqdm.write(text, file=sys.stdout)
                    sys.stdout.flush()
                    told_at = now
            if ending:
                return

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    try:
        yield
    finally:
        done.set()
        reader.join()
