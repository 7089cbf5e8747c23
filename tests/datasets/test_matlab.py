"""MATLAB files: what is read, how much memory that takes, and what ends in one message."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectbook.datasets import _matlab, _sandbox
from affectbook.errors import DataError, DataFileError

LOOSE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NUMBERS = np.arange(600.0).reshape(30, 20)


def content() -> dict[str, object]:
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = NUMBERS, "a text"
    return {"top": {"inner": {"cell": cell, "one": 3.0}}, "plain": NUMBERS}


@pytest.fixture
def path(tmp_path):
    return _matlab.save(tmp_path / "some.mat", content())


@pytest.mark.parametrize("compress", [True, False])
def test_what_is_written_is_read(tmp_path, compress):
    path = _matlab.save(tmp_path / "new" / "some.mat", content(), compress=compress)
    found = _matlab.load(path)
    np.testing.assert_array_equal(found["plain"], NUMBERS)
    cell = _matlab.value_at(found, path, "top", "inner", "cell")
    np.testing.assert_array_equal(cell[0, 0], NUMBERS)
    assert cell[0, 1].tolist() == ["a text"]
    assert "top" not in _matlab.load(path, ("plain", "not there"))


def test_the_same_content_is_the_same_bytes(tmp_path, monkeypatch):
    import time

    first = _matlab.save(tmp_path / "a.mat", content()).read_bytes()
    monkeypatch.setattr(time, "asctime", lambda *_: "Thu Jan  1 00:00:00 1970")
    assert _matlab.save(tmp_path / "b.mat", content()).read_bytes() == first
    assert first.startswith(b"MATLAB 5.0 MAT-file ") and first[124:128] == b"\x00\x01IM"


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        _matlab.save(tmp_path / "a.mat", {"bad": object()})
    assert not list(tmp_path.iterdir())


@given(
    shapes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4),
    compress=st.booleans(),
)
@LOOSE
def test_declared_bytes_are_those_of_the_arrays(tmp_path, shapes, compress):
    arrays = {f"v{index}": np.ones(shape) for index, shape in enumerate(shapes)}
    path = _matlab.save(tmp_path / "sizes.mat", arrays, compress=compress)
    held = sum(array.nbytes for array in arrays.values())
    assert held < _matlab.declared_bytes(path) <= held + 64 * len(arrays)


def unpacked(tmp_path, position: int, flip: int):
    """Write a file that is not compressed with one byte changed."""
    path = _matlab.save(tmp_path / "some.mat", content(), compress=False)
    broken = bytearray(path.read_bytes())
    broken[position] ^= flip
    path.write_bytes(broken)
    return path


def apart(path, **options):
    return _matlab.apart(_matlab.load, path, **{"most": 10**6, "why": "a test", **options})


@pytest.mark.faults
def test_a_byte_that_crashes_scipy_is_one_message(tmp_path):
    """What a wrong byte makes SciPy read depends on what lies in memory; one of these crashes."""
    script = "import sys, scipy.io; scipy.io.loadmat(sys.argv[1])"
    codes, messages = [], []
    for position in (296, 372, 376, 616):
        path = unpacked(tmp_path, position, 0x04)
        command = [sys.executable, "-c", script, path]
        codes.append(subprocess.run(command, capture_output=True, check=False).returncode)
        with pytest.raises(DataFileError) as caught:
            apart(path)
        error = caught.value
        assert all((error.file == path, error.field, error.found, error.expected, error.do))
        messages.append(str(error))
    assert min(codes) < 0, "these files are to crash SciPy; find others"
    assert any("made the process that reads it crash" in message for message in messages)


@pytest.mark.parametrize(("position", "flip"), [(163, 4), (239, 2)])
def test_a_byte_that_makes_scipy_take_all_memory_is_one_message(tmp_path, position, flip):
    with pytest.raises(DataFileError, match="more memory than a file of its size and kind"):
        apart(unpacked(tmp_path, position, flip))


def test_a_file_that_declares_too_much_is_not_loaded(path, monkeypatch):
    monkeypatch.setattr(_sandbox, "call", lambda *a, **k: pytest.fail("loaded"))
    declared = _matlab.declared_bytes(path)
    with pytest.raises(DataFileError, match=f"found: {declared} bytes; expected: at most 10.*do: "):
        apart(path, most=10)


def test_a_file_of_countless_variables_is_one_message(path):
    raw = path.read_bytes()[:128]
    path.write_bytes(raw + np.array([14, 0], "<u4").tobytes() * 20_000)
    with pytest.raises(DataFileError, match="more than 10000 variables"):
        _matlab.declared_bytes(path)


def test_declared_bytes_unpacks_nothing(tmp_path, monkeypatch):
    path = _matlab.save(tmp_path / "zeros.mat", {"zeros": np.zeros((1000, 1000))})
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(scipy.io, "loadmat", lambda *a, **k: pytest.fail("loaded"))
    assert 8_000_000 < _matlab.declared_bytes(path) < 8_000_100


def test_a_file_in_the_other_byte_order_counts_as_well(path):
    raw = bytearray(path.read_bytes()[:128])
    body = np.array([14, 16, 1, 2, 3, 4], ">u4").tobytes()
    path.write_bytes(raw[:124] + b"\x01\x00MI" + body)
    assert _matlab.declared_bytes(path) == 16


def test_too_little_memory_is_one_message_before_anything_is_read(path, monkeypatch):
    needed = _matlab.check_memory(path)
    assert needed == _matlab.needed_bytes(path) >= _matlab.declared_bytes(path)
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(available=needed - 1, total=10**12)
    )
    with pytest.raises(DataError, match="too little memory") as caught:
        _matlab.check_memory(path)
    for words in ("some.mat", "GB free", "expected: 0.00 GB", "do: close other programs"):
        assert words in str(caught.value)


def test_version_7_3_is_one_message(path):
    raw = path.read_bytes()
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + raw[128:])
    for ask in (_matlab.load, _matlab.declared_bytes):
        with pytest.raises(DataFileError, match=r"7\.3.*field: .*found: .*expected: .*do: "):
            ask(path)


@pytest.mark.parametrize("raw", [b"", b"x", b"not a MATLAB file " * 40, b"\x89HDF\r\n\x1a\n" * 40])
def test_another_file_is_one_message(path, raw):
    path.write_bytes(raw)
    for ask in (_matlab.load, _matlab.declared_bytes):
        with pytest.raises(DataFileError, match=r"some\.mat.*field: .*found: .*expected: .*do: "):
            ask(path)


def test_no_file_is_one_message(tmp_path):
    for ask in (_matlab.load, _matlab.declared_bytes):
        with pytest.raises(DataFileError, match=r"none\.mat"):
            ask(tmp_path / "none.mat")


@pytest.mark.parametrize("compress", [True, False])
def test_every_truncation_is_one_message(tmp_path, compress):
    path = _matlab.save(tmp_path / "some.mat", {"plain": NUMBERS}, compress=compress)
    whole = path.read_bytes()
    for cut in [*range(0, 300, 3), *range(len(whole) - 300, len(whole), 3), len(whole) - 1]:
        if cut == 128:  # a header without variables is a file, an empty one
            continue
        path.write_bytes(whole[:cut])
        for ask in (_matlab.load, _matlab.declared_bytes):
            with pytest.raises(DataFileError):
                ask(path)


@pytest.mark.faults
@given(data=st.data())
@LOOSE
def test_a_flipped_byte_of_a_packed_file_never_passes_for_other_numbers(tmp_path, data):
    noise = np.random.default_rng(0).standard_normal((40, 40))
    path = _matlab.save(tmp_path / "some.mat", {"noise": noise})
    broken = bytearray(path.read_bytes())
    position = data.draw(st.integers(128, len(broken) - 1))
    broken[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(broken)
    for ask in (_matlab.load, _matlab.declared_bytes):
        try:
            found = ask(path)
        except DataFileError as error:
            assert "some.mat" in str(error)
        else:
            assert ask is not _matlab.load or np.array_equal(found["noise"], noise)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("nothing",), ["field: nothing", "found: top, plain"]),
        (("top", "nothing"), ["field: top / nothing", "found: inner"]),
        (("top", "inner", "one", "deeper"), ["field: top / inner / one / deeper", "expected"]),
        (("plain", "deeper"), ["found: ndarray"]),
    ],
)
def test_a_missing_entry_is_one_message(path, names, words):
    with pytest.raises(DataFileError, match="an entry is missing") as caught:
        _matlab.value_at(_matlab.load(path), path, *names)
    assert all(word in str(caught.value) for word in [*words, "some.mat", "do: "])


def test_a_variable_that_scipy_gives_up_on_is_one_message(path, monkeypatch):
    monkeypatch.setattr(scipy.io, "loadmat", lambda *a, **k: {"plain": "Read error: odd"})
    with pytest.raises(DataFileError, match="plain: Read error: odd"):
        _matlab.load(path)
