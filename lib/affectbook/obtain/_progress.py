"""How far a long transfer is: a bar on a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tqdm import tqdm

from affectbook.obtain._place import shown_size

_SHARE = 10  # percent between two plain lines


class Progress:
    """Counts bytes where their number is known beforehand, else files.

    Parameters
    ----------
    title
        What is counted.
    n_files
        How many files there are.
    n_bytes
        How many bytes, or None.
    echo
        Takes a line of text, where standard error is no terminal.
    done
        Bytes that are there already.
    shown
        False for what is too small to be shown.
    """

    def __init__(
        self, title: str, n_files: int, n_bytes: int | None, echo: Callable, done: int = 0,
        *, shown: bool = True,
    ) -> None:  # fmt: skip
        self._title, self._echo, self._by_bytes = title, echo, n_bytes is not None
        self._total = n_bytes if n_bytes is not None else n_files
        self._done = done if self._by_bytes else 0
        self._told = self._percent()
        unit = {"unit": "B", "unit_scale": True} if self._by_bytes else {"unit": "file"}
        bar = shown and sys.stderr.isatty()
        self._plain = shown and not bar
        self._bar = tqdm(total=self._total, initial=self._done, desc=title, disable=not bar, **unit)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def bytes(self, count: int) -> None:
        """Note bytes that came, or with a negative number some that have to come again."""
        if self._by_bytes:
            self._add(count)

    def file(self) -> None:
        """Note that a file is whole."""
        if not self._by_bytes:
            self._add(1)

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        self._bar.clear()
        self._echo(line)
        self._bar.refresh()

    def _percent(self) -> int:
        return 100 * self._done // self._total if self._total else 100

    def _add(self, count: int) -> None:
        self._done += count
        self._bar.update(count)
        if self._plain and self._percent() >= self._told + _SHARE:
            self._told = self._percent() // _SHARE * _SHARE
            shown = [shown_size(n) if self._by_bytes else n for n in (self._done, self._total)]
            self._echo(
                f"{self._title}: {shown[0]} of {shown[1]}{'' if self._by_bytes else ' files'}"
            )
