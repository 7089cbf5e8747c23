"""A process with a terminal of its own, and what somebody types there."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

QUESTION = b"(or yes): "
_PATIENCE_S = 300


def on_a_terminal(
    command: Sequence[str],
    act: Callable[[int, int], object] = lambda terminal, process: None,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    again_s: float = _PATIENCE_S,
) -> tuple[int, str]:
    """Run a command to its end; return its status and all that was shown.

    Parameters
    ----------
    command
        The program by its path, and its arguments.
    act
        Called when a question is shown, with the terminal to type into and the process id.
    again_s
        Seconds of silence after which it is called once more: an interrupt that comes before the
        process waits for an answer is lost.
    """
    child, terminal = pty.fork()
    if child == 0:
        try:
            # Whoever runs the tests in the background has an interrupt ignored, and so would this.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.chdir(folder or ".")
            os.execve(command[0], list(command), dict(environment or os.environ))
        finally:
            os._exit(127)
    shown, acted, deadline = b"", False, time.monotonic() + _PATIENCE_S
    while (piece := _read(terminal, again_s)) != b"":
        shown += piece or b""
        if QUESTION in shown and (not acted or piece is None):
            acted = True
            act(terminal, child)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, shown.decode().replace("\r\n", "\n")


def typing(text: str) -> Callable[[int, int], object]:
    """Return what answers a question with `text`."""
    return lambda terminal, process: os.write(terminal, text.encode())


def _read(terminal: int, seconds: float) -> bytes | None:
    """Return what comes next: None if nothing does, empty when the process has left."""
    if not select.select([terminal], [], [], seconds)[0]:
        return None
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
