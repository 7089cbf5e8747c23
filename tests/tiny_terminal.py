"""A process with a terminal of its own, and what somebody types there."""

from __future__ import annotations

import os
import pty
import select
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
) -> tuple[int, str]:
    """Run a command to its end; return its status and all that was shown.

    Parameters
    ----------
    command
        The program by its path, and its arguments.
    act
        Called once, when a question is shown, with the terminal to type into and the process id.
    """
    child, terminal = pty.fork()
    if child == 0:
        try:
            os.chdir(folder or ".")
            os.execve(command[0], list(command), dict(environment or os.environ))
        finally:
            os._exit(127)
    shown, acted = b"", False
    while piece := _read(terminal):
        shown += piece
        if not acted and QUESTION in shown:
            acted = True
            act(terminal, child)
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, shown.decode().replace("\r\n", "\n")


def typing(text: str) -> Callable[[int, int], object]:
    """Return what answers a question with `text`."""
    return lambda terminal, process: os.write(terminal, text.encode())


def _read(terminal: int) -> bytes:
    """Return what comes next; nothing when the process has left its terminal or hangs."""
    if not select.select([terminal], [], [], _PATIENCE_S)[0]:
        return b""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
