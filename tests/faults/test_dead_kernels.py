"""Kernels that die, take too long or too much: the message says where, why and how to go on."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from faults.stub_paper import CELLS, N_FOLDS, StubProject, gone_within, wait_for

from affectbook import bookbuild, execute
from affectbook.errors import CacheError

pytestmark = pytest.mark.faults
POINT, KEPT = "in a later fold", 4
WHERE = "guess, shuffled_windows_as_published: fold 1 of 3"
MEMORY = "a smaller scale, shorter windows or fewer subjects take less"


def killed_from_outside(project: StubProject) -> subprocess.CompletedProcess[str]:
    """Send SIGKILL to the kernel while it is in a fold, as a system short of memory does."""
    started = project.start("run", "tiny", at=POINT, how="nothing", stay="60")
    wait_for(project.mark)
    (kernel,) = [one for one in psutil.Process(started.pid).children()
                 if "ipykernel_launcher" in one.cmdline()]  # fmt: skip
    kernel.kill()
    out, err = started.communicate(timeout=300)
    return subprocess.CompletedProcess(started.args, started.returncode, out, err)


ENDS: dict[str, tuple[Callable[[StubProject], subprocess.CompletedProcess[str]], tuple]] = {
    "it exits": (
        lambda project: project.run(at=POINT, how="exit"), ("the kernel died", MEMORY)),
    "it is killed from outside": (killed_from_outside, ("the kernel died", MEMORY)),
    "it takes too long": (
        lambda project: project.run("--timeout", "15", at=POINT, how="nothing", stay="60"),
        ("a cell took longer than it may (--timeout)",)),
    "it takes too much memory": (
        lambda project: project.run(at=POINT, how="memory"), ("MemoryError", MEMORY)),
    "a cell fails": (
        lambda project: project.run(at=POINT, how="error"), ("ZeroDivisionError",)),
    "somebody interrupts it": (
        lambda project: project.run(at=POINT, how="SIGINT"), ("KeyboardInterrupt",)),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_it_says_where_why_and_how_to_go_on(end: str, whole: StubProject, tmp_path: Path):
    project, (happen, says) = whole.copy(tmp_path / "project"), ENDS[end]
    done = happen(project)
    key = whole.finished().name
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    message, kept = done.stderr.strip().splitlines()
    for one in (*says, WHERE, "The same command goes on there."):
        assert one in message, message
    assert "its last line" not in message
    assert kept == f"Kept up to there: build/failed/tiny-{key}.ipynb"
    assert (project.root / "build" / "failed" / f"tiny-{key}.ipynb").is_file()
    assert not list(project.runs_folder.glob("[!.]*")) and project.kept() == KEPT
    assert gone_within(int(project.mark.read_text()), 10)

    again = project.run()
    assert again.returncode == 0, again.stderr
    assert project.scores() == whole.scores() and project.left() == []
    assert len(project.trainings()) == N_FOLDS
    started, ended = project.attempts()
    assert started["started"] and started["seconds"] > 0 and ended["seconds"] > 0


def test_a_kernel_that_dies_as_it_starts(whole: StubProject, tmp_path: Path):
    project = whole.copy(tmp_path / "project")
    done = project.run(at="before the kernel runs anything", how="exit")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    message, kept = done.stderr.strip().splitlines()
    assert message.startswith("tiny failed: ") and "died" in message and kept.startswith("Kept")
    assert not list(project.runs_folder.iterdir())


def test_what_a_kernel_says_for_itself_is_not_among_our_messages(
    whole: StubProject, tmp_path: Path
):
    """Its queue of messages may fail an assertion in its last moment: nothing is lost by that."""
    project = whole.copy(tmp_path / "project")
    done = project.run(at="in the first fold", how="talk")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "Assertion" not in done.stdout and "Page:" in done.stdout
    assert project.mark.read_text().endswith("ended"), "it did not get to its last moment"
    assert project.scores() == whole.scores() and project.left() == []


def test_a_kernel_that_cannot_start_says_why(
    whole: StubProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The reader has given the kernel's name to a Python without the package of kernels."""
    project, spec = whole.copy(tmp_path / "project"), tmp_path / "jupyter/kernels/python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-IS", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    told = {"argv": argv, "display_name": "another", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(told))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    done = project.run()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    message, kept = done.stderr.strip().splitlines()
    assert message.startswith("tiny failed: ") and "died" in message and kept.startswith("Kept")
    assert "its last line" in message and 'No module named ipykernel_launcher"' in message


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"Traceback\n  File x\nImportError: no zmq\n\n", "ImportError: no zmq"),
        (b"Fatal Python error: Aborted\n\nStack:\n  File x\nExtension modules: a\n",
         "Fatal Python error: Aborted"),
        (b"\x1b[31mred\xff\n", "\\x1b[31mred\N{REPLACEMENT CHARACTER}"),
        (b"ab\n" * 9 + b"long " * 10_000, ("long " * 40)),
    ],
    ids=["nothing", "empty lines", "a traceback", "a fatal error", "codes", "without an end"],
)  # fmt: skip
def test_one_line_of_what_it_said_is_told(said: bytes, told: str):
    with execute._own_output() as own:
        os.write(own, said)
        assert execute._last_words(own) == told
        assert os.lseek(own, 0, os.SEEK_CUR) == len(said)


