"""What a run says while it works: to the reader of a notebook, and to the driver that started it.

Inside a run (`DIR` is in the environment) each line also goes to `LOG` in the run's folder, which
the driver shows on the terminal, and which still says where the run was when its kernel is dead.
What is finished of it lies in `FOLDS`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

DIR = "AFFECTBOOK_RUN_DIR"
LOG = "progress.log"
FOLDS = "folds"
_SAID, _STEP = "! ", "  "


def folder() -> Path | None:
    """Return the folder of the run that this process belongs to; None outside a run."""
    named = os.environ.get(DIR)
    return Path(named) if named else None


def say(text: str) -> None:
    """Print a line, and have the driver of the run show it, too."""
    print(text, flush=True)
    _append(_SAID, text)


def step(text: str) -> None:
    """Note where the run is now, such as "hcmnet, group_kfold_subject: fold 2 of 3"."""
    _append(_STEP, text)


def lines(run: Path, start: int = 0) -> tuple[list[tuple[bool, str]], int]:
    """Return what a run said from a position of its log on, and the position after it.

    Returns
    -------
    tuple
        Pairs of whether a line is to be shown at once (`say`) and its text; and the position.
    """
    path = Path(run) / LOG
    if not path.is_file():
        return [], start
    with path.open("rb") as stream:
        stream.seek(start)
        whole, newline, _ = stream.read().rpartition(b"\n")
    texts = whole.decode(errors="replace").split("\n") if newline else []
    found = [(text.startswith(_SAID), text[len(_SAID) :]) for text in texts]
    return found, start + len(whole) + len(newline)


def last_step(run: Path) -> str | None:
    """Return where a run was when it last said so; None if it never did."""
    steps = [text for shown, text in lines(run)[0] if not shown]
    return steps[-1] if steps else None


def _append(kind: str, text: str) -> None:
    run = folder()
    if run is None or not run.is_dir():
        return
    try:
        with (run / LOG).open("a", encoding="utf-8") as stream:
            stream.write(f"{kind}{' '.join(text.splitlines())}\n")
    except OSError:
        pass  # on a full disk the work itself will say what is wrong


class Ended:
    """Runs that have ended: a bar on a terminal; elsewhere a line for each, with the time left."""

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        self.total, self.done, self.started = total, 0, time.monotonic()
        self.bar = tqdm(total=total, unit="run", disable=not sys.stderr.isatty())

    def __enter__(self) -> Ended:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.bar.close()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            print(f"{self.done} of {self.total} runs ended before the interrupt.", file=sys.stderr)

    def tell(self, name: str, state: str, *, good: bool) -> None:
        """Show that a run has ended."""
        self.done += 1
        if not self.bar.disable:
            if not good:
                self.bar.write(f"{name}: {state}")
            self.bar.update()
            return
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        told = f"[{self.done}/{self.total}] {name}: {state}"
        print(f"{told}; about {left / 60:.0f} min left" if left else told, flush=True)
