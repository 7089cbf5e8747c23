"""Pickles of arrays: every protocol is read, nothing is run, memory and time are bounded."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from affectbook.datasets import _pickles, _sandbox, wesad
from affectbook.errors import DataError, DataFileError

LOOSE = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TYPES = st.sampled_from(["?", "<f8", ">f4", "<i2", ">u8", "|u1", "<f2"])


@LOOSE
@given(
    array=arrays_of.arrays(TYPES, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0)),
    protocol=st.integers(0, 5),
    fortran=st.booleans(),
    fixed=st.booleans(),
)
def test_arrays_of_every_protocol_are_read(tmp_path, array, protocol, fortran, fixed):
    array = np.asfortranarray(array) if fortran else array
    array.flags.writeable = not fixed
    kinds = {"plain": array, "part": array[..., ::2] if array.ndim else array, "one": array.dtype}
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"name": "S2", "deep": kinds, "scalar": np.float64(3)}, protocol))
    content = _pickles.load_arrays(path)
    for name in ("plain", "part"):
        found = _pickles.array_at(content, path, "deep", name)
        np.testing.assert_array_equal(found, kinds[name])
        assert found.dtype == array.dtype
    assert _pickles.array_at(content, path, "scalar") == 3.0 and content["name"] == "S2"


ENCODE, TEXT = b"c_codecs\nencode\nq\x01", b"X" + struct.pack("<I", 2**22) + b"a" * 2**22
SHAPE = b"\x8a\x05\x00\x00\x00\x00\x1d"  # 2**32 * 29, near a TB of numbers
BOMBS = {
    "a text encoded ten thousand times": (
        b"\x80\x02" + ENCODE + b"0" + TEXT + b"q\x000]"
        + b"h\x01h\x00U\x06latin1\x86Ra" * 10_000 + b"."
    ),
    "a tuple so deep that its hash overflows": b"\x80\x02}N" + b"\x85" * 4 * 10**5 + b"Ns.",
    "lists in lists": b"]" * 10**5 + b"a" * (10**5 - 1) + b".",
    "dicts as states": b"}" * 10**5 + b"b" * (10**5 - 1) + b".",
    "every memo index": b"N" + b"".join(b"r" + struct.pack("<I", 2**32 - n) for n in range(1, 9999))
    + b".",
    "a shape of a TB": b"\x80\x02}U\x07subjectcnumpy.core.multiarray\n_reconstruct\n(cnumpy\n"
    b"ndarray\n(" + SHAPE + b"tU\x01btRs.",
    "a buffer of a TB": b"\x80\x05}U\x07subjectcnumpy.core.numeric\n_frombuffer\n("
    b"\x96" + struct.pack("<Q", 2**40) + b"cnumpy\ndtype\nU\x02f8\x85R" + SHAPE + b"U\x01CtRs.",
    "a frame of an EB": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b".",
    "a number of many digits": b"I" + b"9" * 10**6 + b"\n.",
    "a long number": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.",
    "a buffer from outside": b"\x80\x05\x97\x98.",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_pickle_made_to_exhaust_memory_is_one_message(tmp_path, bomb):
    path = tmp_path / "S2" / "S2.pkl"
    path.parent.mkdir()
    path.write_bytes(BOMBS[bomb])
    with pytest.raises(DataFileError) as caught:
        list(wesad.read(tmp_path, ["S2"]))
    error, message = caught.value, str(caught.value)
    assert all((error.file == path, error.field, error.found, error.expected, error.do)), message
    assert "\n" not in message and len(message) < 1000


def test_the_text_that_is_encoded_again_and_again_meets_the_limit(tmp_path):
    path = tmp_path / "S2" / "S2.pkl"
    path.parent.mkdir()
    path.write_bytes(BOMBS["a text encoded ten thousand times"])
    with pytest.raises(DataFileError, match="more memory than a file of its size"):
        list(wesad.read(tmp_path, ["S2"]))


def test_a_file_that_is_too_large_is_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "S2" / "S2.pkl"
    path.parent.mkdir()
    with path.open("wb") as stream:
        stream.truncate(wesad.MOST_BYTES + 1)
    monkeypatch.setattr(_sandbox, "call", lambda *a, **k: pytest.fail("opened"))
    with pytest.raises(DataFileError, match="too large.*field: size.*about 1 GB.*do: "):
        list(wesad.read(tmp_path, ["S2"]))
    with path.open("wb") as stream:
        stream.truncate(10**6)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**6 - 1))
    with pytest.raises(DataError, match="too little memory.*S2.pkl.*field: memory.*do: "):
        list(wesad.read(tmp_path, ["S2"]))


@pytest.mark.parametrize("change", [lambda raw: raw[:-5], lambda raw: raw + b"x", lambda raw: b""])
def test_every_message_has_all_parts(tmp_path, change):
    path = tmp_path / "a.pkl"
    path.write_bytes(change(pickle.dumps({"a": np.arange(9)}, 2)))
    with pytest.raises(DataFileError) as caught:
        _pickles.load_arrays(path)
    error = caught.value
    assert all((error.file == path, error.field, error.found, error.expected, error.do))


def test_no_file_is_one_message(tmp_path):
    missing = Path(tmp_path / "none.pkl")
    with pytest.raises(DataFileError, match="none.pkl.*field.*FileNotFoundError.*do: "):
        _pickles.apart(_pickles.load_arrays, missing, most=10, why="")
