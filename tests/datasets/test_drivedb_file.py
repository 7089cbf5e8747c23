"""The files of drivedb: what a header declares, against the published one and the samples."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectbook.datasets import _drivedb_file, drivedb
from affectbook.errors import DataFileError

RECORD = "drive12"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder with a whole record of seven signals."""
    ecg = np.random.default_rng(0).normal(0, 0.5, 23 * 155)
    drivedb.write_record(tmp_path, RECORD, ecg, frame_hz=15.5, per_frame=23)
    _drivedb_file.read_ecg(tmp_path, RECORD)
    return tmp_path


def change(folder: Path, old: str, new: str) -> None:
    """Change the one place in the header where a pattern fits."""
    path = folder / f"{RECORD}.hea"
    text, count = re.subn(old, lambda _: new, path.read_bytes().decode(), count=1, flags=re.M)
    assert count == 1
    path.write_bytes(text.encode())


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(DataFileError) as caught:
        _drivedb_file.read_ecg(folder, RECORD)
    error = caught.value
    assert all((error.file, error.field, error.found, error.expected, error.do))
    assert "\n" not in str(error) and all(word in str(error) for word in words), str(error)


@pytest.mark.parametrize("rate", ["31", "7.75", "0", "-15.5", "15,5", "text", "nan", "inf", "1e9",
                                  "15.5/15.5", "9" * 5000])  # fmt: skip
def test_a_rate_that_is_not_the_published_one_is_one_message(folder, rate):
    change(folder, r"15\.5", rate)
    refused(folder, "sampling rate", "drive12.hea")


def test_a_rate_told_by_samples_in_a_frame_is_one_message(folder):
    change(folder, "16x23", "16x46")
    refused(folder, "sampling rate", "713 Hz", "356.5 Hz, as published")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r"^drive12 7", "drive12 6", ["number of signals", "expected: 7"]),
        (r"^drive12 7", "drive12 99999999999999999999", ["number of signals"]),
        (r"^drive12 7", "drive12/2 7", ["record name"]),
        (r"^drive12 7 15.5 155", "drive12 7 15.5 156", ["drive12.dat", "156 frames"]),
        (r"^drive12 7 15.5 155", "drive12 7 15.5 999999999", ["drive12.dat", "999999999 frames"]),
        (r"^drive12 7 15.5 155", "drive12 7 15.5 " + "9" * 4000, ["number of frames"]),
        (r"^drive12 7 15.5 155", "drive12 7 15.5 0", ["number of frames"]),
        (r"^drive12 7 15.5 155", "drive12 7 15.5 -155", ["number of frames"]),
        (r"^drive12 7 15.5 155", "drive12 7", ["the first line"]),
        (r"16x23", "16x0", ["samples of ECG in a frame"]),
        (r"16x23", "212x23", ["format of ECG", "212x23"]),
        (r"16x23", "16x23:5", ["format of ECG"]),
        (r"16x23", "16x23+8", ["format of ECG"]),
        (r"^drive12.dat \S+(?=.* EMG)", "drive12.dat 16x9999", ["drive12.dat", "bytes"]),
        (r"1000\.0\(0\)/mV", "0(0)/mV", ["gain of the ECG", "found: 0"]),
        (r"1000\.0\(0\)/mV", "-1000(0)/mV", ["gain of the ECG", "found: -1000"]),
        (r"1000\.0\(0\)/mV", "200(0)/mV", ["gain of the ECG", "found: 200"]),
        (r"1000\.0\(0\)/mV", "1000(512)/mV", ["gain of the ECG", "zero at 512"]),
        (r"1000\.0\(0\)/mV", "1000(0)/uV", ["unit of the ECG", "uV", "mV"]),
        (r"1000\.0\(0\)/mV", "1000(0)/V", ["unit of the ECG"]),
        (r"1000\.0\(0\)/mV", "nan(0)/mV", ["gain of ECG"]),
        (r"0 ECG", "0 EMG2", ["signals", "one ECG"]),
        (r"0 EMG", "0 ECG", ["signals", "one ECG"]),
        (r"^drive12.dat 16x23", "../../etc/passwd 16x23", ["record name", "../../etc/passwd"]),
        (r"^drive12.dat 16x23", "/etc/passwd 16x23", ["record name", "/etc/passwd"]),
        (r"^drive12.dat \S+(?=.* EMG)", "/etc/passwd 16", ["file of EMG", "/etc/passwd"]),
        (r"^drive12.dat \S+(?=.* EMG)", "s3://bucket/x.dat 16", ["file of EMG"]),
        (r" 0 EMG", " EMG", ["the line of a signal"]),
    ],
)
def test_what_a_header_may_not_declare_is_one_message(folder, old, new, words, monkeypatch):
    """Neither is a file opened that is not the record's own, nor are samples read."""
    change(folder, old, new)
    monkeypatch.setattr(np, "fromfile", None)
    refused(folder, *words)


def test_a_header_without_end_is_not_read(folder):
    with (folder / f"{RECORD}.hea").open("ab") as stream:
        stream.truncate(2**40)
    refused(folder, "size", "drive12.hea")


def test_a_record_without_end_is_not_read(folder):
    """The file is as long as its header says, since all but its first bytes is a hole."""
    change(folder, r"^drive12 7 15.5 155", "drive12 7 15.5 99999999")
    with (folder / f"{RECORD}.dat").open("ab") as stream:
        stream.truncate(99999999 * 64)
    refused(folder, "number of frames", "at most 100000000")


def test_a_file_that_may_not_be_read_is_one_message(folder, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "fromfile", refuse)
    refused(folder, "PermissionError: Permission denied")


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may read anything")
def test_a_file_without_permission_is_one_message(folder):
    (folder / f"{RECORD}.dat").chmod(0)
    refused(folder, "PermissionError")


@pytest.mark.faults
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_of_a_header_never_ends_in_another_error(folder, at, byte):
    path = folder / f"{RECORD}.hea"
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[at % len(whole)] = byte
    try:
        path.write_bytes(damaged)
        _drivedb_file.read_ecg(folder, RECORD)
    except DataFileError as error:
        assert all((error.file, error.field, error.found, error.expected, error.do))
    finally:
        path.write_bytes(whole)


def test_headers_of_all_published_records_are_taken(real, tmp_path):
    """Their samples are not at hand, so that the last thing missed is the file of samples."""
    for record in drivedb.CARD.subjects:
        path = tmp_path / f"{record}.hea"
        path.write_bytes((real("drivedb") / "headers" / path.name).read_bytes())
        path.with_suffix(".dat").write_bytes(b"")
        with pytest.raises(DataFileError) as caught:
            _drivedb_file.read_ecg(tmp_path, record)
        assert caught.value.file == path.with_suffix(".dat") and caught.value.found == "0 bytes"


@pytest.mark.parametrize("record", ["drive05", "drive17a"])
def test_samples_are_those_that_wfdb_reads(real, record):
    import wfdb

    ecg, sfreq = _drivedb_file.read_ecg(real("drivedb"), record)
    theirs = wfdb.rdrecord(str(real("drivedb") / record), channels=[0], smooth_frames=False)
    assert sfreq == theirs.fs * theirs.samps_per_frame[0]
    assert ecg.dtype == theirs.e_p_signal[0].dtype
    np.testing.assert_array_equal(ecg, theirs.e_p_signal[0])
