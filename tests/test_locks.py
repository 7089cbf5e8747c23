"""Locks: one process at a time, who holds one is said, and the dead hold none."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from affectbook import locks
from affectbook.errors import CacheError

HOLD = """
import sys, time
from pathlib import Path
from affectbook import locks
with locks.alone(Path(sys.argv[1]), "the work") as waited:
    print("waited" if waited else "held", flush=True)
    sys.stdin.readline()
"""
# Each adds one to a number in a file, as slowly as it takes for two to meet.
COUNT = """
import sys, time
from pathlib import Path
from affectbook import locks
lock, number = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(20):
    with locks.alone(lock, "the work"):
        old = int(number.read_text())
        time.sleep(0.002)
        number.write_text(str(old + 1))
"""


def start(code: str, *arguments: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def let_go(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate("\n", timeout=60)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "not made yet" / ".lock"


def test_a_lock_is_there_while_it_is_held(path: Path, capsys: pytest.CaptureFixture) -> None:
    with locks.alone(path, "the work") as waited:
        assert not waited
        assert json.loads(path.read_text())["pid"] == os.getpid()
        assert locks.holder(path).startswith(f"process {os.getpid()} on ")
    assert not path.exists() and locks.holder(path) == ""
    assert capsys.readouterr().out == ""


def test_it_goes_also_when_the_work_fails(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locks.alone(path, "the work"):
        raise ZeroDivisionError
    with locks.alone(path, "the work") as waited:
        assert not waited


def test_the_second_says_who_holds_it_and_waits(path: Path) -> None:
    first = start(HOLD, path)
    assert first.stdout.readline() == "held\n"
    second = start(HOLD, path)
    said = second.stdout.readline()
    assert said.startswith(f"Waiting for process {first.pid} on ")
    assert "since " in said and "making the work" in said
    assert second.poll() is None
    let_go(first)
    assert "waited" in let_go(second)
    assert not path.exists()


def test_processes_under_one_lock_never_overlap(path: Path, tmp_path: Path) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    counting = [start(COUNT, path, number) for _ in range(3)]
    for process in counting:
        let_go(process)
    assert number.read_text() == "60" and not path.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_process_is_nobody_s(
    how: signal.Signals, path: Path, capsys: pytest.CaptureFixture
) -> None:
    first = start(HOLD, path)
    assert first.stdout.readline() == "held\n"
    first.send_signal(how)
    first.communicate(timeout=60)
    assert path.exists()
    with locks.alone(path, "the work") as waited:
        assert not waited
        assert json.loads(path.read_text())["pid"] == os.getpid()
    said = capsys.readouterr().out
    assert said.startswith(f"process {first.pid} on ") and "ended before the work" in said
    assert not path.exists()


def test_who_waits_for_a_process_that_dies_goes_on(path: Path) -> None:
    first = start(HOLD, path)
    assert first.stdout.readline() == "held\n"
    second = start(HOLD, path)
    assert second.stdout.readline().startswith("Waiting for process")
    first.kill()
    first.communicate(timeout=60)
    assert "waited" in let_go(second)


def test_a_lock_file_that_is_removed_while_others_wait(path: Path) -> None:
    """Who waited takes a new lock, and the one before does not remove that of a third."""
    first = start(HOLD, path)
    assert first.stdout.readline() == "held\n"
    waiting = start(HOLD, path)
    assert waiting.stdout.readline().startswith("Waiting for process")
    path.unlink()
    third = start(HOLD, path)
    assert third.stdout.readline() == "held\n"
    let_go(first)
    assert waiting.stdout.readline().startswith(f"Waiting for process {third.pid}")
    assert path.exists() and str(third.pid) in path.read_text()
    let_go(third)
    assert "waited" in let_go(waiting)
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": 1}', "\udcff\x00"])
def test_a_lock_file_that_says_nothing_is_taken(
    content: str, path: Path, capsys: pytest.CaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(content.encode(errors="surrogateescape"))
    with locks.alone(path, "the work") as waited:
        assert not waited and str(os.getpid()) in path.read_text()
    assert capsys.readouterr().out == ""


def test_who_waits_can_be_interrupted(path: Path) -> None:
    first = start(HOLD, path)
    assert first.stdout.readline() == "held\n"
    code = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n" + HOLD
    second = start(code, path)
    assert second.stdout.readline().startswith("Waiting")
    time.sleep(0.05)
    second.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in second.communicate(timeout=60)[1]
    let_go(first)
    assert not path.exists()


def test_a_full_disk_makes_a_lock_without_a_name(path: Path) -> None:
    path.parent.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with locks.alone(path, "the work"):
            assert path.read_bytes() == b""
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not path.exists()


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="the work could not be locked") as caught:
        with locks.alone(tmp_path / "file" / ".lock", "the work"):
            pytest.fail("it was locked")
    assert caught.value.do and caught.value.file
