"""drivedb: rates from headers, stretches from the table that ships with the package."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from affectbook import datasets
from affectbook.datasets import drivedb
from affectbook.errors import DataFileError, DataNotFoundError, ParameterError


def write_record(
    folder: Path,
    name: str,
    seconds: float,
    frame_hz: float = 15.5,
    per_frame: int = 32,
    signal: str = "ECG",
    unit: str = "mV",
) -> np.ndarray:
    """Write a two-signal record with CRLF header as the publisher does; return the ECG in mV."""
    frames = int(seconds * frame_hz)
    rng = np.random.default_rng(5)
    ecg = rng.integers(-900, 900, (frames, per_frame)).astype("<i2")
    other = np.full((frames, 1), 7, "<i2")
    np.hstack([other, ecg]).tofile(folder / f"{name}.dat")
    lines = [
        f"{name} 2 {frame_hz:g} {frames}",
        f"{name}.dat 16 100 16 0 7 0 0 marker",
        f"{name}.dat 16x{per_frame} 1000{'' if unit == 'mV' else '/' + unit} 16 0 0 0 0 {signal}",
    ]
    (folder / f"{name}.hea").write_bytes("\r\n".join([*lines, ""]).encode("ascii"))
    return ecg.ravel() / 1000


def test_the_table_holds_seven_stretches_of_two_records():
    table = drivedb._table()
    assert {name: len(rows) for name, rows in table.items()} == {"drive05": 7, "drive06": 7}
    for rows in table.values():
        conditions = [row.condition for row in rows]
        assert conditions == ["rest", "city", "highway", "city", "highway", "city", "rest"]
        assert [row.trial for row in rows][:2] == ["1-rest", "2-city"]
        assert all(a.stop_s == b.start_s for a, b in zip(rows, rows[1:], strict=False))


@pytest.mark.parametrize(
    ("frame_hz", "per_frame", "sfreq"),
    [(15.5, 32, 496.0), (15.0, 32, 480.0), (15.5, 23, 356.5), (15.5, 31, 480.5), (31, 16, 496)],
)
def test_the_rate_is_in_the_header(tmp_path, frame_hz, per_frame, sfreq):
    ecg = write_record(tmp_path, "drive12", 20, frame_hz, per_frame)
    (recording,) = drivedb.read(tmp_path, ["drive12"])
    assert recording.sfreq == sfreq
    assert (recording.condition, recording.trial) == (None, "1-unlabelled")
    np.testing.assert_array_equal(recording.signal[0], ecg.astype(np.float32))


@pytest.mark.parametrize("trim_s", [0.0, 60.0])
def test_stretches_are_cut_at_the_table_and_trimmed(tmp_path, trim_s):
    ecg = write_record(tmp_path, "drive05", 5030)
    recordings = list(datasets.load("drivedb", tmp_path, trim_s=trim_s))
    assert len(recordings) == 7
    for recording, row in zip(recordings, drivedb._table()["drive05"], strict=True):
        start, stop = round((row.start_s + trim_s) * 496), round((row.stop_s - trim_s) * 496)
        np.testing.assert_array_equal(recording.signal[0], ecg[start:stop].astype(np.float32))
        assert recording.start_s == start / 496
    default = list(datasets.load("drivedb", tmp_path))
    assert (default[0].signal.shape == recordings[0].signal.shape) == (trim_s == 60.0)


@pytest.mark.parametrize("trim_s", [-1.0, 181.8, float("nan"), float("inf")])
def test_a_trim_that_leaves_nothing_is_refused(tmp_path, trim_s):
    write_record(tmp_path, "drive05", 10)
    with pytest.raises(ParameterError, match="half the shortest stretch"):
        datasets.load("drivedb", tmp_path, trim_s=trim_s)


def test_labelled_records_are_read_unless_others_are_named(tmp_path):
    write_record(tmp_path, "drive17a", 10)
    with pytest.raises(DataNotFoundError, match=r"subjects=\['drive17a'\]"):
        datasets.load("drivedb", tmp_path)
    write_record(tmp_path, "drive06", 4900)
    assert datasets.subjects("drivedb", tmp_path) == ("drive06",)
    assert {r.subject for r in datasets.load("drivedb", tmp_path)} == {"drive06"}
    assert {r.subject for r in datasets.load("drivedb", tmp_path, ["drive17a"])} == {"drive17a"}
    with pytest.raises(DataNotFoundError, match="missing are drive05"):
        datasets.load("drivedb", tmp_path, ["drive05", "drive06"])


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"signal": "EMG"}, "marker, EMG"),
        ({"unit": "uV"}, "uV"),
        ({"seconds": 100}, "941.4 s"),
    ],
)
def test_a_wrong_record_is_one_message(tmp_path, changed, word):
    write_record(tmp_path, "drive05", **{"seconds": 5030, **changed})
    with pytest.raises(DataFileError) as caught:
        list(datasets.load("drivedb", tmp_path, trim_s=0.0))
    assert word in str(caught.value) and "drive05" in str(caught.value)


@pytest.mark.parametrize("suffix", [".hea", ".dat"])
def test_a_truncated_record_is_one_message(tmp_path, suffix):
    write_record(tmp_path, "drive12", 20)
    path = tmp_path / f"drive12{suffix}"
    whole = path.read_bytes()
    for cut in np.linspace(0, len(whole) - 8, 25).astype(int):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataFileError, match="drive12"), warnings.catch_warnings():
            warnings.simplefilter("error")
            list(drivedb.read(tmp_path, ["drive12"]))


def test_missing_samples_are_one_message(tmp_path):
    write_record(tmp_path, "drive12", 20)
    values = np.fromfile(tmp_path / "drive12.dat", "<i2")
    values[100] = -32768
    values.tofile(tmp_path / "drive12.dat")
    with pytest.raises(DataFileError, match="1 missing samples"):
        list(drivedb.read(tmp_path, ["drive12"]))


def test_label_rules():
    rules = {rule.name: rule for rule in drivedb.CARD.label_rules}
    assert rules["rest_highway_city"].classes == ("rest", "highway", "city")
    assert rules["rest_drive"].conditions == {"rest": "rest", "highway": "drive", "city": "drive"}


def test_the_real_records(real):
    recordings = list(datasets.load("drivedb", real("drivedb")))
    assert [r.subject for r in recordings] == ["drive05"] * 7 + ["drive06"] * 7
    assert {r.sfreq for r in recordings} == {496.0}
    (first,) = datasets.load("drivedb", real("drivedb"), ["drive17a"])
    assert first.sfreq == 480.0 and first.condition is None
    assert first.duration_s == pytest.approx(29.0 * 60, abs=6)
