"""Poly5 files: what is written is read back, and whatever is wrong ends in one message."""

from __future__ import annotations

import os
import struct
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from affectbook.datasets import _poly5
from affectbook.errors import DataFileError

START = datetime(2012, 9, 18, 13, 16, 5)
SIGNAL = np.random.default_rng(0).standard_normal((3, 100)).astype("f4")
# Where things stand in the head of version 203.
VERSION, SFREQ, SIGNALS, TIMES, BLOCKS, BLOCK_BYTES, COMPRESSION = 31, 114, 119, 121, 143, 149, 151
HEAD, DESCRIPTION, BLOCK_HEAD = 217, 136, 86
UNIT_LOW = HEAD + 56


def write(path: Path, signal: np.ndarray = SIGNAL, **options: object) -> Path:
    names = tuple(f"channel {number}" for number in range(len(signal)))
    units = ("\xb5Volt",) * len(signal)
    given = {"sfreq": 2048, "names": names, "units": units, "start": START, "block_times": 32}
    _poly5.write(path, signal, **(given | options))
    return path


def changed(path: Path, at: int, form: str, *values: float) -> None:
    raw = bytearray(path.read_bytes())
    struct.pack_into(form, raw, at, *values)
    path.write_bytes(raw)


def refused(path: Path, *words: str, channel: int = 0) -> None:
    with pytest.raises(DataFileError) as caught:
        _poly5.read_channel(path, channel)
    for word in (path.name, *words):
        assert word in str(caught.value), (word, str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [203, 204])
def test_reads_what_it_wrote(tmp_path, version):
    path = write(tmp_path / "a.S00", version=version)
    header = _poly5.read_header(path)
    assert (header.version, header.sfreq, header.start) == (version, 2048.0, START)
    assert [one.name for one in header.channels] == ["channel 0", "channel 1", "channel 2"]
    assert {one.unit for one in header.channels} == {"\xb5Volt"}
    assert (header.n_times, header.n_blocks) == (100, 4)
    for index, row in enumerate(SIGNAL):
        np.testing.assert_array_equal(_poly5.read_channel(path, index), row)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    signal=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 70)),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    block_times=st.integers(1, 40),
)
def test_every_channel_of_every_shape_comes_back(tmp_path, signal, block_times):
    path = write(tmp_path / "a.S00", signal, block_times=block_times)
    for index, row in enumerate(signal):
        np.testing.assert_array_equal(_poly5.read_channel(path, index), row)


