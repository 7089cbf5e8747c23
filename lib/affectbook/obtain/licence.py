"""The licence of a data set is shown and accepted once, on a terminal."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from affectbook.datasets import _licence, _registry
from affectbook.errors import LicenceError


def ask(name: str, folder: Path) -> None:
    """Ask on a terminal to accept the licence of a data set for a folder, and keep the answer.

    Nothing is asked for an open set, a twin, or where the licence was accepted before.

    Raises
    ------
    LicenceError
        If there is no terminal, or the answer is anything but the data set's name or ``yes``.
    ParameterError
        If ``$AFFECTBOOK_ACCEPT_LICENCE`` names what is no data set.
    """
    try:
        _licence.require(name, folder)
        return
    except LicenceError as error:
        refusal = error
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
        raise refusal
    print(_question(name, folder), end="", file=sys.stderr, flush=True)
    answer = _answer()
    if answer.strip().lower() not in (name, "yes"):
        raise LicenceError(
            f"the licence of {_registry.card(name).title} was not accepted",
            file=folder,
            field="licence",
            found=f"the answer {answer.strip()!r}" if answer.strip() else "no answer",
            expected=f"{name} or yes",
            do=f"start again and type {name}, or run on the simulated twin: tier simulated",
        )
    _licence.confirm(name, folder)


def _is_terminal(stream: object) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _question(name: str, folder: Path) -> str:
    card = _registry.card(name)
    lines = [f"{card.title} is a licensed data set. Its licence is confirmed once for a folder.\n"]
    for label, text in (("Licence:", card.licence), ("To get it:", card.obtain)):
        lines.append(
            textwrap.fill(
                text,
                width=96,
                initial_indent=f"  {label:<11}",
                subsequent_indent=" " * 13,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    lines.append(f"  {'Folder:':<11}{folder}")
    return "\n".join(lines) + f"\n\nIf you accept this licence, type {name} (or yes): "


def _answer() -> str:
    """Return the line that was typed; nothing for the end of input or bytes that are no text."""
    try:
        line = sys.stdin.readline()
    except (OSError, ValueError):
        line = ""
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise
    if not line.endswith("\n"):
        print(file=sys.stderr)
    return line
