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
from affectbook.files import write_text

KEY, QUIET = "AFFECTBOOK_RUN_KEY", "AFFECTBOOK_QUIET"
ATTEMPTS = "attempts.json"
_EVERY_S, _STEPS_EVERY_S = 0.5, 15.0


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
        """Return CPU time of this attempt, the highest memory of a process, and all attempts."""
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
        """Return in which fold the run was and that it can go on, as one sentence or none."""
        step = progress.last_step(self.folder)
        if step is None:
            return ""
        return f"It was in {step}. The same command goes on at that fold."


@contextmanager
def attempt(folder: Path, key: str) -> Iterator[Attempt]:
    """Let a run be made in `folder`, whose finished folds of earlier attempts are used.

    What fails before a fold was finished leaves nothing.
    """
    before = _interrupted(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / progress.LOG).unlink(missing_ok=True)
    done = len(list((folder / progress.FOLDS).glob("*/*.json")))
    if done:
        print(f"Going on: {done} folds were finished before it was interrupted.", flush=True)
    started = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": 0.0}
    write_text(folder / ATTEMPTS, json.dumps([*before, started]))
    environment = {progress.DIR: str(folder), KEY: key}
    os.environ.update(environment)
    try:
        yield Attempt(folder, before, time.monotonic(), _children_s())
    finally:
        for name in environment:
            os.environ.pop(name, None)
        if folder.is_dir() and not (folder / progress.FOLDS).is_dir():
            shutil.rmtree(folder, ignore_errors=True)


def finish(unfinished: Path, folder: Path) -> None:
    """Give a finished run its name; what was only for resuming goes."""
    old = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    unfinished.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(folder / progress.FOLDS, ignore_errors=True)
    for name in (progress.LOG, ATTEMPTS):
        (folder / name).unlink(missing_ok=True)


def _interrupted(folder: Path) -> list[dict[str, object]]:
    """Return the attempts before this one; the last ended when a file was last changed."""
    try:
        told = json.loads((folder / ATTEMPTS).read_text(encoding="utf-8"))
        last = max(path.stat().st_mtime for path in folder.rglob("*") if path.is_file())
        begun = datetime.fromisoformat(told[-1]["started"]).timestamp()
        told[-1]["seconds"] = round(max(0.0, last - begun), 1)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return []
    return told


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