def test_the_layout_is_that_of_published_readers(tmp_path):
    """Read by byte positions, block by block, as the published scripts do."""
    path = write(tmp_path / "a.S00")
    raw = path.read_bytes()
    assert raw[:VERSION] == b"POLY SAMPLE FILEversion 2.03\r\n\x1a"
    assert struct.unpack_from("<hh", raw, SFREQ) == (2048, 2048)
    (signals,) = struct.unpack_from("<h", raw, SIGNALS)
    (blocks,) = struct.unpack_from("<i", raw, BLOCKS)
    (block_bytes,) = struct.unpack_from("<H", raw, BLOCK_BYTES)
    assert (signals, blocks, block_bytes) == (6, 4, 3 * 32 * 4)
    for number, text in enumerate(("(Lo) channel 0", "(Hi) channel 0", "(Lo) channel 1")):
        at = HEAD + number * DESCRIPTION
        assert raw[at + 1 : at + 1 + raw[at]].decode() == text
    data = []
    for block in range(blocks):
        at = HEAD + signals * DESCRIPTION + block * (BLOCK_HEAD + block_bytes)
        assert struct.unpack_from("<i4x7h", raw, at) == (32 * block, 2012, 9, 18, 2, 13, 16, 5)
        values = np.frombuffer(raw, "<f4", block_bytes // 4, at + BLOCK_HEAD)
        data.append(values.reshape((signals // 2, -1), order="F"))
    np.testing.assert_array_equal(np.concatenate(data, axis=1)[:, :100], SIGNAL)


def test_stored_numbers_become_physical_ones_by_the_limits(tmp_path):
    path = write(tmp_path / "a.S00")
    changed(path, UNIT_LOW, "<4f", -10.0, 10.0, 0.0, 2.0)  # 0 is -10, 2 is 10
    expected = SIGNAL[0] * 10 - 10
    np.testing.assert_allclose(_poly5.read_channel(path, 0), expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(_poly5.read_channel(path, 1), SIGNAL[1])


def test_a_last_block_cut_short_is_read_to_its_end(tmp_path):
    path = write(tmp_path / "a.S00")
    raw = path.read_bytes()
    path.write_bytes(raw[: -28 * 3 * 4])  # 4 of 32 samples are real
    np.testing.assert_array_equal(_poly5.read_channel(path, 2), SIGNAL[2])
    path.write_bytes(raw[: -28 * 3 * 4 - 1])
    refused(path, "bytes of samples", "4 blocks")


def test_a_count_of_samples_that_says_nothing_is_not_used(tmp_path):
    path = write(tmp_path / "a.S00")
    changed(path, TIMES, "<i", 0)
    assert _poly5.read_channel(path, 0).shape == (4 * 32,)


@pytest.mark.parametrize(
    ("at", "form", "value", "words"),
    [
        (0, "<B", 0, ["POLY SAMPLE FILE"]),
        (VERSION, "<h", 202, ["203 or 204"]),
        (SFREQ, "<h", 0, ["sampling rate", "0 Hz"]),
        (SFREQ, "<h", -2048, ["sampling rate", "-2048 Hz"]),
        (SIGNALS, "<h", 0, ["signals"]),
        (SIGNALS, "<h", -6, ["signals", "-6"]),
        (SIGNALS, "<h", 5, ["signals", "even"]),
        (SIGNALS, "<h", 32766, ["bytes of a block"]),
        (TIMES, "<i", -1, ["samples of a channel", "-1"]),
        (BLOCKS, "<i", 0, ["blocks"]),
        (BLOCKS, "<i", -4, ["blocks", "-4"]),
        (BLOCKS, "<i", 2**31 - 1, ["size", "2147483647 blocks"]),
        (BLOCK_BYTES, "<H", 0, ["bytes of a block"]),
        (BLOCK_BYTES, "<H", 383, ["bytes of a block", "multiple of 12"]),
        (BLOCK_BYTES, "<H", 65532, ["size", "4 blocks"]),
        (COMPRESSION, "<h", 1, ["compression"]),
        (UNIT_LOW, "<f", 1000.0, ["limits of channel 1", "1000 to 1000"]),
        (UNIT_LOW, "<f", 2000.0, ["limits of channel 1", "2000 to 1000", "the lower one first"]),
        (UNIT_LOW + 8, "<f", 2000.0, ["limits of channel 1", "ADC 2000 to 1000"]),
        (UNIT_LOW, "<f", np.nan, ["limits of channel 1"]),
        (UNIT_LOW + 8, "<f", 1000.0, ["limits of channel 1"]),
        (UNIT_LOW + 12, "<f", np.inf, ["limits of channel 1"]),
        (HEAD + 6 * DESCRIPTION + BLOCK_HEAD, "<f", np.nan, ["channel 1", "1 of 100 samples"]),
        (HEAD + 6 * DESCRIPTION + BLOCK_HEAD, "<f", np.inf, ["channel 1", "1 of 100 samples"]),
    ],
)
def test_wrong_content_is_one_message(tmp_path, at, form, value, words):
    path = write(tmp_path / "a.S00")
    changed(path, at, form, value)
    refused(path, *words)


def test_a_channel_that_is_not_there_is_one_message(tmp_path):
    refused(write(tmp_path / "a.S00"), "3 channels", "channel 6", channel=5)
    (tmp_path / "b.S00").mkdir()
    refused(tmp_path / "b.S00", "IsADirectoryError")
    refused(tmp_path / "c.S00", "FileNotFoundError")
    os.mkfifo(tmp_path / "d.S00")
    refused(tmp_path / "d.S00", "a pipe or a device")


def test_a_clock_that_is_none_is_unknown(tmp_path):
    path = write(tmp_path / "a.S00")
    changed(path, HEAD + 6 * DESCRIPTION + 8, "<7h", *[0] * 7)
    assert _poly5.read_header(path).start is None


def test_every_truncation_is_one_message(tmp_path):
    path = write(tmp_path / "a.S00", SIGNAL[:, :64])
    whole = path.read_bytes()
    for cut in {*range(0, len(whole), 7), len(whole) - 1}:
        path.write_bytes(whole[:cut])
        refused(path)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, HEAD + 6 * DESCRIPTION + BLOCK_HEAD + 40), flip=st.integers(1, 255))
def test_a_flipped_byte_never_ends_in_another_error(tmp_path, at, flip):
    path = write(tmp_path / "a.S00")
    whole = bytearray(path.read_bytes())
    whole[at] ^= flip
    path.write_bytes(whole)
    try:
        signal = _poly5.read_channel(path, 0)
    except DataFileError as error:
        assert "a.S00" in str(error)
    else:
        assert np.isfinite(signal).all() and signal.dtype == np.float32
