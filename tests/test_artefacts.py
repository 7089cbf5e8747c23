"""Windows that show nothing are found exactly, whatever their place; others never."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectbook import artefacts, windows
from affectbook.datasets.card import LabelRule
from affectbook.datasets.recording import Recording
from affectbook.errors import DataError, ParameterError

SFREQ = 64.0
RULE = LabelRule("all", ("one",), {"x": "one"}, "one class")


def noise(seconds: float, n_chans: int = 1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n_chans, round(seconds * SFREQ))).astype(np.float32)


def recording(signal: np.ndarray, subject: str = "S2", trial: str = "1") -> Recording:
    names = tuple(f"C{number}" for number in range(len(signal)))
    return Recording(signal, SFREQ, names, "a.u.", subject, "1", trial, "x")


def cut(*recordings: Recording, **options: object) -> windows.Windows:
    return windows.make_windows(recordings, 2, 0, 32, label_rule=RULE, **options)


@settings(max_examples=80, deadline=None)
@given(
    start=st.integers(0, 600),
    length=st.integers(1, 200),
    channel=st.integers(0, 1),
    offset=st.sampled_from([0.0, 4200.0]),
)
def test_a_channel_stands_still_where_it_keeps_its_value_for_half_a_second(
    start, length, channel, offset
):
    signal = noise(10, 2) + np.float32(offset)
    stop = min(start + length, signal.shape[1])
    signal[channel, start:stop] = 0.5 + offset
    found = artefacts.still(signal, SFREQ)
    expected = np.zeros(signal.shape, bool)
    if stop - start >= artefacts.STILL_S * SFREQ:
        expected[channel, start:stop] = True
    assert np.array_equal(found, expected)


def test_a_wave_is_not_saturated_though_its_peaks_are_all_alike():
    signal = np.tile(np.array([0, 1, 1, 0, -1, -1], np.float32), 100)[None]
    edges = np.arange(0, 600, 60)
    assert not artefacts.unusable(signal, SFREQ, edges, edges + 60).any()


@pytest.mark.parametrize("stretches, bad", [(2, False), (3, True), (15, True)])
def test_a_window_is_saturated_from_a_tenth_at_the_limit_on(stretches, bad):
    signal = noise(10)
    for start in range(100, 100 + 6 * stretches, 6):
        signal[0, start : start + 4] = 9.0  # too short to stand still
    found = artefacts.unusable(signal, SFREQ, np.array([0, 100]), np.array([100, 200]))
    assert found.tolist() == [False, bad]


def test_windows_that_show_nothing_are_left_out_and_counted_by_subject(caplog):
    good, dead, limited = noise(20), noise(20), np.clip(noise(20), -0.2, 0.2)
    dead[0, 400:560] = -10.0  # from 6.25 to 8.75 s: windows 6 to 8 and 8 to 10
    limited[:, 640:] = noise(10, seed=1)  # saturated for its first 10 s
    limited[0, 639] = -0.2
    mild = np.clip(limited, -0.2, 0.2)
    mild[:, 640:] = 0.9 * np.clip(noise(10, seed=1), -0.2, 0.2)
    with caplog.at_level(logging.WARNING, "affectbook"):
        X, _, meta = cut(recording(good), recording(dead, "S3"), recording(mild, "S4"))
    (line,) = [one.getMessage() for one in caplog.records]
    assert line.endswith("left out: 7 of 30 (S3 2, S4 5)")
    assert len(X) == 23
    kept = meta[meta["subject"] == "S3"]
    assert kept["start_s"].tolist() == [0, 2, 4, 10, 12, 14, 16, 18]


def test_windows_are_spread_over_those_that_can_be_used():
    signal = noise(20)
    signal[0, 640:] = 0.0
    _, _, meta = cut(recording(signal), per_trial=5)
    assert meta["start_s"].tolist() == [0, 2, 4, 6, 8]


def test_they_may_be_kept_or_refused(caplog):
    signal = noise(20)
    signal[0, 640:] = 0.0
    assert len(cut(recording(signal), faulty="keep").X) == 10 and not caplog.records
    with pytest.raises(DataError, match=r"S2, trial 1.*found: 5 of 10 windows"):
        cut(recording(signal), faulty="refuse")
    assert len(cut(recording(noise(20)), faulty="refuse").X) == 10
    with pytest.raises(ParameterError, match="drop, refuse, keep"):
        cut(recording(signal), faulty="throw")


def test_a_subject_of_whom_nothing_is_left_is_one_message():
    flat = np.zeros((1, 1280), np.float32)
    with pytest.raises(DataError) as caught:
        cut(recording(noise(20)), recording(flat, "S3"), recording(flat, "S3", "2"))
    error = caught.value
    assert "subject S3" in error.file and error.found == "20 of 20 windows that show nothing"
    assert "allow_missing=S3" in error.do
    assert all((error.field, error.expected))


def test_the_channels_that_show_nothing_are_named():
    """So that a reader with one dead electrode can do without it, not without the person."""
    signal = noise(20, n_chans=3)
    signal[1], signal[2, 320:384] = 0.0, 0.0
    with pytest.raises(DataError) as caught:
        cut(recording(signal))
    assert caught.value.field == "channels (C1 in 10, C2 in 1)"
    assert "allow_missing=S2, read other channels" in caught.value.do
    found = artefacts.unusable_by_channel(signal, SFREQ, np.array([0, 300]), np.array([64, 364]))
    assert found.tolist() == [[False, False], [True, True], [False, True]]


def test_a_trial_of_which_nothing_is_left_goes_without_its_subject(caplog):
    flat = np.zeros((1, 1280), np.float32)
    _, _, meta = cut(recording(noise(20)), recording(flat, trial="2"))
    assert meta["trial"].unique().tolist() == ["1"]
    assert "left out: 10 of 20 (S2 10)" in caplog.text


def test_many_subjects_are_counted_not_named(caplog):
    dead = noise(20)
    dead[0, :200] = 0.0
    cut(*(recording(dead, f"S{number}") for number in range(20)), recording(noise(20), "S99"))
    assert "left out: 40 of 210 (20 subjects, 2 to 2 each)" in caplog.text