@pytest.fixture
def book(whole: StubProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubProject:
    """Return a project whose notebooks are executed by this process, as for a book."""
    project = whole.copy(tmp_path / "project")
    for name, value in project.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bookbuild, "_jupyter_book", lambda *_: pytest.fail("it was rendered"))
    return project


def test_a_failed_notebook_never_becomes_a_page(
    book: StubProject, monkeypatch: pytest.MonkeyPatch
):
    """Not the failed one, nor the one that was executed before its code changed."""
    executed = book.root / "build" / "executed"
    page, failed = executed / "notebooks" / "tiny.ipynb", book.root / "build" / "failed"
    assert bookbuild.execute_changed(book.root) == ["tiny"] and page.is_file()
    own = (executed / "runs" / "tiny" / "scores.csv").read_bytes()

    book.write_notebook([one.replace("Guess()", "Guess(epochs=4)") for one in CELLS])
    monkeypatch.setenv("FAULT_AT", POINT)
    monkeypatch.setenv("FAULT", "exit")
    with pytest.raises(bookbuild.BookFailed, match="the kernel died.*fold 1 of 3") as caught:
        bookbuild.build(book.root)
    assert "build/failed/tiny.ipynb" in str(caught.value)
    assert not page.exists() and (failed / "tiny.ipynb").is_file()
    assert page not in set(bookbuild._page_inputs(book.root))
    assert not [path for path in bookbuild._page_inputs(book.root) if failed in path.parents]
    assert (executed / "runs" / "tiny" / "scores.csv").read_bytes() == own

    assert bookbuild.execute_changed(book.root) == ["tiny"] and page.is_file()
    assert book.left() == [] and len(book.trainings()) == 2 * N_FOLDS
    assert {path.name for path in (executed / "runs").iterdir()} == {"tiny"}


def test_a_book_on_a_full_disk_is_one_message(book: StubProject, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FAULT_AT", "before a fold is written")
    monkeypatch.setenv("FAULT", "no room in a file")
    with pytest.raises(bookbuild.BookFailed, match="a finished fold could not be kept"):
        bookbuild.build(book.root)
    assert bookbuild.execute_changed(book.root) == ["tiny"]
    assert len(book.trainings()) == N_FOLDS + 1 and book.left() == []


def test_what_a_kernel_says_takes_no_disk(book: StubProject, monkeypatch: pytest.MonkeyPatch):
    """Where no temporary file can be made it is lost, and the notebook runs."""

    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with execute._own_output() as own:
        assert own == subprocess.DEVNULL and execute._last_words(own) == ""
    assert bookbuild.execute_changed(book.root) == ["tiny"] and book.left() == []


def test_a_page_of_a_book_on_a_full_disk_is_one_message(
    book: StubProject, monkeypatch: pytest.MonkeyPatch
):
    """The copy of an executed notebook, which comes when its scores are kept."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "tiny.ipynb")

    monkeypatch.setattr(bookbuild, "_write", full)
    with pytest.raises(CacheError, match="No space left on device"):
        bookbuild.build(book.root)


def test_a_book_that_cannot_be_locked_is_one_message(book: StubProject):
    (book.root / "build").write_text("not a folder")
    with pytest.raises(CacheError, match="this book could not be locked"):
        bookbuild.build(book.root)


def test_a_book_that_is_killed_goes_on(book: StubProject, whole: StubProject):
    """Its driver is killed in a fold; its scores are those of a run that was not."""
    killed = book.start("book", at=POINT, how="SIGKILL", to="other", stay="3")
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert not list((book.root / "build" / "executed" / "runs").glob("[!.]*"))
    code = "from pathlib import Path; from affectbook import bookbuild as made; "
    code += "assert made.execute_changed(Path.cwd()) == ['tiny']"
    subprocess.run([sys.executable, "-c", code], cwd=book.root, check=True, timeout=300)
    # The lock of a book that was killed stays until the next one is built.
    assert book.left() == [".lock"] and len(book.trainings()) == N_FOLDS
    own = book.root / "build" / "executed" / "runs" / "tiny"
    for name in ("scores.csv", "predictions.csv"):
        a, b = ((folder / name).read_text() for folder in (own, whole.finished()))
        assert _without_key(a) == _without_key(b)
    assert gone_within(int(book.mark.read_text()), 10) and os.path.exists(own / "provenance.json")


def _without_key(table: str) -> list[str]:
    """Return the lines of a table without their last column, which names the run."""
    return [line.rpartition(",")[0] for line in table.splitlines()]
