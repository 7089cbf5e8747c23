"""The licence is asked for on a terminal, once; anything but an acceptance leaves data closed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_dreamer import empty_project
from tiny_terminal import on_a_terminal, typing

from affectbook.datasets import _folders, _licence, wesad
from affectbook.errors import LicenceError
from affectbook.obtain import licence

# A fresh process whose project is the first argument.
SCRIPT = """
import sys
from pathlib import Path
from affectbook import files
files.project_root = lambda: Path(sys.argv[1])
from affectbook.errors import LicenceError
from affectbook.obtain import licence
try:
    licence.ask("wesad", Path(sys.argv[2]))
except LicenceError as error:
    sys.exit(f"refused: {error}")
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty project in which nothing is confirmed."""
    monkeypatch.delenv(_licence.VARIABLE, raising=False)
    monkeypatch.setenv(_licence._THIS_RUN, "[]")
    return empty_project(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with real data, as far as anyone can tell."""
    place = tmp_path / "Größe, mit Leerzeichen" / "wesad"
    place.mkdir(parents=True)
    return place


class Terminal:
    """A pseudo terminal in the place of this process's input and messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ours, theirs = pty.openpty()
        self.stdin = os.fdopen(os.dup(theirs), "r", encoding="utf-8")
        self.stderr = os.fdopen(theirs, "w", encoding="utf-8")
        # pytest puts its own streams back when a test begins, but not into this module.
        streams = SimpleNamespace(stdin=self.stdin, stderr=self.stderr)
        monkeypatch.setattr(licence, "sys", streams)

    def type(self, text: str | bytes) -> None:
        """Type before the question comes."""
        os.write(self.ours, text if isinstance(text, bytes) else text.encode())

    def shown(self) -> str:
        """Return all that stands on the terminal since the last look."""
        self.stderr.write("\x00")
        self.stderr.flush()
        text = b""
        while not text.endswith(b"\x00"):
            text += os.read(self.ours, 4096)
        return text[:-1].decode().replace("\r\n", "\n")

    def close(self) -> None:
        for stream in (self.stdin, self.stderr):
            stream.close()
        os.close(self.ours)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Return a terminal to type into."""
    one = Terminal(monkeypatch)
    yield one
    one.close()


def test_the_question_has_all_and_is_asked_once(project, folder, terminal):
    terminal.type("wesad\n")
    licence.ask("wesad", folder)
    shown = terminal.shown()
    joined = " ".join(shown.split())
    for part in ("WESAD is a licensed data set", wesad.CARD.licence, wesad.CARD.obtain):
        assert part in joined
    assert f"Folder:    {folder}\n" in shown and "type wesad (or yes): " in shown
    assert max(len(line) for line in shown.splitlines() if str(folder) not in line) < 101
    licence.ask("wesad", folder)
    assert terminal.shown() == "", "asked once"
    assert (project / "data" / "licences.json").is_file()


@pytest.mark.parametrize("answer", ["yes\n", "YES\n", " WESAD \n"])
def test_it_may_be_typed_in_any_case(project, folder, terminal, answer):
    terminal.type(answer)
    licence.ask("wesad", folder)
    _licence.require("wesad", folder)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("\n", "no answer"),
        ("no\n", "the answer 'no'"),
        ("y\n", "the answer 'y'"),
        ("yes please\n", "the answer 'yes please'"),
        ("deap\n", "the answer 'deap'"),
        ("\x04", "no answer"),
        ("ye\x04\x04", "the answer 'ye'"),
        (b"\xff\xfe\n", "no answer"),
    ],
)
def test_any_other_answer_is_a_refusal(project, folder, terminal, answer, found):
    terminal.type(answer)
    with pytest.raises(LicenceError) as refused:
        licence.ask("wesad", folder)
    assert refused.value.found == found and "\n" not in str(refused.value)
    assert refused.value.expected == "wesad or yes"
    assert not (project / "data").exists()
    with pytest.raises(LicenceError):
        _licence.require("wesad", folder)


def test_another_folder_and_another_text_are_asked_again(project, folder, terminal, monkeypatch):
    terminal.type("yes\nyes\nyes\n")
    licence.ask("wesad", folder)
    terminal.shown()
    licence.ask("wesad", folder.parent)
    assert "If you accept" in terminal.shown()
    monkeypatch.setattr(wesad, "CARD", replace(wesad.CARD, licence="Other terms."))
    licence.ask("wesad", folder)
    assert "Other terms." in terminal.shown()


def test_twins_open_sets_and_the_variable_are_not_asked(project, folder, terminal, monkeypatch):
    licence.ask("eegmat", folder)
    monkeypatch.setenv("AFFECTBOOK_ACCEPT_LICENCE", "wesad")
    licence.ask("wesad", folder)
    monkeypatch.delenv("AFFECTBOOK_ACCEPT_LICENCE")
    _folders.mark_twin(folder, ["S2"], effect=1, fingerprint=1, seed=0)
    licence.ask("wesad", folder)
    assert terminal.shown() == "" and not (project / "data").exists()


@pytest.mark.parametrize("lacking", ["stdin", "stderr"])
@pytest.mark.parametrize("how", ["none", "pipe", "closed"])
def test_without_a_terminal_it_stays_closed(project, folder, terminal, monkeypatch, lacking, how):
    terminal.type("yes\n")
    read, write = os.pipe()
    stream = os.fdopen(read, "r") if lacking == "stdin" else os.fdopen(write, "w")
    if how == "closed":
        stream.close()
    monkeypatch.setattr(licence.sys, lacking, None if how == "none" else stream)
    with pytest.raises(LicenceError, match="no confirmation.*ACCEPT_LICENCE=wesad"):
        licence.ask("wesad", folder)
    stream.close()
    os.close(write if lacking == "stdin" else read)


def command(project: Path, folder: Path) -> list[str]:
    return [sys.executable, "-c", SCRIPT, str(project), str(folder)]


def test_a_process_with_a_terminal_asks_once(project, folder):
    status, shown = on_a_terminal(command(project, folder), typing("WESAD\n"))
    assert status == 0 and "If you accept" in shown and "Traceback" not in shown
    assert on_a_terminal(command(project, folder)) == (0, "")


@pytest.mark.parametrize("how", ["key", "signal"])
def test_an_interrupt_ends_it_and_confirms_nothing(project, folder, how):
    def interrupt(ours: int, child: int) -> None:
        if how == "key":
            os.write(ours, b"\x03")
        else:
            os.kill(child, signal.SIGINT)

    status, shown = on_a_terminal(command(project, folder), interrupt, again_s=1.0)
    # A shell says 130 of either; the second interrupt may meet Python at its very end.
    assert status in (130, -signal.SIGINT) and "Traceback" not in shown
    assert not (project / "data").exists()


def test_a_process_without_a_terminal_is_refused(project, folder):
    done = subprocess.run(
        command(project, folder), input="yes\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("refused: the licence of WESAD") and done.stderr.count("\n") == 1
