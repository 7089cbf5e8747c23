"""Peak memory of this process and of those it started, while something runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

_EVERY_S = 0.005


class Peak:
    """What was measured, in bytes: the most that this process and its children grew by together."""

    def __init__(self) -> None:
        self.before = self.most = self.now()

    def now(self) -> int:
        """Return resident bytes of this process and all below it."""
        own = psutil.Process(os.getpid())
        total = 0
        for process in (own, *own.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:  # it has just ended
                continue
        return total

    @property
    def grown(self) -> int:
        """Return the peak beyond what was there before."""
        return self.most - self.before


@contextmanager
def peak() -> Iterator[Peak]:
    """Measure the largest resident memory of this process and its children."""
    found, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY_S):
            found.most = max(found.most, found.now())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()
        found.most = max(found.most, found.now())
