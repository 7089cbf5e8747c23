"""The process that reads files: what it answers, and what ends in one message and a new one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sandbox_faults
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from affectbook import errors
from affectbook.datasets import _sandbox, _sandbox_child, _sandbox_wire
from affectbook.errors import AffectbookError, DataFileError

FILE = Path("some/file.mat")
MB = 10**6


@pytest.fixture(autouse=True)
def faults_may_be_called(monkeypatch):
    monkeypatch.setattr(_sandbox, "_PACKAGES", ("affectbook", "sandbox_faults"))


def ask(function, *args, memory: int = 100 * MB, seconds: float = 60.0) -> object:
    return _sandbox.call(function, *args, memory=memory, seconds=seconds, file=FILE)


def who() -> int:
    """Return the process that answers."""
    return ask(sandbox_faults.given)[1]


def refused(*words: str, function, args: tuple = (), **limits: float) -> None:
    """Check for one message with all parts, and that the next call is answered."""
    with pytest.raises(DataFileError) as caught:
        ask(function, *args, **limits)
    error, message = caught.value, str(caught.value)
    assert all((error.file == FILE, error.field, error.found, error.expected, error.do)), message
    assert "\n" not in message and "Traceback" not in message
    for word in words:
        assert word in message, message
    assert ask(sandbox_faults.given, "again")[0] == ["again"]


def test_another_process_answers_and_stays():
    args = ["a text \u00e9\n", 3, -2.5, None, True, [1, (2, "x")], Path("/a b/c"), ("S2",)]
    found, process = ask(sandbox_faults.given, *args)
    assert found == args and [type(one) for one in found[:5]] == [str, int, float, type(None), bool]
    assert isinstance(found[6], type(Path())) and isinstance(found[5][1], tuple)
    assert process != os.getpid() and who() == process


def test_answers_hold_plain_values_and_arrays():
    found = ask(sandbox_faults.answers)
    wanted = sandbox_faults.answers()
    assert list(found) == list(wanted) and found["none"] is None
    assert repr(found["list"]) == repr(wanted["list"])
    np.testing.assert_array_equal(found["tuple"][0], np.arange(3))
    assert found["tuple"][1] == (0.5, Path("a")) and found[7] == {"deep": {"er": []}}
    assert found["empty"].shape == (0, 3) and found["empty"].dtype == np.int16
    assert [one.tolist() for one in found["many"]] == [[n, n] for n in range(300)]
    assert found["many"][0].flags.owndata and found["many"][0].flags.writeable


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from(["?", "u1", "i2", "<f4", ">f4", ">i8", "f8", "f2"]),
    shape=st.lists(st.integers(0, 7), max_size=4),
    order=st.sampled_from("CF"),
)
def test_arrays_of_every_type_and_shape_arrive_as_they_are(dtype, shape, order):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sandbox, "_PACKAGES", ("sandbox_faults",))
        found = ask(sandbox_faults.array, dtype, shape, order)
    wanted = sandbox_faults.array(dtype, shape, order)
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == wanted.dtype and found.flags.c_contiguous


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.builds(Path, st.text("ab/. ", min_size=1))
    | arrays_of.arrays(st.sampled_from(["<i2", ">f8", "|u1"]), arrays_of.array_shapes(min_side=0)),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text() | st.integers() | st.tuples(st.booleans()), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(value=PLAIN)
def test_what_is_unpacked_is_what_was_packed(value):
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as stream:
        arrays: list[np.ndarray] = []
        packed = _sandbox_wire.pack(value, arrays)
        sender = threading.Thread(
            target=_sandbox_wire.send, args=(theirs, {"answer": packed}, arrays)
        )
        sender.start()
        head, sent = _sandbox_wire.receive(stream.readinto, 10 * MB)
        sender.join()
    os.close(theirs)
    same(_sandbox_wire.unpack(head["answer"], sent), value)


def same(found: object, wanted: object) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
    elif isinstance(wanted, list | tuple):
        for left, right in zip(found, wanted, strict=True):
            same(left, right)
    elif isinstance(wanted, dict):
        same([*found.items()], [*wanted.items()])
    else:
        assert found == wanted


HEAD = b'{"answer": {"array": 0}, "log": [], "arrays": [%s]}'


@pytest.mark.parametrize(
    "listed",
    [
        b'["|O8", [1]]', b'["<f8", [-1]]', b'["<f8", [1.0]]', b'["<f8", [true]]', b'["<V8", [1]]',
        b'["<f8", [1000000, 1000000]]', b'["<f8", [4611686018427387904, 4]]', b'["<U8", [1]]',
        b'["<f8"]', b"7",
    ],
)  # fmt: skip
def test_an_answer_cannot_ask_for_objects_or_for_more_memory_than_the_call(listed):
    head = HEAD % listed
    raw = memoryview(_sandbox_wire.PREFIX.pack(_sandbox_wire.MARK, len(head)) + head + bytes(64))
    at = 0

    def fill(view: memoryview) -> None:
        nonlocal at
        view[:] = raw[at : at + len(view)]
        at += len(view)

    with pytest.raises((ValueError, TypeError)):
        _sandbox_wire.receive(fill, 64)


@pytest.mark.parametrize(
    "text", ["", "affbook1" + "\xff" * 8, "x" * 4000, "affbook1\2\0\0\0\0\0\0\0[]",
             'affbook1\x14\0\0\0\0\0\0\0{"arrays": [], "a":1}',
             'affbook1\x17\0\0\0\0\0\0\0{"arrays": [], "log":7}']
)  # fmt: skip
def test_an_answer_that_is_none_is_one_message(text):
    refused(function=sandbox_faults.garbage, args=(text,))


@pytest.mark.parametrize(
    "how",
    ["SIGKILL", "address", "exit",
     *(pytest.param(name, marks=pytest.mark.faults) for name in ("SIGSEGV", "SIGABRT", "SIGBUS"))],
)  # fmt: skip
def test_a_crash_is_one_message_and_the_next_call_has_a_new_process(how):
    before = who()
    word = {"address": "SIGSEGV", "exit": "exit status 3",
            "SIGKILL": "SIGKILL, with which a system ends what takes"}.get(how, how)  # fmt: skip
    refused("crash", f"an end with {word}", function=sandbox_faults.crash, args=(how,))
    assert who() != before


def test_memory_is_bounded_and_given_back():
    before = who()
    refused(
        "more memory", "found: more than 50 MB", "expected: at most 50 MB",
        function=sandbox_faults.hold, args=(60 * MB,), memory=50 * MB,
    )  # fmt: skip
    after = who()
    assert after != before
    for _ in range(3):
        assert ask(sandbox_faults.hold, 30 * MB, memory=50 * MB) == 30 * MB
    assert ask(sandbox_faults.hold, 300 * MB, memory=400 * MB) == 300 * MB
    assert who() == after


@pytest.mark.parametrize("function", [sandbox_faults.sleep, sandbox_faults.spin])
def test_time_is_bounded(function):
    before = who()
    refused("too long", "no end after", function=function, seconds=0.3)
    assert who() != before


@pytest.mark.parametrize("kind", ["DataError", "DataFileError", "DataNotFoundError"])
def test_an_error_of_data_comes_back_with_all_its_parts(kind):
    before = who()
    with pytest.raises(errors.DataError) as caught:
        ask(sandbox_faults.wrong, kind, Path("a/b.pkl"))
    error = caught.value
    assert type(error) is getattr(errors, kind) and error.what == "it is wrong"
    assert (error.file, error.field, error.found) == (Path("a/b.pkl"), ("a", 1), [1, "two"])
    assert (error.expected, error.do) == ("b'raw'", "mend it")
    with pytest.raises(errors.DataError) as here:
        sandbox_faults.wrong(kind, Path("a/b.pkl"))
    assert str(error) == str(here.value) and who() == before


def test_other_errors():
    before = who()
    with pytest.raises(errors.ParameterError, match="two"):
        ask(sandbox_faults.fail, "ParameterError")
    with pytest.raises(OSError, match=r"No space left on device: 'a\.npz'") as caught:
        ask(sandbox_faults.fail, "OSError")
    assert caught.value.errno == 28 and not isinstance(caught.value, AffectbookError)
    for kind in ("KeyError", "RecursionError", "ValueError"):
        refused("could not be read", f"{kind}: ", function=sandbox_faults.fail, args=(kind,))
    refused("ndarray cannot be sent", function=sandbox_faults.objects)
    assert who() == before


def test_what_a_library_prints_is_no_answer(capfd):
    assert ask(sandbox_faults.talk) == 0
    assert capfd.readouterr() == ("", "") and ask(sandbox_faults.given, 1)[0] == [1]


def test_what_is_logged_there_is_logged_here(caplog):
    with caplog.at_level(logging.WARNING, "affectbook"):
        ask(sandbox_faults.log, "affectbook.datasets.wesad")
    (record,) = caplog.records
    assert record.getMessage() == "seen 3 of S2" and record.levelno == logging.WARNING
    assert record.name == "affectbook.datasets.wesad"
    caplog.clear()
    with caplog.at_level(logging.INFO, "affectbook"):
        ask(sandbox_faults.log, "affectbook.datasets.wesad")
        assert len(caplog.records) == 2
        ask(sandbox_faults.given)
    assert len(caplog.records) == 2


def test_only_functions_of_this_package_are_called(monkeypatch):
    monkeypatch.setattr(_sandbox, "_PACKAGES", ("affectbook",))
    for function in (os.system, sandbox_faults.given, lambda: None, _sandbox_child._Kept.emit):
        with pytest.raises(ValueError, match="no function of this package"):
            ask(function)
    for argument in (object(), b"raw", np.arange(3), [np.arange(3)]):
        with pytest.raises(TypeError, match="cannot be sent"):
            ask(_sandbox_child._no_core_files, argument)


def test_a_relative_path_is_that_of_the_caller(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "note").write_text(name)
        monkeypatch.chdir(tmp_path / name)
        assert ask(sandbox_faults.relative) == name


def test_threads_take_turns():
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: ask(sandbox_faults.array, "<i4", [n], "C"), range(200)))
    for n, array in enumerate(found):
        np.testing.assert_array_equal(array, np.arange(n) % 97)


def test_a_process_that_was_ended_while_idle_is_replaced():
    before = who()
    os.kill(before, signal.SIGKILL)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    assert who() != before


def test_an_interrupt_leaves_nothing_behind_that_the_next_call_would_take():
    before = who()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    kept = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            ask(sandbox_faults.sleep)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, kept)
    assert ask(sandbox_faults.given, "mine")[0] == ["mine"] and who() != before


def test_a_forked_process_has_one_of_its_own():
    before = who()
    ours, theirs = os.pipe()
    forked = os.fork()
    if not forked:
        with contextlib.suppress(BaseException):
            os.write(theirs, str(who()).encode())
            _sandbox.stop()
        os._exit(0)
    os.waitpid(forked, 0)
    assert int(os.read(ours, 20)) != before == who()
    os.close(ours), os.close(theirs)


SCRIPT = """
import os, signal, sys
from pathlib import Path
import sandbox_faults
from affectbook.datasets import _sandbox
_sandbox._PACKAGES = ("sandbox_faults",)
call = dict(memory=10**8, seconds=60, file=Path("a"))
print(_sandbox.call(sandbox_faults.given, memory=10**8, seconds=60, file=Path("a"))[1], flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["ends", "killed"])
def test_a_script_without_a_guard_leaves_no_process_behind(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    (tmp_path / "numpy.py").write_text("raise SystemExit('a file beside the data was imported')")
    path = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-P", script, how], env=os.environ | {"PYTHONPATH": path},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == (0 if how == "ends" else -signal.SIGKILL) and not done.stderr
    gone, process = threading.Event(), int(done.stdout)
    for _ in range(100):
        if not Path(f"/proc/{process}").exists() or "Z" in status_of(process):
            break
        gone.wait(0.1)
    else:
        pytest.fail("it is still there")


def status_of(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


def test_without_limits_of_the_system_the_call_is_made(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    with _sandbox_child._no_more(1):
        assert len(bytearray(10 * MB)) == 10 * MB
    _sandbox_child._no_core_files()


def test_a_process_that_cannot_be_started_is_one_message(monkeypatch):
    _sandbox.stop()
    for broken in ("/nowhere/python", "/bin/true"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", broken)
            with pytest.raises(DataFileError, match=r"did not start .*do: see what"):
                who()
    assert who()


def test_an_answer_that_is_there_counts_however_late_it_is():
    """As after a stop with Ctrl-Z, while the other process went on."""
    ours, theirs = os.pipe()
    _sandbox_wire.send(theirs, {"answer": 7, "log": []})
    os.close(theirs)
    with os.fdopen(ours, "rb") as stream:
        head, _ = _sandbox._received(SimpleNamespace(stdout=stream), 0, -1.0, FILE)
    assert head["answer"] == 7


def test_a_working_folder_that_was_deleted(tmp_path, monkeypatch):
    _sandbox.stop()
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    monkeypatch.syspath_prepend("")
    (tmp_path / "gone").rmdir()
    assert who()


def test_a_process_that_does_not_end_is_left(monkeypatch):
    """One that waits for a disk that is gone cannot be ended; nobody waits for it."""

    def wait(seconds: float) -> None:
        raise subprocess.TimeoutExpired("it", seconds)

    _sandbox.stop()
    pipe = SimpleNamespace(close=lambda: None)
    child = SimpleNamespace(stdin=pipe, stdout=pipe, kill=lambda: None, wait=wait)
    monkeypatch.setattr(_sandbox, "_child", child)
    _sandbox.stop()
    assert who()
    _sandbox.stop()
